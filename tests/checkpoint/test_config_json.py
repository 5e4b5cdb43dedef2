from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from typing import Any

import pytest

from flashu_core.checkpoint.config_json import (
    model_config_from_json,
    model_config_to_json,
    vae_config_from_json,
    vae_config_to_json,
)
from flashu_core.config import MODELS, WAN_VAE
from flashu_core.errors import ConfigurationError

# What the published 1.5B's config.json and its language model's say, in the keys this project reads.
PUBLISHED = {
    "llm_vocab_size": 151669,
    "llm_model_path": "Qwen/Qwen2.5-1.5B-Instruct",
    "image_latent_dim": 16,
    "image_latent_height": 27,
    "image_latent_width": 27,
    "patch_size": 2,
    "hidden_size": 1536,
    "clip_latent_dim": 1152,
    "num_diffusion_layers": 10,
    "add_time_embeds": True,
    "add_qk_norm": True,
}
LANGUAGE_MODEL = {
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "intermediate_size": 8960,
    "vocab_size": 151936,
    "rope_theta": 1000000.0,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": True,
}


@pytest.mark.parametrize("size", MODELS)
def test_every_size_survives_the_file(size: str) -> None:
    config = replace(
        MODELS[size], understanding_block="time", velocity_layout="patches", num_inference_steps=20, guidance_scale=2.5
    )
    assert model_config_from_json(json.loads(json.dumps(model_config_to_json(config)))) == config


def test_published_files_give_the_published_model() -> None:
    assert model_config_from_json(PUBLISHED, LANGUAGE_MODEL) == MODELS["1.5b"]


def test_hq_files_give_both_sizes() -> None:
    raw = {**PUBLISHED, "image_latent_height": 64, "image_latent_width": 64}
    assert model_config_from_json(raw, LANGUAGE_MODEL).grids == ((64, 64), (32, 32))


def test_newer_language_models_keep_theta_elsewhere() -> None:
    llm = {**LANGUAGE_MODEL, "rope_parameters": {"rope_theta": 5e5}}
    del llm["rope_theta"]
    assert model_config_from_json(PUBLISHED, llm).backbone.rope_theta == 5e5


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"Qwen/Qwen2\.5-1\.5B-Instruct"):
        model_config_from_json(PUBLISHED)
    broken = {key: value for key, value in PUBLISHED.items() if key != "patch_size"}
    with pytest.raises(ConfigurationError, match="patch_size"):
        model_config_from_json(broken, LANGUAGE_MODEL)
    with pytest.raises(ConfigurationError, match="dim_mult"):
        vae_config_from_json({"dim": 96, "z_dim": 16})


def test_autoencoders_survive_the_file() -> None:
    assert vae_config_from_json(json.loads(json.dumps(vae_config_to_json(WAN_VAE)))) == WAN_VAE


