from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flashu_core.checkpoint.config_json import vae_config_from_json
from shapes.training import train_vae
from shapes.training.files import read_json


def test_pictures_are_the_training_scenes() -> None:
    images = train_vae.pictures(5, 3, 64)
    assert images.shape == (3, 3, 64, 64)
    assert torch.equal(images[1:], train_vae.pictures(6, 2, 64))
    assert train_vae.to_signed(images).min() >= -1


def test_a_short_run_leaves_weights_statistics_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def as_it_is(function: object) -> object:
        return function

    monkeypatch.setattr(torch, "compile", as_it_is)  # compiling takes longer than the run
    train_vae.VaeTrainer(tmp_path, width=4, pixels=64, batch=4, scenes=16).run(0.02)
    config = vae_config_from_json(read_json(tmp_path / "vae.json"))
    assert config.width == 4
    assert all(value > 0 for value in config.latents_std)
    assert len(list(tmp_path.glob("sheet-*.png"))) == 1
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] > 0
    before = state["step"]
    train_vae.VaeTrainer(tmp_path, width=4, pixels=64, batch=4, scenes=16).run(0.04)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] > before
