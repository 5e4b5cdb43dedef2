"""Golden folders are read as what they are, every size taken from the files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import golden
from benchmarks.golden import GoldenError, ModelCase, VaeCase


def test_a_model_is_read_in_float32(small_golden: Path) -> None:
    case = golden.read(small_golden / "showo2_tiny")
    assert isinstance(case, ModelCase)
    assert case.model.dtype == torch.float32
    stored = load_file(small_golden / "showo2_tiny" / "model.safetensors")["showo.model.layers.3.mlp.up_proj.weight"]
    assert torch.equal(case.model.backbone.layers[3].mlp.up_proj.weight, stored.float())
    assert case.model.backbone.lm_head.weight is case.model.backbone.embed_tokens.weight
    assert case.prompts[0] == (1, 260, 62, 495, 369, 515, 3)
    assert (case.uncond, case.pad, case.image_pad) == ((1, 3), 5, 6)


def test_an_autoencoder_is_read(small_golden: Path) -> None:
    case = golden.read(small_golden / "wan_vae_tiny")
    assert isinstance(case, VaeCase)
    assert case.config.width == 8
    assert case.vae.conv1.weight.dim() == 4


@pytest.mark.parametrize(("name", "block"), [("vqa", "image"), ("vqa_trained_block", "time")])
def test_the_block_of_a_picture_that_is_read(small_golden: Path, name: str, block: str) -> None:
    case = golden.read(small_golden / "showo2_tiny")
    assert isinstance(case, ModelCase)
    reading = case.reading(name)
    assert reading.before == (1, 183, 313, 180, 580, 3)
    assert reading.after == (4, 102, 444, 279, 226, 620, 605, 507)
    assert reading.block == block
    model = case.with_block(reading.block)
    assert model.config.understanding_block == block
    assert torch.equal(model.backbone.norm.weight, case.model.backbone.norm.weight)


def test_the_offset_says_where_the_block_starts(small_copy: Callable[[str], Path]) -> None:
    folder = small_copy("showo2_tiny")
    meta = json.loads((folder / "meta.json").read_text())
    meta["vqa"]["modality_offset"] = meta["vqa"]["trained_block_offset"]
    (folder / "meta.json").write_text(json.dumps(meta))
    case = golden.read(folder)
    assert isinstance(case, ModelCase)
    assert case.reading("vqa").block == "time"


def test_parts_a_model_lacks_are_not_built(variant: Path) -> None:
    case = golden.read(variant)
    assert isinstance(case, ModelCase)
    same = case.config.backbone.hidden_size == case.config.head.hidden_size
    assert isinstance(case.model.time_embed_proj, torch.nn.Identity) == same
    tied = case.model.backbone.lm_head.weight is case.model.backbone.embed_tokens.weight
    assert tied == case.config.backbone.tied_embeddings


def test_folders_are_found(small_golden: Path) -> None:
    assert [path.name for path in golden.find(small_golden)] == ["showo2_tiny", "wan_vae_tiny"]
    assert golden.find(small_golden / "wan_vae_tiny") == [small_golden / "wan_vae_tiny"]


def test_an_error_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(GoldenError, match=str(tmp_path)):
        golden.read(tmp_path)
