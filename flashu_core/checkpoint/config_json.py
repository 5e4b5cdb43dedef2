"""The keys of a checkpoint's `config.json`, to and from the configurations of `config`.

The published files lack the parts' sizes; this project's own hold them under keys of the same style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flashu_core.config import BackboneConfig, HeadConfig, ModelConfig, RopeScaling, VaeConfig, VisionConfig
from flashu_core.errors import ConfigurationError


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
        llm = _part(raw, "llm_config") or backbone
        if llm is None:
            raise ConfigurationError(
                "config.json has no llm_config: give the language model's folder or hub id "
                f"(llm_model_path says {raw.get('llm_model_path')!r})"
            )
        grid = (_whole(raw, "image_latent_height"), _whole(raw, "image_latent_width"))
        grids = tuple(_grid(one) for one in _list(raw, "image_grids", ())) or _grids_of(grid)
        return ModelConfig(
            backbone=_backbone(llm, _whole(raw, "llm_vocab_size", 0)),
            vision=_vision(_part(raw, "vision_config"), raw),
            head=_head(_part(raw, "head_config"), raw),
            grids=grids,
            latent_channels=_whole(raw, "image_latent_dim"),
            patch_size=_whole(raw, "patch_size"),
            time_token=_flag(raw, "add_time_embeds"),
            understanding_block=raw.get("understanding_block", "image"),
            velocity_layout=raw.get("velocity_layout", "flat"),
            time_shift=_number(raw, "time_shift", 3.0),
            num_inference_steps=_whole(raw, "default_points", 50),
            guidance_scale=_number(raw, "default_guidance", 5.0),
            policies=_policies(raw.get("policies", {})),
        )
    except KeyError as error:
        raise ConfigurationError(f"config.json has no {error.args[0]!r}") from error


def _policies(raw: Any) -> dict[str, dict[str, dict[str, float]]]:
    try:
        return {
            str(policy): {
                str(task): {str(name): _as_number(f"policies.{name}", value) for name, value in parameters.items()}
                for task, parameters in tasks.items()
            }
            for policy, tasks in raw.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"policies is {_shown(raw)}; it must be {{policy: {{task: {{parameter: number}}}}}}"
        ) from error


def _grids_of(grid: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    # The HQ checkpoint generates 512 and 1024 px, whichever of the two its file names.
    pair = ((32, 32), (64, 64))
    return (grid, *(other for other in pair if other != grid)) if grid in pair else (grid,)


def _rope_theta(raw: Mapping[str, Any], default: float) -> float:
    return _number(raw, "rope_theta", _number(_part(raw, "rope_parameters") or {}, "rope_theta", default))


def _backbone(raw: Mapping[str, Any], vocabulary: int) -> BackboneConfig:
    return BackboneConfig(
        hidden_size=_whole(raw, "hidden_size"),
        layers=_whole(raw, "num_hidden_layers"),
        heads=_whole(raw, "num_attention_heads"),
        key_value_heads=_whole(raw, "num_key_value_heads"),
        ffn_size=_whole(raw, "intermediate_size"),
        vocabulary=vocabulary or _whole(raw, "vocab_size"),
        rope_theta=_rope_theta(raw, 1e6),
        norm_eps=_number(raw, "rms_norm_eps", 1e-6),
        tied_embeddings=_flag(raw, "tie_word_embeddings", False),
    )


def _vision(raw: Mapping[str, Any] | None, whole: Mapping[str, Any]) -> VisionConfig:
    if raw is None:
        return VisionConfig(hidden_size=_whole(whole, "clip_latent_dim", 1152))
    return VisionConfig(
        hidden_size=_whole(raw, "hidden_size"),
        layers=_whole(raw, "num_hidden_layers"),
        heads=_whole(raw, "num_attention_heads"),
        ffn_size=_whole(raw, "intermediate_size"),
        norm_eps=_number(raw, "layer_norm_eps", 1e-6),
        position_grid=_whole(raw, "position_grid"),
    )


def _head(raw: Mapping[str, Any] | None, whole: Mapping[str, Any]) -> HeadConfig:
    blocks = _whole(whole, "num_diffusion_layers")
    if raw is None:
        return HeadConfig(blocks=blocks, query_key_norm=_flag(whole, "add_qk_norm", True))
    scaling = _part(raw, "rope_scaling")
    return HeadConfig(
        hidden_size=_whole(raw, "hidden_size"),
        blocks=blocks,
        heads=_whole(raw, "num_attention_heads"),
        key_value_heads=_whole(raw, "num_key_value_heads"),
        ffn_size=_whole(raw, "intermediate_size"),
        norm_eps=_number(raw, "rms_norm_eps", 1e-5),
        rope_theta=_rope_theta(raw, 5e5),
        rope_scaling=None
        if scaling is None
        else RopeScaling(
            factor=_number(scaling, "factor"),
            low_freq_factor=_number(scaling, "low_freq_factor"),
            high_freq_factor=_number(scaling, "high_freq_factor"),
            original_positions=_whole(scaling, "original_max_position_embeddings"),
        ),
        query_key_norm=_flag(raw, "qk_norm", _flag(whole, "add_qk_norm", True)),
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
        "default_points": config.num_inference_steps,
        "default_guidance": config.guidance_scale,
        "policies": {
            policy: {task: dict(own) for task, own in tasks.items()} for policy, tasks in config.policies.items()
        },
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


def vae_config_from_json(raw: Any) -> VaeConfig:
    """Reads the `vae` part of this project's `config.json` (the keys of the original's arguments).

    Raises:
        ConfigurationError: a key is missing or a value cannot be used.
    """
    if not isinstance(raw, Mapping):
        raise ConfigurationError(f"vae is {_shown(raw)}; it must be an object")
    try:
        return VaeConfig(
            width=_whole(raw, "dim"),
            latent_channels=_whole(raw, "z_dim"),
            multipliers=tuple(_as_whole("dim_mult", value) for value in _list(raw, "dim_mult")),
            residual_blocks=_whole(raw, "num_res_blocks"),
            latents_mean=tuple(_as_number("latents_mean", value) for value in _list(raw, "latents_mean")),
            latents_std=tuple(_as_number("latents_std", value) for value in _list(raw, "latents_std")),
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


# Values of an untrusted file: a value of another type is refused with its key.


def _whole(raw: Mapping[str, Any], key: str, default: int | None = None) -> int:
    return _as_whole(key, _value(raw, key, default))


def _number(raw: Mapping[str, Any], key: str, default: float | None = None) -> float:
    return _as_number(key, _value(raw, key, default))


def _as_whole(key: str, value: Any) -> int:
    number = _as_number(key, value)
    if not number.is_integer():
        raise ConfigurationError(f"{key} is {_shown(value)}; it must be a whole number")
    return int(number)


def _as_number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{key} is {_shown(value)}; it must be a number")
    # Python's integers are unbounded, and its JSON has NaN and infinity.
    if not abs(value) < 2**53:
        raise ConfigurationError(f"{key} is {_shown(value)}; no model has such a number")
    return float(value)


def _flag(raw: Mapping[str, Any], key: str, default: bool | None = None) -> bool:
    value = _value(raw, key, default)
    if not isinstance(value, bool):
        raise ConfigurationError(f"{key} is {_shown(value)}; it must be true or false")
    return value


def _list(raw: Mapping[str, Any], key: str, default: Sequence[Any] | None = None) -> Sequence[Any]:
    value = _value(raw, key, default)
    if not isinstance(value, list | tuple):
        raise ConfigurationError(f"{key} is {_shown(value)}; it must be a list")
    return value


def _part(raw: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    value = raw.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise ConfigurationError(f"{key} is {_shown(value)}; it must be an object")
    return value


def _grid(value: Any) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ConfigurationError(f"image_grids has {_shown(value)}; each must be [rows, columns]")
    rows, columns = (_as_whole("image_grids", side) for side in value)
    return rows, columns


def _value(raw: Mapping[str, Any], key: str, default: Any) -> Any:
    value = raw.get(key)
    if value is not None:
        return value
    return raw[key] if default is None else default


def _shown(value: object) -> str:
    text = ascii(value) if not isinstance(value, int) or abs(value) < 2**64 else "a number of many digits"
    return text if len(text) <= 80 else f"{text[:77]}..."
