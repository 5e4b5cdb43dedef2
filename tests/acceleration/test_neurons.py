"""One copy of the weights, several paths through it."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from flashu_core.acceleration.neurons import ALIGNED, FULL, GATHERED, NeuronPaths, arrange, kept
from flashu_core.acceleration.policies import MULTIPLE, kept_count
from flashu_core.checkpoint.load import Checkpoint
from flashu_core.model.ffn import GatedFFN
from flashu_core.model.showo2 import Showo2
from flashu_core.types import Task

ROOT = Path(__file__).parents[2]
RATIOS: dict[Task, float] = {"generate": 0.2, "vqa": 0.1}


def scores(layers: int, neurons: int) -> dict[Task, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {task: torch.rand(layers, neurons, generator=generator) for task in RATIOS}


@pytest.fixture
def model(tiny: Checkpoint) -> Showo2:
    return copy.deepcopy(tiny.model)


@pytest.mark.parametrize(
    ("neurons", "ratio", "count"),
    [(512, 0.2, 384), (8960, 0.2, 7168), (8960, 0.1, 8064), (512, 0.0, 512), (128, 0.9, 64), (48, 0.5, 48)],
)
def test_kept_counts(neurons: int, ratio: float, count: int) -> None:
    assert kept_count(neurons, ratio) == count


def test_the_kept_neurons_are_the_important_ones_in_order() -> None:
    values = torch.arange(192.0).flip(0)
    assert kept(values, 0.5).tolist() == list(range(64))


@pytest.mark.parametrize("seed", range(5))
def test_both_tasks_are_slices(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values: dict[Task, Tensor] = {task: torch.rand(512, generator=generator) for task in RATIOS}
    found = arrange(values, RATIOS)
    assert sorted(found.order.tolist()) == list(range(512))
    for task, ratio in RATIOS.items():
        part = found.slices[task]
        assert part.start % ALIGNED == 0
        assert (part.stop - part.start) % MULTIPLE == 0
        chosen = set(found.order[part].tolist())
        wanted = set(kept(values[task], ratio).tolist())
        assert len(chosen) == len(wanted)
        # Only a few at the edge of being pruned change places, and only generation's.
        assert len(chosen - wanted) <= (ALIGNED if task == "generate" else 0)


def test_paths_share_the_weights_memory(model: Showo2) -> None:
    before = {name: (p.data_ptr(), p.nbytes) for name, p in model.named_parameters()}
    size = model.config.backbone
    paths = NeuronPaths.of(model, scores(size.layers, size.ffn_size), RATIOS)
    # All three paths are there, and the parameters are the same storages of the same sizes.
    assert {name: (p.data_ptr(), p.nbytes) for name, p in model.named_parameters()} == before
    for task, ratio in RATIOS.items():
        path = paths.path(task, ratio, model.device)
        assert path.layers is not None
        for layer, part in zip(model.backbone.layers, path.layers, strict=True):
            mlp = layer.get_submodule("mlp")
            assert isinstance(mlp, GatedFFN)
            for weight, view in (
                (mlp.gate_proj.weight, mlp.gate_proj.weight[part]),
                (mlp.down_proj.weight, mlp.down_proj.weight[:, part]),
            ):
                assert view.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()
    assert paths.path("vqa", 0.0, model.device) is FULL


def test_a_path_depends_on_how_many_neurons_stay_and_on_nothing_else(model: Showo2) -> None:
    """Not on a ratio's digits: what one request names must not be what another one runs."""
    size = model.config.backbone
    assert size.ffn_size == 256
    paths = NeuronPaths.of(model, scores(size.layers, size.ffn_size), RATIOS)
    own = paths.path("generate", 0.2, model.device)
    for ratio in (0.2000000001, 0.1999999999, 0.24):
        path = paths.path("generate", ratio, model.device)
        assert (path.name, path.layers) == (own.name, own.layers)
    # 0.5 keeps 128 of 256 neurons, anything more 64 at the least.
    half, more = (paths.path("generate", ratio, model.device) for ratio in (0.5, 0.5 + 1e-5))
    assert half.name != more.name
    assert half.layers is not None and more.layers is not None
    assert [len(part) for part in half.layers] == [128] * size.layers  # type: ignore[arg-type]
    assert [len(part) for part in more.layers] == [64] * size.layers  # type: ignore[arg-type]
    assert paths.path("generate", 0.5, model.device) is half
    assert paths.path("vqa", 0.5, model.device).name != half.name