TINY = model_config_to_json(MODELS["tiny"])
MANY = int("9" * 400)
ABSURD: list[tuple[str, object, str]] = [
    ("llm_config.num_hidden_layers", 10**6, "backbone.layers is 1000000"),
    ("llm_config.num_hidden_layers", -1, "backbone.layers is -1"),
    ("llm_config.num_hidden_layers", 2.5, "num_hidden_layers is 2.5; it must be a whole number"),
    ("llm_config.num_hidden_layers", True, "num_hidden_layers is True; it must be a number"),
    ("llm_config.num_hidden_layers", "4", "num_hidden_layers is '4'; it must be a number"),
    ("llm_config.num_hidden_layers", [], r"num_hidden_layers is \[\]; it must be a number"),
    ("llm_config.hidden_size", 2**40, "backbone.hidden_size is"),
    ("llm_config.hidden_size", -64, "backbone.hidden_size is -64"),
    ("llm_config.num_attention_heads", 0, "backbone.heads is 0"),
    ("llm_config.num_key_value_heads", 0, "backbone.key_value_heads is 0"),
    ("llm_config.intermediate_size", 10**12, "backbone.ffn_size is"),
    ("llm_config.vocab_size", 10**10, "backbone.vocabulary is"),
    ("llm_vocab_size", 10**10, "backbone.vocabulary is"),
    ("llm_config.rms_norm_eps", math.nan, "rms_norm_eps is nan"),
    ("llm_config.rope_theta", math.inf, "rope_theta is inf"),
    ("llm_config.rope_theta", -1.0, "backbone.rope_theta is -1.0"),
    ("llm_config.tie_word_embeddings", "false", "tie_word_embeddings is 'false'; it must be true or false"),
    ("llm_config", [1], r"llm_config is \[1\]; it must be an object"),
    ("vision_config.num_hidden_layers", 10**6, "vision.layers is"),
    ("vision_config.num_attention_heads", 0, "vision.heads is 0"),
    ("vision_config.position_grid", 10**6, "vision.position_grid is"),
    ("head_config.num_key_value_heads", 0, "head.key_value_heads is 0"),
    ("head_config.rope_scaling", {"factor": 1}, "low_freq_factor"),
    ("head_config.rope_scaling", 7, "rope_scaling is 7"),
    ("head_config.rope_scaling.factor", 0, "head.rope_scaling.factor is 0"),
    ("head_config.rope_scaling.high_freq_factor", 1.0, "for both frequency factors"),
    ("num_diffusion_layers", 10**6, "head.blocks is"),
    ("image_latent_dim", 10**6, "model.latent_channels is"),
    ("image_latent_height", MANY, "image_latent_height is a number of many digits"),
    ("image_grids", [[4, 4]] * 1000, "1000 image grids"),
    ("image_grids", [[4, 10**6]], "model.grids.columns is 1000000"),
    ("image_grids", [[4]], r"image_grids has \[4\]"),
    ("image_grids", 4, "image_grids is 4; it must be a list"),
    ("patch_size", 0, "model.patch_size is 0"),
    ("patch_size", None, "patch_size is None"),
    ("add_time_embeds", 1, "add_time_embeds is 1; it must be true or false"),
    ("time_shift", math.nan, "time_shift is nan"),
    ("time_shift", 0.0, "model.time_shift is 0.0"),
    ("default_points", 10**9, "model.num_inference_steps is 1000000000; it must be from 2 to 1000"),
    ("default_points", 1, "model.num_inference_steps is 1"),
    ("default_guidance", math.nan, "default_guidance is nan"),
    ("default_guidance", 1e6, "model.guidance_scale is"),
    ("policies", {"flashu": {"generate": {"ffn_ratio": math.nan}}}, "policies.ffn_ratio is nan"),
    ("policies", {"flashu": {"generate": {"ffn_ratio": "x" * 1000}}}, "policies.ffn_ratio is 'xxx"),
    ("policies", {"flashu": 1}, "policies is"),
]


@pytest.mark.parametrize(
    ("key", "value", "named"), ABSURD, ids=[f"{key}={str(value)[:20]}" for key, value, _ in ABSURD]
)
def test_absurd_values_are_refused_by_name(key: str, value: object, named: str) -> None:
    raw = changed(TINY, key, value)
    if key == "llm_config.vocab_size":
        del raw["llm_vocab_size"]
    with pytest.raises(ConfigurationError, match=named) as caught:
        model_config_from_json(raw)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def changed(raw: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    copied: dict[str, Any] = copy.deepcopy(raw)
    *parents, last = key.split(".")
    place = copied
    for parent in parents:
        place = place[parent]
    place[last] = value
    return copied


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("dim", 10**9, "vae.width is"),
        ("dim", 0, "vae.width is 0"),
        ("z_dim", 17, "16 values for 17 channels"),
        ("z_dim", 10**9, "vae.latent_channels is"),
        ("dim_mult", [1] * 100, "vae.levels is 100"),
        ("dim_mult", [], "vae.levels is 0"),
        ("dim_mult", [1, 10**6], "vae.multipliers is 1000000"),
        ("dim_mult", [1, -2], "vae.multipliers is -2"),
        ("dim_mult", "1224", "dim_mult is '1224'; it must be a list"),
        ("num_res_blocks", 10**9, "vae.residual_blocks is"),
        ("latents_mean", [math.nan] * 16, "latents_mean is nan"),
        ("latents_std", [math.nan] * 16, "latents_std is nan"),
        ("latents_std", [math.inf] * 16, "latents_std is inf"),
        ("latents_std", [0.0] * 16, "vae.latents_std is 0.0"),
        ("latents_std", [-1.0] * 16, "vae.latents_std is -1.0"),
    ],
)
def test_absurd_autoencoders_are_refused_by_name(key: str, value: object, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        vae_config_from_json(changed(vae_config_to_json(WAN_VAE), key, value))
    with pytest.raises(ConfigurationError, match="vae is"):
        vae_config_from_json([1])
