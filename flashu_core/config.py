"""Sizes of the models and settings of the engine: plain validated data.

`checkpoint.config_json` reads a `ModelConfig` from a checkpoint's `config.json`. Checkpoints are untrusted, so every
number has limits, far beyond any existing model, which are checked before anything of that size is allocated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from flashu_core.errors import ConfigurationError
from flashu_core.limits import MAX_GUIDANCE_SCALE, MAX_INFERENCE_STEPS

UnderstandingBlock = Literal["image", "time"]
VelocityLayout = Literal["flat", "patches"]


_WIDTH = 2**17  # elements, neurons
_LAYERS = 1024
_HEADS = 4096
_TOKENS = 2**22  # of a vocabulary
_SIDE = 1024  # image tokens, or positions, along a side
_SMALL = 64  # factors and counts that are a handful


def _within(owner: str, maximum: float, /, minimum: float = 1, **values: float) -> None:
    for name, value in values.items():
        # Written so that a NaN fails too.
        if not minimum <= value <= maximum:
            raise ConfigurationError(f"{owner}.{name} is {value}; it must be from {minimum} to {maximum}")


def _heads_divide(owner: str, hidden_size: int, heads: int, key_value_heads: int) -> None:
    _within(owner, _WIDTH, hidden_size=hidden_size)
    _within(owner, _HEADS, heads=heads, key_value_heads=key_value_heads)
    if hidden_size % heads or (hidden_size // heads) % 2:
        raise ConfigurationError(f"{owner}: {heads} heads do not split a width of {hidden_size} into even parts")
    if heads % key_value_heads:
        raise ConfigurationError(f"{owner}: {key_value_heads} key-value heads do not divide {heads} heads")


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneConfig:
    """A Qwen2 decoder. Sizes in elements; `ffn_size` is the number of FFN neurons."""

    hidden_size: int
    layers: int
    heads: int
    key_value_heads: int
    ffn_size: int
    vocabulary: int
    rope_theta: float = 1e6
    norm_eps: float = 1e-6
    tied_embeddings: bool = True

    def __post_init__(self) -> None:
        _within("backbone", _LAYERS, layers=self.layers)
        _within("backbone", _WIDTH, ffn_size=self.ffn_size)
        _within("backbone", _TOKENS, vocabulary=self.vocabulary)
        _within("backbone", 1e12, rope_theta=self.rope_theta)
        _within("backbone", 1.0, 0.0, norm_eps=self.norm_eps)
        _heads_divide("backbone", self.hidden_size, self.heads, self.key_value_heads)


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionConfig:
    """The semantic layers: SigLIP so400m's encoder without its last layer. `position_grid` is the side of the position
    table."""

    hidden_size: int = 1152
    layers: int = 26
    heads: int = 16
    ffn_size: int = 4304
    norm_eps: float = 1e-6
    position_grid: int = 27

    def __post_init__(self) -> None:
        _within("vision", _LAYERS, layers=self.layers)
        _within("vision", _WIDTH, hidden_size=self.hidden_size, ffn_size=self.ffn_size)
        _within("vision", _HEADS, heads=self.heads)
        _within("vision", _SIDE, position_grid=self.position_grid)
        _within("vision", 1.0, 0.0, norm_eps=self.norm_eps)
        if self.hidden_size % self.heads:
            raise ConfigurationError(f"vision: {self.heads} heads do not divide a width of {self.hidden_size}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeScaling:
    """Llama 3's scaling of low rotary frequencies."""

    factor: float = 32.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_positions: int = 8192

    def __post_init__(self) -> None:
        factors = {name: getattr(self, name) for name in ("factor", "low_freq_factor", "high_freq_factor")}
        _within("head.rope_scaling", 1e6, 1e-6, **factors)
        _within("head.rope_scaling", 2**31, original_positions=self.original_positions)
        if self.high_freq_factor == self.low_freq_factor:
            raise ConfigurationError(f"head.rope_scaling has {self.low_freq_factor} for both frequency factors")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadConfig:
    """The diffusion head: adaLN-modulated decoder blocks and a final layer."""

    hidden_size: int = 2048
    blocks: int = 10
    heads: int = 32
    key_value_heads: int = 8
    ffn_size: int = 8192
    norm_eps: float = 1e-5
    rope_theta: float = 5e5
    rope_scaling: RopeScaling | None = field(default_factory=RopeScaling)
    query_key_norm: bool = True

    def __post_init__(self) -> None:
        _within("head", _LAYERS, blocks=self.blocks)
        _within("head", _WIDTH, ffn_size=self.ffn_size)
        _within("head", 1e12, rope_theta=self.rope_theta)
        _within("head", 1.0, 0.0, norm_eps=self.norm_eps)
        _heads_divide("head", self.hidden_size, self.heads, self.key_value_heads)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A whole Show-o2.

    Attributes:
        grids: supported image sizes as (rows, columns) of image tokens, the default first.
        understanding_block: the span of full attention in understanding: from the first "image" token through the token
            after the picture (as the published checkpoints are used), or from the "time" token (as trained).
        velocity_layout: "flat" keeps the published models' order of the final layer's output; "patches" puts each
            token's output at its own place in the latents.
        time_shift: the shift of the time grid towards noise.
        num_inference_steps, guidance_scale: defaults of requests.
        policies: this checkpoint's own parameters of acceleration policies, by policy, task and name.
    """

    backbone: BackboneConfig
    vision: VisionConfig = field(default_factory=VisionConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    grids: tuple[tuple[int, int], ...] = ((27, 27),)
    latent_channels: int = 16
    patch_size: int = 2
    time_token: bool = True
    understanding_block: UnderstandingBlock = "image"
    velocity_layout: VelocityLayout = "flat"
    time_shift: float = 3.0
    num_inference_steps: int = 50
    guidance_scale: float = 5.0
    policies: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= len(self.grids) <= _SMALL:
            raise ConfigurationError(f"there are {len(self.grids)} image grids; there must be from 1 to {_SMALL}")
        for rows, columns in self.grids:
            _within("model.grids", _SIDE, rows=rows, columns=columns)
        _within("model", _SIDE, latent_channels=self.latent_channels)
        _within("model", _SMALL, patch_size=self.patch_size)
        _within("model", 1000.0, 0.001, time_shift=self.time_shift)
        _within("model", MAX_INFERENCE_STEPS, 2, num_inference_steps=self.num_inference_steps)
        _within("model", MAX_GUIDANCE_SCALE, 0.0, guidance_scale=self.guidance_scale)
        if self.understanding_block not in ("image", "time"):
            raise ConfigurationError(f"understanding_block is {self.understanding_block!r}; use 'image' or 'time'")
        if self.velocity_layout not in ("flat", "patches"):
            raise ConfigurationError(f"velocity_layout is {self.velocity_layout!r}; use 'flat' or 'patches'")

    @property
    def block_extra(self) -> int:
        """Tokens of an image block besides the image's own: the time token, where there is one."""
        return int(self.time_token)

    @property
    def patch_values(self) -> int:
        """Latent values of one image token."""
        return self.patch_size * self.patch_size * self.latent_channels