def test_paths_of_other_ratios_are_bounded(model: Showo2) -> None:
    many = 64 * (2 * GATHERED + 2)
    values = scores(model.config.backbone.layers, many)
    paths = NeuronPaths(values, {task: [slice(0, 64)] * len(values[task]) for task in RATIOS}, RATIOS)
    for step in range(1000):
        paths.path("vqa", 0.9 * step / 1000, model.device)
    assert len(paths._gathered) == GATHERED
    assert 0 < paths.nbytes <= GATHERED * model.config.backbone.layers * many * 8


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux' /proc")
def test_all_paths_are_resident_in_the_memory_of_one() -> None:
    """The operating system's own count, of a process that holds 300 MB of FFNs and then all three paths."""
    program = """
import gc, json, resource
from dataclasses import replace
from pathlib import Path
import torch
from benchmarks.random_weights import random_module
from benchmarks.speed import MIDDLE
from flashu_core.model.showo2 import Showo2
from flashu_core.acceleration.neurons import NeuronPaths

def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

torch.set_num_threads(1)
config = replace(MIDDLE, backbone=replace(MIDDLE.backbone, ffn_size=4096))
model = random_module(lambda: Showo2(config), dtype=torch.float32)
ratios = {"generate": 0.2, "vqa": 0.1}

def paths_of(model):
    size = model.config.backbone
    return NeuronPaths.of(model, {task: torch.rand(size.layers, size.ffn_size) for task in ratios}, ratios)

# A small one first, which brings in the pages of code that this takes.
small = replace(config, backbone=replace(config.backbone, layers=1, ffn_size=256))
paths_of(random_module(lambda: Showo2(small), dtype=torch.float32))
before = resident()
paths = paths_of(model)
held = [paths.path(task, ratio, model.device) for task, ratio in (("generate", 0.2), ("vqa", 0.1), ("vqa", 0.0))]
print(json.dumps([before, resident(), sum(p.nbytes for p in model.parameters())]))
"""
    # What is freed goes back to the system at once, so that it is not counted as held.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment)
    assert ended.returncode == 0, ended.stderr
    before, after, weights = json.loads(ended.stdout)
    assert weights > 500e6
    assert after - before < 0.01 * weights


def test_reordering_changes_no_output(model: Showo2, tiny: Checkpoint) -> None:
    size = model.config.backbone
    NeuronPaths.of(model, scores(size.layers, size.ffn_size), RATIOS)
    x = torch.randn(3, size.hidden_size)
    for own, original in zip(model.backbone.layers, tiny.model.backbone.layers, strict=True):
        mlp, before = own.get_submodule("mlp"), original.get_submodule("mlp")
        assert not torch.equal(mlp.gate_proj.weight, before.gate_proj.weight)
        torch.testing.assert_close(mlp(x), before(x), atol=1e-6, rtol=1e-5)


def test_a_path_is_the_ffn_without_the_others(model: Showo2) -> None:
    """Views and gathered neurons alike compute what zeroed weights compute."""
    size = model.config.backbone
    values = scores(size.layers, size.ffn_size)
    paths = NeuronPaths.of(model, values, RATIOS)
    mlp = model.backbone.layers[0].get_submodule("mlp")
    assert isinstance(mlp, GatedFFN)
    x = torch.randn(4, size.hidden_size)
    for ratio in (0.1, 0.6):
        path = paths.path("vqa", ratio, model.device)
        assert path.layers is not None
        part = path.layers[0]
        assert part is not None
        masked = copy.deepcopy(mlp)
        skipped_layers = torch.ones(size.ffn_size, dtype=torch.bool)
        skipped_layers[part] = False
        assert int(skipped_layers.sum()) == size.ffn_size - kept_count(size.ffn_size, ratio)
        masked.down_proj.weight[:, skipped_layers] = 0.0
        torch.testing.assert_close(mlp(x, part), masked(x), atol=1e-6, rtol=1e-5)
    gathered = paths.path("vqa", 0.6, model.device).layers
    assert gathered is not None
    assert gathered[0].tolist() == kept(paths.scores["vqa"][0], 0.6).tolist()  # type: ignore[union-attr]
