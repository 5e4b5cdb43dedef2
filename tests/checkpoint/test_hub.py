"""Where a checkpoint is looked for: a folder, the hub's cache, the hub."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from flashu_core.checkpoint.load import load_checkpoint
from flashu_core.errors import CheckpointError


@pytest.mark.parametrize("source", ["/nowhere/at/all", "nothing", "./a/b/c", "-x/y"])
def test_source_that_is_nowhere(source: str) -> None:
    with pytest.raises(CheckpointError, match=r"there is no .*; give the checkpoint's folder or a hub id"):
        load_checkpoint(source)


def test_source_that_is_a_file(published: Any) -> None:
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


def test_hub_id_that_is_cached(published: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "cache" / "models--showlab--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    (repository / "snapshots").mkdir()
    published.folder.rename(repository / "snapshots" / ("a" * 40))
    checkpoint = load_checkpoint("showlab/tiny")
    published.assert_loaded(checkpoint)
    assert checkpoint.name == "tiny"
