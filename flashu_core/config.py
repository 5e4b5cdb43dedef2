"""Sizes of the models and settings of the engine: plain validated data.

`ModelConfig` holds what a checkpoint's `config.json` says, in this project's words, and reads and writes that file's
keys. It builds nothing and loads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from flashu_core.errors import ConfigurationError

UnderstandingBlock = Literal["image", "time"]
VelocityLayout = Literal["flat", "patches"]


def _positive(owner: str, **values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ConfigurationError(f"{owner}.{name} is {value}; it must be at least 1")


def _heads_divide(owner: str, hidden_size: int, heads: int, key_value_heads: int) -> None:
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
        _positive("backbone", layers=self.layers, ffn_size=self.ffn_size, vocabulary=self.vocabulary)
        _heads_divide("backbone", self.hidden_size, self.heads, self.key_value_heads)


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionConfig:
    """The semantic layers: SigLIP so400m's encoder without its last layer. `position_grid` is the table's side."""

    hidden_size: int = 1152
    layers: int = 26
    heads: int = 16
    ffn_size: int = 4304
    norm_eps: float = 1e-6
    position_grid: int = 27

    def __post_init__(self) -> None:
        _positive("vision", layers=self.layers, ffn_size=self.ffn_size, position_grid=self.position_grid)
        if self.hidden_size % self.heads:
            raise ConfigurationError(f"vision: {self.heads} heads do not divide a width of {self.hidden_size}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeScaling:
    """Llama 3's stretching of low rotary frequencies."""

    factor: float = 32.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_positions: int = 8192


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
        _positive("head", blocks=self.blocks, ffn_size=self.ffn_size)
        _heads_divide("head", self.hidden_size, self.heads, self.key_value_heads)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A whole Show-o2.

    Attributes:
        grids: image sizes the model draws, as (rows, columns) of image tokens; the first is the default.
        understanding_block: where full attention starts when a picture is read: at the first "image" token and through
            the token after the picture (as the published checkpoints are used), or at the "time" token (as trained).
        velocity_layout: "flat" keeps the published models' order of the final layer's output; "patches" puts each
            token's output at its own place in the latents.
        time_shift: the shift of the time grid towards noise.
        points, guidance: what a request that names none is drawn with.
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
    points: int = 50
    guidance: float = 5.0

    def __post_init__(self) -> None:
        if not self.grids or any(rows < 1 or columns < 1 for rows, columns in self.grids):
            raise ConfigurationError(f"image grids are {self.grids}; each needs at least one row and one column")
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
        """Latent values one image token stands for."""
        return self.patch_size * self.patch_size * self.latent_channels


def model_config_from_json(raw: Mapping[str, Any], backbone: Mapping[str, Any] | None = None) -> ModelConfig:
    """Reads a checkpoint's `config.json`.

    Args:
        raw: the file's content. The published files lack the parts' sizes; this project's own hold them under
            `llm_config`, `head_config` and `vision_config`.
        backbone: the configuration of the language model that `llm_model_path` names, where `raw` has no `llm_config`.

    Raises:
        ConfigurationError: a key is missing or a value cannot be used.
    """
    try:
        llm = raw.get("llm_config") or backbone
        if llm is None:
            raise ConfigurationError(
                "config.json has no llm_config: give the language model's folder or hub id "
                f"(llm_model_path says {raw.get('llm_model_path')!r})"
            )
        grid = (int(raw["image_latent_height"]), int(raw["image_latent_width"]))
        grids = tuple((int(rows), int(columns)) for rows, columns in raw.get("image_grids", ())) or _grids_of(grid)
        return ModelConfig(
            backbone=_backbone(llm, raw.get("llm_vocab_size")),
            vision=_vision(raw.get("vision_config"), raw),
            head=_head(raw.get("head_config"), raw),
            grids=grids,
            latent_channels=int(raw["image_latent_dim"]),
            patch_size=int(raw["patch_size"]),
            time_token=bool(raw["add_time_embeds"]),
            understanding_block=raw.get("understanding_block", "image"),
            velocity_layout=raw.get("velocity_layout", "flat"),
            time_shift=float(raw.get("time_shift", 3.0)),
            points=int(raw.get("default_points", 50)),
            guidance=float(raw.get("default_guidance", 5.0)),
        )
    except KeyError as error:
        raise ConfigurationError(f"config.json has no {error.args[0]!r}") from error


