from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor

from flashu_core.checkpoint import Checkpoint, choose_dtype, load_checkpoint
from flashu_core.config import MODELS, WAN_VAE, ModelConfig
from flashu_core.config_file import model_config_to_json
from flashu_core.errors import CheckpointError, ConfigurationError
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vae import Vae
from flashu_core.tokenizer import Tokenizer
from flashu_core.weights import published_name
from shapes.tokenizer import build_tokenizer

VAE = replace(WAN_VAE, width=4)
VAE_FILE = "Wan2.1_VAE.pth"
EMBEDDINGS, LM_HEAD = "showo.model.embed_tokens.weight", "showo.lm_head.weight"


@dataclass(frozen=True)
class Published:
    """A folder in the published layout, and what is in it."""

    folder: Path
    weights: dict[str, Tensor]
    vae: Vae

    def load(self, **options: Any) -> Checkpoint:
        return load_checkpoint(self.folder, **options)

    def rewrite(self, change: Callable[[dict[str, Tensor]], object]) -> None:
        """Writes the single file again with other weights."""
        weights = dict(self.weights)
        change(weights)
        torch.save(weights, self.folder / "pytorch_model.bin")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return build_tokenizer(lines=50)


def published_vae(vae: Vae) -> dict[str, Tensor]:
    """A video autoencoder's tensors, whose last time taps are the image autoencoder's."""
    tensors = {}
    for name, tensor in vae.state_dict().items():
        if name.endswith(".gamma") and ".middle.1." not in name and not name.startswith("middle.1."):
            tensor = tensor[..., None]
        elif tensor.dim() == 4 and ".resample." not in name and ".middle.1." not in name:
            taps = 3 if tensor.shape[-1] == 3 else 1
            tensor = torch.cat([torch.randn_like(tensor)[:, :, None]] * (taps - 1) + [tensor[:, :, None]], dim=2)
        tensors[name] = tensor.clone()
    tensors["encoder.downsamples.5.time_conv.weight"] = torch.randn(8, 8, 3, 1, 1)
    tensors["encoder.downsamples.5.time_conv.bias"] = torch.randn(8)
    return tensors


def publish(folder: Path, tokenizer: Tokenizer, config: ModelConfig = MODELS["tiny"]) -> Published:
    """Writes the published layout: the language model in a folder of its own, one weights file."""
    torch.manual_seed(0)
    model, vae = Showo2(config), Vae(VAE)
    weights = {published_name(name): parameter.data.clone() for name, parameter in model.named_parameters()}
    language = folder.parent / "language"
    language.mkdir(parents=True)
    folder.mkdir()
    raw = model_config_to_json(config)
    raw["llm_model_path"] = str(language)
    (language / "config.json").write_text(json.dumps(raw.pop("llm_config")))
    (folder / "config.json").write_text(json.dumps(raw))
    tokenizer.save(language)
    torch.save(weights, folder / "pytorch_model.bin")
    torch.save(published_vae(vae), folder / VAE_FILE)
    return Published(folder, weights, vae)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Published:
    return publish(tmp_path_factory.mktemp("published") / "model", tokenizer)


@pytest.fixture
def published(tmp_path: Path, template: Published) -> Published:
    """A copy that a test may damage."""
    shutil.copytree(template.folder.parent, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"llm_model_path": str(tmp_path / "language")}))
    return replace(template, folder=tmp_path / "model")


def assert_loaded(checkpoint: Checkpoint, published: Published) -> None:
    own = dict(checkpoint.model.named_parameters())
    assert {published_name(name) for name in own} == set(published.weights)
    for name, parameter in own.items():
        assert torch.equal(parameter, published.weights[published_name(name)]), name
    for name, tensor in published.vae.state_dict().items():
        assert torch.equal(checkpoint.vae.state_dict()[name], tensor), name


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


def test_single_file_with_parts_elsewhere(published: Published, tokenizer: Tokenizer) -> None:
    checkpoint = published.load()
    assert_loaded(checkpoint, published)
    assert checkpoint.name == "model"
    assert checkpoint.model.config == MODELS["tiny"]
    assert checkpoint.vae.config == VAE  # the width is the weights', the statistics are Wan's
    assert checkpoint.tokenizer.encode("a red circle") == tokenizer.encode("a red circle")
    assert not any(p.requires_grad for part in (checkpoint.model, checkpoint.vae) for p in part.parameters())
    assert not any(module.training for part in (checkpoint.model, checkpoint.vae) for module in part.modules())


