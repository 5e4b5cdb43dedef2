"""Checkpoints in every form that is published, loaded as they were written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from flashu_core.checkpoint.load import choose_dtype
from flashu_core.checkpoint.weights import published_name
from flashu_core.config import MODELS
from flashu_core.errors import CheckpointError, ConfigurationError
from flashu_core.model.showo2 import Showo2
from flashu_core.text.tokenizer import Tokenizer

EMBEDDINGS, LM_HEAD = "showo.model.embed_tokens.weight", "showo.lm_head.weight"


@pytest.mark.parametrize(
    ("own", "on_disk"),
    [
        ("backbone.embed_tokens.weight", "showo.model.embed_tokens.weight"),
        ("backbone.layers.3.self_attn.q_proj.bias", "showo.model.layers.3.self_attn.q_proj.bias"),
        ("backbone.norm.weight", "showo.model.norm.weight"),
        ("backbone.lm_head.weight", "showo.lm_head.weight"),
        ("vision.layers.1.mlp.fc1.weight", "und_trans.layers.1.mlp.fc1.weight"),
        ("vision.image_embedder_und.proj.weight", "image_embedder_und.proj.weight"),
        ("vision.image_embedder_gen.proj.bias", "image_embedder_gen.proj.bias"),
        ("vision.position_embedding.weight", "position_embedding.weight"),
        ("vision.fusion_proj.0.weight", "fusion_proj.0.weight"),
        ("time_embed.mlp.0.weight", "time_embed.mlp.0.weight"),
        ("time_embed_proj.weight", "time_embed_proj.weight"),
        ("head.diff_proj.2.bias", "diff_proj.2.bias"),
        ("head.blocks.0.adaLN_modulation.1.weight", "diffusion_head_a.0.adaLN_modulation.1.weight"),
        ("head.final.linear.weight", "diffusion_head_b.linear.weight"),
    ],
)
def test_published_names(own: str, on_disk: str) -> None:
    with torch.device("meta"):
        assert own in Showo2(MODELS["tiny"]).state_dict()
    assert published_name(own) == on_disk


def test_single_file_with_parts_elsewhere(published: Any, tokenizer: Tokenizer) -> None:
    checkpoint = published.load()
    published.assert_loaded(checkpoint)
    assert checkpoint.name == "model"
    assert checkpoint.model.config == MODELS["tiny"]
    assert checkpoint.vae.config == published.vae.config  # the width is the weights', the statistics are Wan's
    assert checkpoint.tokenizer.encode("a red circle") == tokenizer.encode("a red circle")
    assert not any(p.requires_grad for part in (checkpoint.model, checkpoint.vae) for p in part.parameters())
    assert not any(module.training for part in (checkpoint.model, checkpoint.vae) for module in part.modules())


def test_vae_encodes_as_before_it_was_published(published: Any) -> None:
    checkpoint, pixels = published.load(), torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        assert torch.equal(checkpoint.vae.encode(pixels), published.vae.encode(pixels))


def test_parts_given_explicitly(published: Any, tmp_path: Path) -> None:
    (tmp_path / "language").rename(tmp_path / "elsewhere")
    (published.folder / "Wan2.1_VAE.pth").rename(tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"has no Wan2\.1_VAE\.pth or vae\.safetensors; give vae"):
        published.load()
    with pytest.raises(CheckpointError, match=r"language; give the language model's folder or a hub id"):
        published.load(vae=tmp_path / "other.pth")
    checkpoint = published.load(vae=tmp_path / "other.pth", language_model=str(tmp_path / "elsewhere"))
    published.assert_loaded(checkpoint)


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
@pytest.mark.parametrize("index", [True, False])
def test_sharded(published: Any, suffix: str, index: bool) -> None:
    (published.folder / "pytorch_model.bin").unlink()
    stem = "pytorch_model" if suffix == ".bin" else "model"
    names = list(published.weights)
    files = [f"{stem}-{number:05}-of-00003{suffix}" for number in (1, 2, 3)]
    for number, file in enumerate(files):
        shard = {name: published.weights[name] for name in names[number::3]}
        (torch.save if suffix == ".bin" else save_file)(shard, published.folder / file)
    if index:
        shards = {name: files[number % 3] for number, name in enumerate(names)}
        (published.folder / f"{stem}{suffix}.index.json").write_text(json.dumps({"weight_map": shards}))
    published.assert_loaded(published.load())

    (published.folder / files[1]).unlink()
    missing = f"lists {files[1]}" if index else f"missing {names[1]}, {names[4]}, {names[7]} and "
    with pytest.raises(CheckpointError, match=missing):
        published.load()


def test_single_safetensors(published: Any) -> None:
    (published.folder / "pytorch_model.bin").unlink()
    save_file(published.weights, published.folder / "model.safetensors")
    published.assert_loaded(published.load())


def test_files_from_before_zip_archives(published: Any) -> None:
    path = published.folder / "pytorch_model.bin"
    torch.save(published.weights, path, _use_new_zipfile_serialization=False)
    published.assert_loaded(published.load())


def test_index_may_not_name_files_elsewhere(published: Any) -> None:
    index = published.folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {EMBEDDINGS: "../pytorch_model.bin"}}))
    with pytest.raises(CheckpointError, match=r"lists '\.\./pytorch_model\.bin'; files must be in the same folder"):
        published.load()


def test_two_files_with_one_tensor(published: Any) -> None:
    (published.folder / "pytorch_model.bin").unlink()
    for number in (1, 2):
        torch.save(published.weights, published.folder / f"pytorch_model-{number}.bin")
    with pytest.raises(CheckpointError, match=rf"both hold '{EMBEDDINGS}'"):
        published.load()


def test_tied_embeddings_stay_one_parameter(published: Any) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        backbone = published.load(dtype=dtype).model.backbone
        assert backbone.lm_head.weight is backbone.embed_tokens.weight


def test_redundant_language_head_is_dropped(published: Any) -> None:
    published.rewrite(lambda weights: weights.update({LM_HEAD: weights[EMBEDDINGS].clone()}))
    checkpoint = published.load()
    assert checkpoint.model.backbone.lm_head.weight is checkpoint.model.backbone.embed_tokens.weight
    published.assert_loaded(checkpoint)
    published.rewrite(lambda weights: weights.update({LM_HEAD: weights[EMBEDDINGS][:-1].clone()}))
    with pytest.raises(CheckpointError, match=r"showo\.lm_head\.weight in .* is \[639, 64\] instead of \[640, 64\]"):
        published.load()


def test_untied_embeddings(tmp_path: Path, tokenizer: Tokenizer, publish: Any) -> None:
    tiny = MODELS["tiny"]
    published = publish(
        tmp_path / "m", tokenizer, replace(tiny, backbone=replace(tiny.backbone, tied_embeddings=False))
    )
    backbone = published.load().model.backbone
    assert torch.equal(backbone.lm_head.weight, published.weights[LM_HEAD])
    assert not torch.equal(backbone.lm_head.weight, backbone.embed_tokens.weight)
    published.rewrite(lambda weights: weights.pop(LM_HEAD))
    with pytest.raises(CheckpointError, match=r"missing showo\.lm_head\.weight"):
        published.load()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_casting(published: Any, dtype: torch.dtype) -> None:
    checkpoint = published.load(dtype=dtype)
    assert {p.dtype for part in (checkpoint.model, checkpoint.vae) for p in part.parameters()} == {dtype}
    assert torch.equal(checkpoint.model.backbone.norm.weight, published.weights["showo.model.norm.weight"].to(dtype))


def test_weights_do_not_follow_the_file(published: Any) -> None:
    checkpoint, path = published.load(), published.folder / "pytorch_model.bin"
    with path.open("r+b") as file:  # in place: a mapped tensor would change
        file.write(bytes(path.stat().st_size))
    published.assert_loaded(checkpoint)


def test_derived_tables_are_ignored(published: Any) -> None:
    extra = {
        "showo.model.rotary_emb.inv_freq": torch.zeros(8),
        "showo.model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8),
        "image_position_ids": torch.arange(16),
        "und_trans.embeddings.position_ids": torch.arange(16),
    }
    published.rewrite(lambda weights: weights.update(extra))
    published.assert_loaded(published.load())


def test_digest_tells_checkpoints_apart(published: Any) -> None:
    first = published.load().digest
    assert len(first) == 64
    assert published.load().digest == first
    assert published.load(dtype=torch.bfloat16).digest == first
    published.rewrite(lambda weights: weights.update({"showo.model.norm.weight": torch.full((64,), 2.0)}))
    assert published.load().digest != first


def test_dtype_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_dtype("float32", "cuda") is torch.float32
    assert choose_dtype("float16", "cpu") is torch.float16
    assert choose_dtype("bfloat16", torch.device("cpu")) is torch.bfloat16
    assert choose_dtype("auto", "cuda:1") is torch.bfloat16
    assert choose_dtype("auto", "mps") is torch.float32
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "avx512_bf16": False})
    assert choose_dtype("auto", "cpu") is torch.float32
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert choose_dtype("auto", "cpu") is torch.bfloat16
    with pytest.raises(ConfigurationError, match="dtype is 'int8'; use 'auto'"):
        choose_dtype("int8", "cpu")  # type: ignore[arg-type]
