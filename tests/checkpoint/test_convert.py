from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from flashu_core import Engine
from flashu_core.checkpoint.config_json import model_config_to_json, vae_config_to_json
from flashu_core.checkpoint.convert import convert, save_checkpoint
from flashu_core.checkpoint.layouts import list_calibration
from flashu_core.checkpoint.load import load_checkpoint
from flashu_core.checkpoint.weights import published_name
from flashu_core.config import MODELS, WAN_VAE
from flashu_core.errors import CheckpointError
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vae import Vae
from flashu_core.text.tokenizer import Tokenizer
from shapes.tokenizer import build_tokenizer

TINY, VAE = replace(MODELS["tiny"], understanding_block="time", velocity_layout="patches"), replace(WAN_VAE, width=4)
FILES = {
    "config.json",
    "manifest.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vae.safetensors",
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return build_tokenizer(lines=50)


@pytest.fixture(scope="module")
def model() -> Showo2:
    torch.manual_seed(0)
    return Showo2(TINY).requires_grad_(False)


@pytest.fixture(scope="module")
def vae() -> Vae:
    torch.manual_seed(1)
    return Vae(VAE).requires_grad_(False)


@pytest.fixture
def parts(model: Showo2, vae: Vae, tokenizer: Tokenizer) -> dict[str, Any]:
    """What `save_checkpoint` takes."""
    return {
        "name": "small",
        "model_config": TINY,
        "model_weights": model.state_dict(),
        "vae_config": VAE,
        "vae_weights": vae.state_dict(),
        "tokenizer": tokenizer,
        "dtype": torch.float32,
    }


@pytest.fixture
def saved(tmp_path: Path, parts: dict[str, Any]) -> Path:
    save_checkpoint(tmp_path / "saved", **parts)
    return tmp_path / "saved"


def trust(folder: Path, *names: str) -> None:
    """Lists files as they are now, as an author of the folder would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in names:
        content = (folder / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    path.write_text(json.dumps(manifest))


def test_saved_checkpoint_comes_back(saved: Path, model: Showo2, vae: Vae, tokenizer: Tokenizer) -> None:
    loaded = load_checkpoint(saved)
    assert loaded.name == "small"
    assert loaded.model.config == TINY
    assert loaded.vae.config == VAE
    for mine, other in ((model, loaded.model), (vae, loaded.vae)):
        expected, found = mine.state_dict(), other.state_dict()
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert loaded.model.backbone.lm_head.weight is loaded.model.backbone.embed_tokens.weight
    assert loaded.tokenizer.special == tokenizer.special
    assert loaded.tokenizer.encode("two blue squares") == tokenizer.encode("two blue squares")
    latents = torch.randn(1, 16, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded.model.vision(latents), model.vision(latents))


def test_known_words_come_back_and_are_kept(tmp_path: Path, parts: dict[str, Any], saved: Path) -> None:
    assert load_checkpoint(saved).known_words == ()
    save_checkpoint(tmp_path / "with", **parts, known_words=("boat", "red"))
    assert load_checkpoint(tmp_path / "with").known_words == ("boat", "red")
    convert(tmp_path / "with", tmp_path / "copy")
    assert load_checkpoint(tmp_path / "copy").known_words == ("boat", "red")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"known_words": "red"}, "known_words is not a list"),
        ({"known_words": ["red"] * 2001}, "known_words is not a list of at most 2000"),
        ({"known_words": ["Red"]}, "known_words has 'Red'"),
        ({"known_words": [1]}, "known_words has 1"),
        ({"known_words": ["a" * 201]}, "known_words has"),
        ({"default_points": 10**9}, "model.num_inference_steps is 1000000000"),
        ({"llm_config": None}, "llm_config"),
        ({"name": "a\nforged line"}, "printable"),
        ({"name": "\x1b[2J"}, "printable"),
        ({"name": "a" * 201}, "printable"),
        ({"name": ["a"]}, "printable"),
        ({"policies": {"warp": {}}}, "no acceleration policy 'warp'"),
        ({"policies": {"flashu": {"generate": {"ffn_ratio": 2.0}}}}, "ffn_ratio is 2"),
        ({"vae": 3}, "vae is 3"),
        ({"vae": {**vae_config_to_json(VAE), "dim": 10**9}}, "vae.width is"),
    ],
)
def test_absurd_configurations_are_refused_before_weights_are_read(
    saved: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], named: str
) -> None:
    def read(*arguments: object) -> None:
        raise AssertionError("weights were read")

    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    trust(saved, "config.json")
    monkeypatch.setattr("flashu_core.checkpoint.load.read_tensors", read)
    with pytest.raises(CheckpointError, match=named) as caught:
        Engine.load(saved)
    assert str(caught.value).isprintable()


def test_an_autoencoder_of_another_model_is_refused(saved: Path) -> None:
    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "image_latent_dim": 8}))
    trust(saved, "config.json")
    with pytest.raises(CheckpointError, match="latents have 8 channels and the autoencoder's 16"):
        load_checkpoint(saved)


def test_a_folder_s_name_stands_in_logs_as_printable_text(saved: Path) -> None:
    path = saved / "config.json"
    raw = json.loads(path.read_text())
    del raw["name"]
    path.write_text(json.dumps(raw))
    trust(saved, "config.json")
    odd = saved.rename(saved.with_name("odd\nname"))
    assert load_checkpoint(odd).name == "odd?name"


def test_files_of_a_saved_checkpoint(saved: Path, model: Showo2) -> None:
    assert {path.name for path in saved.iterdir()} == FILES
    manifest = json.loads((saved / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert set(manifest["files"]) == FILES - {"manifest.json"}
    for name, entry in manifest["files"].items():
        content = (saved / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    stored = load_file(saved / "model.safetensors")
    assert set(stored) == {published_name(name) for name, _ in model.named_parameters()}
    assert "showo.lm_head.weight" not in stored  # tied: it is the embeddings
    assert load_checkpoint(saved).digest == hashlib.sha256((saved / "manifest.json").read_bytes()).hexdigest()


def test_saved_type(tmp_path: Path, parts: dict[str, Any]) -> None:
    save_checkpoint(tmp_path / "half", **parts | {"dtype": torch.bfloat16})
    for name in ("model.safetensors", "vae.safetensors"):
        assert {tensor.dtype for tensor in load_file(tmp_path / "half" / name).values()} == {torch.bfloat16}
    loaded = load_checkpoint(tmp_path / "half")
    assert loaded.model.dtype == torch.float32
    gate = "backbone.layers.0.mlp.gate_proj.weight"
    assert torch.equal(loaded.model.state_dict()[gate], parts["model_weights"][gate].bfloat16().float())


def test_untied_weights_that_share_memory(tmp_path: Path, parts: dict[str, Any], model: Showo2) -> None:
    config = replace(TINY, backbone=replace(TINY.backbone, tied_embeddings=False))
    save_checkpoint(tmp_path / "untied", **parts | {"model_config": config})
    backbone = load_checkpoint(tmp_path / "untied").model.backbone
    assert torch.equal(backbone.lm_head.weight, model.backbone.embed_tokens.weight)
    assert backbone.lm_head.weight is not backbone.embed_tokens.weight


def test_weights_that_do_not_fit_are_not_saved(tmp_path: Path, parts: dict[str, Any]) -> None:
    weights = dict(parts["model_weights"])
    del weights["backbone.norm.weight"]
    with pytest.raises(CheckpointError, match=r"model_weights do not fit .* missing backbone\.norm\.weight"):
        save_checkpoint(tmp_path / "none", **parts | {"model_weights": weights})
    with pytest.raises(CheckpointError, match=r"vae_weights do not fit"):
        save_checkpoint(tmp_path / "none", **parts | {"vae_config": WAN_VAE})
    small = replace(TINY, backbone=replace(TINY.backbone, vocabulary=100))
    with pytest.raises(CheckpointError, match="embeddings for 100"):
        save_checkpoint(tmp_path / "none", **parts | {"model_config": small})
    assert not (tmp_path / "none").exists()


def test_folder_that_cannot_be_written(tmp_path: Path, parts: dict[str, Any]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot be written to .*file"):
        save_checkpoint(tmp_path / "file" / "in", **parts)


@pytest.mark.parametrize("name", sorted(FILES - {"manifest.json"}))
def test_flipped_bit(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[len(content) // 2] ^= 1
    (saved / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name} is damaged: SHA-256 [0-9a-f]{{64}}, its manifest says"):
        load_checkpoint(saved)


@pytest.mark.parametrize("name", sorted(FILES - {"manifest.json"}))
def test_truncated_or_missing_file(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[:-1])
    with pytest.raises(
        CheckpointError, match=rf"{name} has {len(content) - 1} bytes and its manifest says {len(content)}"
    ):
        load_checkpoint(saved)
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}, which its manifest lists, cannot be read"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ("[]", "must be an object"),
        ('{"format": 2, "files": {}}', "format 2; this version reads format 1"),
        ('{"format": 1}', "has no 'files'"),
        ('{"format": 1, "files": {"config.json": "x"}}', "has no 'files'"),
        ('{"format": 1, "files": {}}', r"does not list config\.json"),
    ],
)
def test_bad_manifest(saved: Path, content: str, message: str) -> None:
    (saved / "manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match=rf"manifest\.json.*{message}"):
        load_checkpoint(saved)


def test_manifest_may_not_reach_outside(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    manifest["files"]["../secret"] = {"sha256": "", "bytes": 0}
    (saved / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"lists '\.\./secret'; files must be in the same folder"):
        load_checkpoint(saved)


def test_tokenizer_settings_may_not_slip_in_unlisted(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    del manifest["files"]["tokenizer_config.json"]
    (saved / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"does not list tokenizer_config\.json"):
        load_checkpoint(saved)


def test_trusted_but_unfit_files(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    weights["showo.model.norm.weight"] = torch.zeros(3)
    save_file(weights, saved / "model.safetensors")
    trust(saved, "model.safetensors")
    with pytest.raises(CheckpointError, match=r"norm\.weight in model\.safetensors is \[3\] instead of \[64\]"):
        load_checkpoint(saved)
    config = json.loads((saved / "config.json").read_text())
    del config["vae"]
    (saved / "config.json").write_text(json.dumps(config))
    trust(saved, "config.json")
    with pytest.raises(CheckpointError, match=r"config\.json has no 'vae'"):
        load_checkpoint(saved)


def test_own_layout_takes_no_parts_from_elsewhere(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="contains all parts; do not give vae, language_model"):
        load_checkpoint(saved, vae=saved / "vae.safetensors", language_model="Qwen/Qwen2.5-1.5B-Instruct")


def test_name_defaults_to_the_folder(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    del config["name"]
    (saved / "config.json").write_text(json.dumps(config))
    trust(saved, "config.json")
    assert load_checkpoint(saved).name == "saved"


def test_convert_a_published_checkpoint(tmp_path: Path, model: Showo2, vae: Vae, tokenizer: Tokenizer) -> None:
    source = tmp_path / "tiny"
    source.mkdir()
    (source / "config.json").write_text(json.dumps(model_config_to_json(TINY)))
    weights = {published_name(name): parameter for name, parameter in model.named_parameters()}
    torch.save({name: tensor.bfloat16() for name, tensor in weights.items()}, source / "pytorch_model.bin")
    # A 1x1 convolution and one of 3x3, with time as published.
    video = vae.state_dict()
    video["conv1.weight"] = video["conv1.weight"][:, :, None]
    video["encoder.conv1.weight"] = torch.stack([torch.randn(4, 3, 3, 3)] * 2 + [video["encoder.conv1.weight"]], dim=2)
    torch.save(video, tmp_path / "vae.pth")
    tokenizer.save(source)
    (source / "tokenizer_config.json").write_text('{"eos_token": "<|endoftext|>"}')

    with pytest.raises(CheckpointError, match="give vae"):
        convert(source, tmp_path / "converted")
    assert not (tmp_path / "converted").exists()
    convert(source, tmp_path / "converted", vae=tmp_path / "vae.pth")

    before = load_checkpoint(source, vae=tmp_path / "vae.pth")
    after = load_checkpoint(tmp_path / "converted")
    assert after.name == "tiny"
    assert after.tokenizer.special == before.tokenizer.special
    assert after.tokenizer.decode([after.tokenizer.special.eos]) == ""
    assert after.tokenizer.special.eos != tokenizer.special.eos  # the published end token is kept
    for mine, other in ((before.model, after.model), (before.vae, after.vae)):
        found = other.state_dict()
        assert all(torch.equal(tensor, found[name]) for name, tensor in mine.state_dict().items())
    assert load_file(tmp_path / "converted" / "vae.safetensors")["encoder.conv1.weight"].shape == (4, 3, 3, 3)
    latents, pixels = torch.randn(1, 16, 8, 8), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(before.model.vision(latents), after.model.vision(latents))
        assert torch.equal(before.vae.encode(pixels), after.vae.encode(pixels))
        assert torch.equal(after.vae.encode(pixels), vae.encode(pixels))


def test_the_autoencoder_beside_the_checkpoint_need_not_be_named(saved: Path, tmp_path: Path, vae: Vae) -> None:
    source = tmp_path / "published"
    source.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (source / name).write_bytes((saved / name).read_bytes())
    torch.save(vae.state_dict(), source / "Wan2.1_VAE.pth")
    convert(source, tmp_path / "converted")
    pixels = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(load_checkpoint(tmp_path / "converted").vae.encode(pixels), vae.encode(pixels))


def test_a_calibration_that_is_listed_is_verified_and_changes_no_digest(saved: Path, tmp_path: Path) -> None:
    digest = load_checkpoint(saved).digest
    file = saved / "calibration.safetensors"
    file.write_bytes(b"scores")
    list_calibration(file)
    assert "calibration.safetensors" in json.loads((saved / "manifest.json").read_text())["files"]
    assert load_checkpoint(saved).digest == digest
    file.write_bytes(b"others")
    with pytest.raises(CheckpointError, match=r"calibration\.safetensors is damaged"):
        load_checkpoint(saved)
    elsewhere = tmp_path / "elsewhere.safetensors"
    elsewhere.write_bytes(b"scores")
    list_calibration(elsewhere)  # no manifest is beside it
    assert not (tmp_path / "manifest.json").exists()


def test_convert_narrows_the_projects_own_layout(saved: Path, tmp_path: Path) -> None:
    convert(saved, tmp_path / "half", dtype=torch.bfloat16)
    assert (tmp_path / "half" / "model.safetensors").stat().st_size < 0.6 * (saved / "model.safetensors").stat().st_size
    assert load_checkpoint(tmp_path / "half").digest != load_checkpoint(saved).digest


def test_convert_refuses_a_destination_in_use(saved: Path, tmp_path: Path) -> None:
    busy = tmp_path / "busy"
    busy.mkdir()
    (busy / "mine.txt").write_text("")
    for destination in (busy, busy / "mine.txt"):
        with pytest.raises(CheckpointError, match=rf"{destination} exists and is not an empty folder; give another"):
            convert(saved, destination)
    assert [path.name for path in busy.iterdir()] == ["mine.txt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    convert(saved, empty)
    assert load_checkpoint(empty).name == "small"


def test_interrupted_writing_is_noticed(saved: Path, parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flashu_core.checkpoint.convert.save_file", full)
    with pytest.raises(CheckpointError, match="no space left on device"):
        save_checkpoint(saved, **parts | {"name": "another"})
    with pytest.raises(CheckpointError, match=r"config\.json has \d+ bytes and its manifest says"):
        load_checkpoint(saved)