def test_vae_encodes_as_before_it_was_published(published: Published) -> None:
    checkpoint, pixels = published.load(), torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        assert torch.equal(checkpoint.vae.encode(pixels), published.vae.encode(pixels))


def test_parts_given_explicitly(published: Published, tmp_path: Path) -> None:
    (tmp_path / "language").rename(tmp_path / "elsewhere")
    (published.folder / VAE_FILE).rename(tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"has no Wan2\.1_VAE\.pth; give vae"):
        published.load()
    with pytest.raises(CheckpointError, match=r"language; give the language model's folder or a hub id"):
        published.load(vae=tmp_path / "other.pth")
    checkpoint = published.load(vae=tmp_path / "other.pth", language_model=str(tmp_path / "elsewhere"))
    assert_loaded(checkpoint, published)


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
@pytest.mark.parametrize("index", [True, False])
def test_sharded(published: Published, suffix: str, index: bool) -> None:
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
    assert_loaded(published.load(), published)

    (published.folder / files[1]).unlink()
    missing = f"lists {files[1]}" if index else f"missing {names[1]}, {names[4]}, {names[7]} and "
    with pytest.raises(CheckpointError, match=missing):
        published.load()


def test_single_safetensors(published: Published) -> None:
    (published.folder / "pytorch_model.bin").unlink()
    save_file(published.weights, published.folder / "model.safetensors")
    assert_loaded(published.load(), published)


def test_files_from_before_zip_archives(published: Published) -> None:
    path = published.folder / "pytorch_model.bin"
    torch.save(published.weights, path, _use_new_zipfile_serialization=False)
    assert_loaded(published.load(), published)


def test_index_may_not_name_files_elsewhere(published: Published) -> None:
    index = published.folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {EMBEDDINGS: "../pytorch_model.bin"}}))
    with pytest.raises(CheckpointError, match=r"lists '\.\./pytorch_model\.bin'; files must be in the same folder"):
        published.load()


def test_two_files_with_one_tensor(published: Published) -> None:
    (published.folder / "pytorch_model.bin").unlink()
    for number in (1, 2):
        torch.save(published.weights, published.folder / f"pytorch_model-{number}.bin")
    with pytest.raises(CheckpointError, match=rf"both hold '{EMBEDDINGS}'"):
        published.load()


def test_tied_embeddings_stay_one_parameter(published: Published) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        backbone = published.load(dtype=dtype).model.backbone
        assert backbone.lm_head.weight is backbone.embed_tokens.weight


def test_redundant_language_head_is_dropped(published: Published) -> None:
    published.rewrite(lambda weights: weights.update({LM_HEAD: weights[EMBEDDINGS].clone()}))
    checkpoint = published.load()
    assert checkpoint.model.backbone.lm_head.weight is checkpoint.model.backbone.embed_tokens.weight
    assert_loaded(checkpoint, published)
    published.rewrite(lambda weights: weights.update({LM_HEAD: weights[EMBEDDINGS][:-1].clone()}))
    with pytest.raises(CheckpointError, match=r"showo\.lm_head\.weight in .* is \[639, 64\] instead of \[640, 64\]"):
        published.load()


def test_untied_embeddings(tmp_path: Path, tokenizer: Tokenizer) -> None:
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
def test_casting(published: Published, dtype: torch.dtype) -> None:
    checkpoint = published.load(dtype=dtype)
    assert {p.dtype for part in (checkpoint.model, checkpoint.vae) for p in part.parameters()} == {dtype}
    assert torch.equal(checkpoint.model.backbone.norm.weight, published.weights["showo.model.norm.weight"].to(dtype))


def test_weights_do_not_follow_the_file(published: Published) -> None:
    checkpoint, path = published.load(), published.folder / "pytorch_model.bin"
    with path.open("r+b") as file:  # in place: a mapped tensor would change
        file.write(bytes(path.stat().st_size))
    assert_loaded(checkpoint, published)


def test_missing_unexpected_and_misshapen_tensors_are_named_at_once(published: Published) -> None:
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