def _grids_of(grid: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    # The HQ checkpoint draws 512 and 1024 px whichever of the two its file names first.
    pair = ((32, 32), (64, 64))
    return (grid, *(other for other in pair if other != grid)) if grid in pair else (grid,)


def _rope_theta(raw: Mapping[str, Any], default: float) -> float:
    parameters = raw.get("rope_parameters") or {}
    return float(raw.get("rope_theta", parameters.get("rope_theta", default)))


def _backbone(raw: Mapping[str, Any], vocabulary: int | None) -> BackboneConfig:
    return BackboneConfig(
        hidden_size=int(raw["hidden_size"]),
        layers=int(raw["num_hidden_layers"]),
        heads=int(raw["num_attention_heads"]),
        key_value_heads=int(raw["num_key_value_heads"]),
        ffn_size=int(raw["intermediate_size"]),
        vocabulary=int(vocabulary or raw["vocab_size"]),
        rope_theta=_rope_theta(raw, 1e6),
        norm_eps=float(raw.get("rms_norm_eps", 1e-6)),
        tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
    )


def _vision(raw: Mapping[str, Any] | None, whole: Mapping[str, Any]) -> VisionConfig:
    if raw is None:
        return VisionConfig(hidden_size=int(whole.get("clip_latent_dim", 1152)))
    return VisionConfig(
        hidden_size=int(raw["hidden_size"]),
        layers=int(raw["num_hidden_layers"]),
        heads=int(raw["num_attention_heads"]),
        ffn_size=int(raw["intermediate_size"]),
        norm_eps=float(raw.get("layer_norm_eps", 1e-6)),
        position_grid=int(raw["position_grid"]),
    )


def _head(raw: Mapping[str, Any] | None, whole: Mapping[str, Any]) -> HeadConfig:
    blocks = int(whole["num_diffusion_layers"])
    if raw is None:
        return HeadConfig(blocks=blocks, query_key_norm=bool(whole.get("add_qk_norm", True)))
    scaling = raw.get("rope_scaling")
    return HeadConfig(
        hidden_size=int(raw["hidden_size"]),
        blocks=blocks,
        heads=int(raw["num_attention_heads"]),
        key_value_heads=int(raw["num_key_value_heads"]),
        ffn_size=int(raw["intermediate_size"]),
        norm_eps=float(raw.get("rms_norm_eps", 1e-5)),
        rope_theta=_rope_theta(raw, 5e5),
        rope_scaling=None
        if scaling is None
        else RopeScaling(
            factor=float(scaling["factor"]),
            low_freq_factor=float(scaling["low_freq_factor"]),
            high_freq_factor=float(scaling["high_freq_factor"]),
            original_positions=int(scaling["original_max_position_embeddings"]),
        ),
        query_key_norm=bool(raw.get("qk_norm", whole.get("add_qk_norm", True))),
    )


def model_config_to_json(config: ModelConfig) -> dict[str, Any]:
    """The content of `config.json` in this project's own layout; `model_config_from_json` reads it back."""
    backbone, vision, head = config.backbone, config.vision, config.head
    scaling = head.rope_scaling
    return {
        "_class_name": "Showo2Qwen2_5",
        "llm_vocab_size": backbone.vocabulary,
        "image_latent_dim": config.latent_channels,
        "image_latent_height": config.grids[0][0],
        "image_latent_width": config.grids[0][1],
        "image_grids": [list(grid) for grid in config.grids],
        "patch_size": config.patch_size,
        "hidden_size": backbone.hidden_size,
        "clip_latent_dim": vision.hidden_size,
        "num_diffusion_layers": head.blocks,
        "add_time_embeds": config.time_token,
        "add_qk_norm": head.query_key_norm,
        "understanding_block": config.understanding_block,
        "velocity_layout": config.velocity_layout,
        "time_shift": config.time_shift,
        "default_points": config.points,
        "default_guidance": config.guidance,
        "llm_config": {
            "hidden_size": backbone.hidden_size,
            "num_hidden_layers": backbone.layers,
            "num_attention_heads": backbone.heads,
            "num_key_value_heads": backbone.key_value_heads,
            "intermediate_size": backbone.ffn_size,
            "vocab_size": backbone.vocabulary,
            "rope_theta": backbone.rope_theta,
            "rms_norm_eps": backbone.norm_eps,
            "tie_word_embeddings": backbone.tied_embeddings,
        },
        "head_config": {
            "hidden_size": head.hidden_size,
            "num_attention_heads": head.heads,
            "num_key_value_heads": head.key_value_heads,
            "intermediate_size": head.ffn_size,
            "rms_norm_eps": head.norm_eps,
            "rope_theta": head.rope_theta,
            "rope_scaling": None
            if scaling is None
            else {
                "rope_type": "llama3",
                "factor": scaling.factor,
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_positions,
            },
            "qk_norm": head.query_key_norm,
        },
        "vision_config": {
            "hidden_size": vision.hidden_size,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            "intermediate_size": vision.ffn_size,
            "layer_norm_eps": vision.norm_eps,
            "position_grid": vision.position_grid,
        },
    }


_QWEN_1_5B = BackboneConfig(
    hidden_size=1536, layers=28, heads=12, key_value_heads=2, ffn_size=8960, vocabulary=151_669
)
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
        backbone=BackboneConfig(
            hidden_size=64, layers=4, heads=4, key_value_heads=2, ffn_size=256, vocabulary=640
        ),
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
        _positive("vae", width=self.width, residual_blocks=self.residual_blocks, levels=len(self.multipliers))
        for name, values in (("latents_mean", self.latents_mean), ("latents_std", self.latents_std)):
            if len(values) != self.latent_channels:
                raise ConfigurationError(f"vae.{name} has {len(values)} values for {self.latent_channels} channels")
        if min(self.latents_std) <= 0:
            raise ConfigurationError(f"vae.latents_std has {min(self.latents_std)}; each must be above 0")

    @property
    def compression(self) -> int:
        """Pixels per latent, along each side."""
        return int(2 ** (len(self.multipliers) - 1))


def vae_config_from_json(raw: Mapping[str, Any]) -> VaeConfig:
    """Reads the `vae` part of this project's `config.json` (the keys of the original's arguments)."""
    try:
        return VaeConfig(
            width=int(raw["dim"]),
            latent_channels=int(raw["z_dim"]),
            multipliers=tuple(int(value) for value in raw["dim_mult"]),
            residual_blocks=int(raw["num_res_blocks"]),
            latents_mean=tuple(float(value) for value in raw["latents_mean"]),
            latents_std=tuple(float(value) for value in raw["latents_std"]),
        )
    except KeyError as error:
        raise ConfigurationError(f"the vae's configuration has no {error.args[0]!r}") from error


def vae_config_to_json(config: VaeConfig) -> dict[str, Any]:
    """The counterpart of `vae_config_from_json`."""
    return {
        "dim": config.width,
        "z_dim": config.latent_channels,
        "dim_mult": list(config.multipliers),
        "num_res_blocks": config.residual_blocks,
        "latents_mean": list(config.latents_mean),
        "latents_std": list(config.latents_std),
    }


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
    """How an engine runs, whatever it loads.

    Attributes:
        device: "auto" takes the first GPU, else the CPU; or a torch device such as "cuda:1".
        dtype: "auto" is bfloat16 on GPUs and on CPUs with bf16 matrix instructions, else float32.
        attention: the attention kernel.
        max_batch: pictures, or answers, that advance together at most.
        max_prompt_tokens: tokens of a user's text at most.
    """

    device: str = "auto"
    dtype: DtypeName = "auto"
    attention: AttentionName = "sdpa"
    max_batch: int = 8
    max_prompt_tokens: int = 256

    def __post_init__(self) -> None:
        _positive("engine", max_batch=self.max_batch, max_prompt_tokens=self.max_prompt_tokens)
