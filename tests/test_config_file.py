from __future__ import annotations

import json
from dataclasses import replace

import pytest

from flashu_core.config import MODELS, WAN_VAE
from flashu_core.config_file import (
    model_config_from_json,
    model_config_to_json,
    vae_config_from_json,
    vae_config_to_json,
)
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
    config = replace(MODELS[size], understanding_block="time", velocity_layout="patches", points=20, guidance=2.5)
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