_QWEN_1_5B = BackboneConfig(hidden_size=1536, layers=28, heads=12, key_value_heads=2, ffn_size=8960, vocabulary=151_669)
_QWEN_7B = BackboneConfig(
    hidden_size=3584,
    layers=28,
    heads=28,
    key_value_heads=4,
    ffn_size=18_944,
    vocabulary=151_669,
    tied_embeddings=False,
)

MODELS: Mapping[str, ModelConfig] = {
    "tiny": ModelConfig(
        backbone=BackboneConfig(hidden_size=64, layers=4, heads=4, key_value_heads=2, ffn_size=256, vocabulary=640),
        vision=VisionConfig(hidden_size=48, layers=2, heads=4, ffn_size=96, position_grid=4),
        head=HeadConfig(hidden_size=96, blocks=2, heads=4, key_value_heads=2, ffn_size=192),
        grids=((4, 4),),
    ),
    "1.5b": ModelConfig(backbone=_QWEN_1_5B),
    "1.5b-hq": ModelConfig(backbone=_QWEN_1_5B, grids=((32, 32), (64, 64))),
    "7b": ModelConfig(backbone=_QWEN_7B),
}


def with_grid(config: ModelConfig, rows: int, columns: int) -> ModelConfig:
    """The same model with one image grid only, for measurements."""
    return replace(config, grids=((rows, columns),))


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeConfig:
    """A Wan 2.1 image autoencoder; latents are normalised per channel with `latents_mean` and `latents_std`."""

    width: int = 96
    latent_channels: int = 16
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    residual_blocks: int = 2
    latents_mean: tuple[float, ...]
    latents_std: tuple[float, ...]

    def __post_init__(self) -> None:
        _within("vae", 2**14, width=self.width)
        _within("vae", _SIDE, latent_channels=self.latent_channels)
        _within("vae", _SMALL, residual_blocks=self.residual_blocks)
        _within("vae", 8, levels=len(self.multipliers))
        for multiplier in self.multipliers:
            _within("vae", _SMALL, multipliers=multiplier)
        for name, values in (("latents_mean", self.latents_mean), ("latents_std", self.latents_std)):
            if len(values) != self.latent_channels:
                raise ConfigurationError(f"vae.{name} has {len(values)} values for {self.latent_channels} channels")
        for mean, deviation in zip(self.latents_mean, self.latents_std, strict=True):
            _within("vae", 1e6, -1e6, latents_mean=mean)
            _within("vae", 1e6, 1e-6, latents_std=deviation)

    @property
    def compression(self) -> int:
        """Pixels per latent, along each side."""
        return int(2 ** (len(self.multipliers) - 1))