def test_our_own_names_are_no_published_ones(published: Published) -> None:
    published.rewrite(lambda weights: weights.update({"backbone.norm.weight": weights.pop("showo.model.norm.weight")}))
    with pytest.raises(
        CheckpointError, match=r"missing showo\.model\.norm\.weight; not part .* backbone\.norm\.weight"
    ):
        published.load()


def test_derived_tables_are_ignored(published: Published) -> None:
    extra = {
        "showo.model.rotary_emb.inv_freq": torch.zeros(8),
        "showo.model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8),
        "image_position_ids": torch.arange(16),
        "und_trans.embeddings.position_ids": torch.arange(16),
    }
    published.rewrite(lambda weights: weights.update(extra))
    assert_loaded(published.load(), published)


def test_misshapen_vae(published: Published) -> None:
    tensors = published_vae(published.vae)
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
def test_pickled_code_is_not_run(published: Published, tmp_path: Path, name: str, zipped: bool) -> None:
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
def test_file_that_is_no_state_dict(published: Published, content: object) -> None:
    torch.save(content, published.folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin holds a .*plain state dict"):
        published.load()


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_file(published: Published, kept: float, kind: str) -> None:
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
def test_file_that_is_no_checkpoint(published: Published, name: str, content: bytes) -> None:
    (published.folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        published.load()


def test_folder_without_weights(published: Published) -> None:
    (published.folder / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"model has no weights \(model\*\.safetensors or pytorch_model\*\.bin\)"):
        published.load()


@pytest.mark.parametrize("content", ["{", "[]", "\xff", "[" * 100_000, '{"llm_config": 3}'])
def test_bad_configuration(published: Published, content: str) -> None:
    (published.folder / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        published.load()


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("patch_size", None, "has no 'patch_size'"),
        ("patch_size", "two", "two"),
        ("image_grids", [[4, 0]], "at least one row"),
        ("vision_config", 7, "cannot be used"),
        ("llm_model_path", None, "names no language model"),
        ("llm_model_path", 5, "must be a folder or a hub id"),
    ],
)
def test_unusable_configuration(published: Published, key: str, value: object, told: str) -> None:
    path = published.folder / "config.json"
    raw = json.loads(path.read_text())
    raw[key] = value
    if value is None:
        del raw[key]
    path.write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match=rf"config\.json.*({told})"):
        published.load()


def test_backbone_of_another_size(published: Published, tmp_path: Path) -> None:
    path = tmp_path / "language" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_attention_heads": 0}))
    with pytest.raises(CheckpointError, match=r"config\.json cannot be used"):
        published.load()


def test_tokenizer_errors(published: Published, tmp_path: Path) -> None:
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


def test_tokenizer_larger_than_the_vocabulary(tmp_path: Path, tokenizer: Tokenizer) -> None:
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


def test_digest_tells_checkpoints_apart(published: Published) -> None:
    first = published.load().digest
    assert len(first) == 64
    assert published.load().digest == first
    assert published.load(dtype=torch.bfloat16).digest == first
    published.rewrite(lambda weights: weights.update({"showo.model.norm.weight": torch.full((64,), 2.0)}))
    assert published.load().digest != first


@pytest.mark.parametrize("source", ["/nowhere/at/all", "nothing", "./a/b/c", "-x/y"])
def test_source_that_is_nowhere(source: str) -> None:
    with pytest.raises(CheckpointError, match=r"there is no .*; give the checkpoint's folder or a hub id"):
        load_checkpoint(source)


def test_source_that_is_a_file(published: Published) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json is a file; give the checkpoint's folder"):
        load_checkpoint(published.folder / "config.json")


def test_hub_id_in_offline_mode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        CheckpointError, match=r"no checkpoint showlab/none: .*cache and HF_HUB_OFFLINE is set: unset it"
    ):
        load_checkpoint("showlab/none")


def test_hub_id_without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"no checkpoint showlab/none: .* did not deliver it .*check the network"):
        load_checkpoint("showlab/none")


def test_hub_id_that_is_cached(published: Published, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "cache" / "models--showlab--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    (repository / "snapshots").mkdir()
    published.folder.rename(repository / "snapshots" / ("a" * 40))
    checkpoint = load_checkpoint("showlab/tiny")
    assert_loaded(checkpoint, published)
    assert checkpoint.name == "tiny"


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
