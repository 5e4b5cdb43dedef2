"""Files that are broken, foreign or hostile: each is refused by name, and none is obeyed."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from flashu_core.config import MODELS
from flashu_core.errors import CheckpointError
from flashu_core.text.tokenizer import Tokenizer

VAE_FILE = "Wan2.1_VAE.pth"


def test_missing_unexpected_and_misshapen_tensors_are_named_at_once(published: Any) -> None:
    def change(weights: dict[str, Tensor]) -> None:
        for layer in range(4):
            del weights[f"showo.model.layers.{layer}.input_layernorm.weight"]
        weights["video_embedder.proj.weight"] = torch.zeros(2)
        weights["showo.model.norm.weight"] = torch.zeros(65)
        weights["time_embed_proj.bias"] = torch.zeros(64, dtype=torch.int64)

    published.rewrite(change)
    with pytest.raises(CheckpointError) as caught:
        published.load()
    message = str(caught.value)
    assert str(published.folder / "pytorch_model.bin") in message
    assert "missing showo.model.layers.0.input_layernorm.weight" in message
    assert "2.input_layernorm.weight and 1 more" in message
    assert "not part of this model: video_embedder.proj.weight" in message
    assert "showo.model.norm.weight in pytorch_model.bin is [65] instead of [64]" in message
    assert "time_embed_proj.bias in pytorch_model.bin is [64] of torch.int64 instead of [64]" in message


def test_our_own_names_are_no_published_ones(published: Any) -> None:
    published.rewrite(lambda weights: weights.update({"backbone.norm.weight": weights.pop("showo.model.norm.weight")}))
    with pytest.raises(
        CheckpointError, match=r"missing showo\.model\.norm\.weight; not part .* backbone\.norm\.weight"
    ):
        published.load()


def test_misshapen_vae(published: Any) -> None:
    tensors = published.vae_tensors()
    tensors["decoder.conv1.weight"] = torch.zeros(16, 16, 0, 3, 3)
    torch.save(tensors, published.folder / VAE_FILE)
    with pytest.raises(CheckpointError, match=VAE_FILE):
        published.load()
    del tensors["decoder.conv1.weight"], tensors["encoder.conv1.weight"]
    torch.save(tensors, published.folder / VAE_FILE)
    with pytest.raises(CheckpointError, match=r"VAE\.pth do not fit .* missing encoder\.conv1\.weight"):
        published.load()


class Touch:
    """Pickled, it is the order to make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["pytorch_model.bin", VAE_FILE])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_not_run(published: Any, tmp_path: Path, name: str, zipped: bool) -> None:
    touched, path = tmp_path / "touched", published.folder / name
    torch.save({"x": Touch(touched)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=rf"{name} is refused") as caught:
        published.load()
    assert not touched.exists()
    assert "weights_only" not in str(caught.value)
    pickle.loads(pickle.dumps(Touch(touched)))
    assert touched.exists()  # the trap works


@pytest.mark.parametrize(
    "content", [[1.0], {"a": 1}, {1: torch.zeros(1)}, {"x": {"y": torch.zeros(1)}}, torch.zeros(1)]
)
def test_file_that_is_no_state_dict(published: Any, content: object) -> None:
    torch.save(content, published.folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin holds a .*plain state dict"):
        published.load()


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_file(published: Any, kept: float, kind: str) -> None:
    path = published.folder / "pytorch_model.bin"
    if kind == "safetensors":
        path.unlink()
        path = published.folder / "model.safetensors"
        save_file(published.weights, path)
    else:
        torch.save(published.weights, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CheckpointError, match=path.name):
        published.load()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 nothing", b"\x80\x02.", bytes(4096), b"<html></html>"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", VAE_FILE])
def test_file_that_is_no_checkpoint(published: Any, name: str, content: bytes) -> None:
    (published.folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        published.load()


def test_folder_without_weights(published: Any) -> None:
    (published.folder / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"model has no weights \(model\*\.safetensors or pytorch_model\*\.bin\)"):
        published.load()


@pytest.mark.parametrize("content", ["{", "[]", "\xff", "[" * 100_000, '{"llm_config": 3}'])
def test_bad_configuration(published: Any, content: str) -> None:
    (published.folder / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        published.load()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("patch_size", None, "has no 'patch_size'"),
        ("patch_size", "two", "two"),
        ("image_grids", [[4, 0]], "grids.columns is 0"),
        ("vision_config", 7, "cannot be used"),
        ("llm_model_path", None, "names no language model"),
        ("llm_model_path", 5, "must be a folder or a hub id"),
    ],
)
def test_unusable_configuration(published: Any, key: str, value: object, message: str) -> None:
    path = published.folder / "config.json"
    raw = json.loads(path.read_text())
    raw[key] = value
    if value is None:
        del raw[key]
    path.write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match=rf"config\.json.*({message})"):
        published.load()


def test_backbone_of_another_size(published: Any, tmp_path: Path) -> None:
    path = tmp_path / "language" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_attention_heads": 0}))
    with pytest.raises(CheckpointError, match=r"config\.json cannot be used"):
        published.load()


def test_tokenizer_errors(published: Any, tmp_path: Path) -> None:
    path = tmp_path / "language" / "tokenizer.json"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(CheckpointError, match=r"language has no tokenizer\.json"):
        published.load()
    path.write_bytes(content[:100])
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer"):
        published.load()
    path.write_bytes(content)
    (tmp_path / "language" / "tokenizer_config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json cannot be used"):
        published.load()


def test_tokenizer_larger_than_the_vocabulary(tmp_path: Path, tokenizer: Tokenizer, publish: Any) -> None:
    tiny, size = MODELS["tiny"], len(tokenizer)
    exact = publish(tmp_path / "a" / "m", tokenizer, replace(tiny, backbone=replace(tiny.backbone, vocabulary=size)))
    exact.load()
    small = publish(
        tmp_path / "b" / "m", tokenizer, replace(tiny, backbone=replace(tiny.backbone, vocabulary=size - 1))
    )
    with pytest.raises(
        CheckpointError, match=rf"the tokenizer has {size} tokens and the model embeddings for {size - 1}"
    ):
        small.load()
