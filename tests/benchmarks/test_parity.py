"""The comparison with golden data passes where it should and fails where it should."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import parity
from flashu_core.model import sampler
from flashu_core.pathways import generate

FORWARD = {"forward.noise", "forward.t", "forward.velocity"}
MODEL = {
    *("forward.velocity", "forward.velocity (reference)", "sample50.t", "sample50.latents", "sample8.latents"),
    *("vqa.image_embeds", "vqa.first_logits", "vqa.forced_logits", "vqa.tokens"),
    *("vqa_trained_block.first_logits", "vqa_trained_block.forced_logits", "vqa_trained_block.tokens"),
}
LAYERS = range(8)
FLASHU = {
    *("flashu.velocities", "flashu.latents"),
    *(f"wanda.model.layers.{layer}.mlp.down_proj" for layer in LAYERS),
    *(f"wanda.keep.{layer}" for layer in LAYERS),
}
VAE = {"latents_mean", "latents_logvar", "decoded"}


def summary(capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, Any]]:
    """All that was printed, and its last line."""
    text = capsys.readouterr().out
    return text, json.loads(text.splitlines()[-1])


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """Changes the expected tensors of a folder."""
    tensors = load_file(folder / "expected.safetensors")
    change(tensors)
    save_file(tensors, folder / "expected.safetensors")
    return folder


def forward_only(tensors: dict[str, torch.Tensor]) -> None:
    for name in set(tensors) - FORWARD:
        del tensors[name]


def test_the_engine_computes_what_the_original_computed(small_golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parity.main([str(small_golden)]) == 0
    text, found = summary(capsys)
    assert found == {"worst": found["worst"], "tensors": len(MODEL | FLASHU | VAE), "passed": True}
    assert 0 < found["worst"] <= 1e-4
    for name in MODEL | FLASHU | VAE:
        assert f"  {name} " in text
    assert "19 backbone passes and 18 head passes in 34 steps" in text
    (vaes,) = [line for line in text.splitlines() if "not checked" in line]
    assert vaes.split(": ")[1] == "clip, clip_latents_mean"


def test_models_of_other_shapes_pass(variant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parity.main([str(variant)]) == 0, capsys.readouterr().out
    text, found = summary(capsys)
    assert found["tensors"] == len(MODEL) + 2 + 2 * 3  # FlashU's run, and two tensors for each of three layers
    assert "not checked" not in text


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("showo2_tiny", "forward.velocity"),
        ("showo2_tiny", "sample50.t"),
        ("showo2_tiny", "vqa.image_embeds"),
        ("showo2_tiny", "vqa.forced_logits"),
        ("showo2_tiny", "vqa.tokens"),
        ("showo2_tiny", "vqa_trained_block.first_logits"),
        ("wan_vae_tiny", "latents_logvar"),
        ("wan_vae_tiny", "decoded"),
    ],
)
def test_one_value_that_is_off_fails(
    folder: str, name: str, small_copy: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for slow in ("sample50.latents", "sample8.latents"):
            tensors.pop(slow, None)
        changed = tensors[name].clone()
        changed.view(-1)[-1] += 1 if name.endswith("tokens") else 3e-4
        tensors[name] = changed

    assert parity.main([str(rewrite(small_copy(folder), change))]) == 1
    text, found = summary(capsys)
    assert not found["passed"]
    failed = {line.split()[0] for line in text.splitlines() if "FAILED" in line}
    assert failed == {name}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_fails(
    value: float, small_copy: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        forward_only(tensors)
        tensors["forward.velocity"][0, 0, 0, 0] = value

    assert parity.main([str(rewrite(small_copy("showo2_tiny"), change))]) == 1
    assert summary(capsys)[1]["worst"] is None


def test_another_shape_fails(small_copy: Callable[[str], Path]) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["decoded"] = tensors["decoded"][:, :, 1:].contiguous()

    assert parity.main([str(rewrite(small_copy("wan_vae_tiny"), change))]) == 1


def test_an_engine_that_errs_is_caught(
    monkeypatch: pytest.MonkeyPatch, variant: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engine is what is compared: breaking it, and not the reference, shows."""
    guide = sampler.guide
    monkeypatch.setattr(
        generate, "guide", lambda cond, uncond, guidance_scale: guide(cond, uncond, guidance_scale + 0.01)
    )
    assert parity.main([str(variant)]) == 1
    failed = {line.split()[0] for line in capsys.readouterr().out.splitlines() if "FAILED" in line}
    assert failed == {"sample50.latents", "sample8.latents", "flashu.velocities", "flashu.latents"}


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _torn_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def _torn_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"config": ')


def _foreign_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"something": "else"}')


def _changed_meta(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text())
        change(meta)
        (folder / "meta.json").write_text(json.dumps(meta))

    return damage


def _no_input(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.__delitem__("forward.noise"))


def _nothing_known(folder: Path) -> None:
    save_file({"other": torch.zeros(1)}, folder / "expected.safetensors")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "no weights": _no_weights,
    "torn weights": _torn_weights,
    "torn meta": _torn_meta,
    "meta of something else": _foreign_meta,
    "another width": _changed_meta(lambda meta: meta["config"]["llm_config"].update(intermediate_size=256)),
    "heads that do not divide": _changed_meta(lambda meta: meta["config"]["llm_config"].update(num_attention_heads=5)),
    "no ids": _changed_meta(lambda meta: meta.pop("ids")),
    "an unknown token": _changed_meta(lambda meta: meta["prompts"][0].append(10**6)),
    "a prompt too many": _changed_meta(lambda meta: meta["prompts"].append([7])),
    "no input": _no_input,
    "nothing known": _nothing_known,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_cannot_be_read_is_said(
    damage: str, small_copy: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_copy("showo2_tiny")
    rewrite(folder, forward_only)
    DAMAGES[damage](folder)
    assert parity.main([str(folder)]) == 2
    text, found = summary(capsys)
    assert "cannot be read" in text
    assert found == {"worst": None, "tensors": 0, "passed": False}


def test_readable_folders_are_checked_beside_a_broken_one(
    small_copy: Callable[[str], Path], small_golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = small_copy("showo2_tiny")
    _torn_meta(broken)
    assert parity.main([str(broken), str(small_golden / "wan_vae_tiny")]) == 2
    text, found = summary(capsys)
    assert found["tensors"] == len(VAE)
    assert not found["passed"]
    assert str(broken) in text


@pytest.mark.parametrize("name", ["", "absent"])
def test_no_folder_at_all_is_said(name: str, tmp_path: Path) -> None:
    assert parity.main([str(tmp_path / name)]) == 2


def test_results_are_saved(
    small_golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: dict[str, Any] = {}
    monkeypatch.setattr(parity.results, "save", lambda name, content: kept.update({name: content}))
    assert parity.main([str(small_golden / "wan_vae_tiny"), "--save", "parity"]) == 0
    assert kept["parity"]["passed"] is True
    assert {"torch", "commit", "date", "processor"} <= set(kept["parity"]["machine"])