# Statistics of Wan 2.1's latents over its training data, as published with its weights.
WAN_VAE = VaeConfig(
    latents_mean=(
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    ),
    latents_std=(
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.916,
    ),
)  # fmt: skip


DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
AttentionName = Literal["sdpa", "flash-attn"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """Settings of an engine.

    Attributes:
        device: "auto" takes the first GPU, else the CPU; or a torch device such as "cuda:1".
        dtype: "auto" is bfloat16 on GPUs and on CPUs with bf16 matrix instructions, else float32.
        attention: the attention kernel.
        max_batch: maximum number of pictures, or of answers, in a batch.
        max_running: maximum number of running pictures, and of running answers; None is twice `max_batch`, so that
            requests whose next steps differ still find others to share a batch with.
        max_picture_bytes, max_answer_bytes: maximum size of the caches of running pictures, and of running answers. A
            request that is larger by itself still runs, alone.
        answer_weight: seconds that answers run per second of pictures while both wait.
        max_prompt_tokens: maximum number of tokens of a prompt or question.
        calibrated: use the calibration beside the checkpoint.
        enforce_eager: on a GPU, run without CUDA graphs and fused kernels.
    """

    device: str = "auto"
    dtype: DtypeName = "auto"
    attention: AttentionName = "sdpa"
    max_batch: int = 8
    max_running: int | None = None
    max_picture_bytes: int = 4 * 2**30
    max_answer_bytes: int = 2 * 2**30
    answer_weight: float = 4.0
    max_prompt_tokens: int = 256
    calibrated: bool = True
    enforce_eager: bool = False

    def __post_init__(self) -> None:
        _within("engine", 2**16, max_batch=self.max_batch)
        _within("engine", 2**20, max_prompt_tokens=self.max_prompt_tokens)
        _within("engine", 2**60, max_picture_bytes=self.max_picture_bytes, max_answer_bytes=self.max_answer_bytes)
        if self.max_running is not None:
            _within("engine", 2**16, max_running=self.max_running)
        _within("engine", 100.0, 0.01, answer_weight=self.answer_weight)

    @property
    def running(self) -> int:
        """Maximum number of running pictures, and of running answers."""
        return 2 * self.max_batch if self.max_running is None else self.max_running
