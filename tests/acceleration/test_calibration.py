from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from flashu_core import (
    Begun,
    CalibrationError,
    Engine,
    EngineConfig,
    FlashUError,
    GenerateRequest,
    UnderstandRequest,
    UnitEnded,
)
from flashu_core.acceleration.calibration import Calibration, Sample, activation_norms, data_hash, importances
from flashu_core.checkpoint.load import Checkpoint
from flashu_core.cli.samples import read_samples

PICTURE = np.full((64, 64, 3), 128, np.uint8)


@pytest.fixture
def engine(tiny: Checkpoint) -> Engine:
    """On weights of its own: calibrating reorders them."""
    own = Checkpoint(
        name="tiny", model=copy.deepcopy(tiny.model), vae=tiny.vae, tokenizer=tiny.tokenizer, digest="random"
    )
    return Engine(own, EngineConfig())


def shape_of(engine: Engine) -> tuple[int, int]:
    backbone = engine._parts.model.config.backbone
    return backbone.layers, backbone.ffn_size


def measured(engine: Engine) -> Calibration:
    return engine.calibrate(["a red circle"], [Sample(PICTURE, "what is it?")])


def test_importance_is_weight_times_norm(tiny: Checkpoint) -> None:
    x = torch.randn(2, 5, 64)
    with activation_norms(tiny.model) as norms:
        activations = [layer.mlp.activations(x) for layer in tiny.model.backbone.layers]
        for layer in tiny.model.backbone.layers:
            layer.mlp(x[:1])
            layer.mlp(x[1:])
        found = importances(tiny.model, norms())
    for index, layer in enumerate(tiny.model.backbone.layers):
        expected = layer.mlp.down_proj.weight.abs().sum(0) * activations[index].flatten(0, 1).square().sum(0).sqrt()
        torch.testing.assert_close(found[index], expected)


def test_watching_ends_with_its_block(tiny: Checkpoint) -> None:
    with pytest.raises(CalibrationError, match="nothing ran"), activation_norms(tiny.model) as norms:
        norms()
    assert all(not layer.mlp.down_proj._forward_hooks for layer in tiny.model.backbone.layers)


def test_tasks_use_different_neurons(engine: Engine) -> None:
    found = measured(engine)
    shape = shape_of(engine)
    assert {task: tuple(scores.shape) for task, scores in found.scores.items()} == {"generate": shape, "vqa": shape}
    assert not torch.allclose(found.scores["generate"], found.scores["vqa"])
    assert found.provenance["data"] == data_hash(["a red circle"], [Sample(PICTURE, "what is it?")])


def test_pruning_needs_a_calibration(engine: Engine) -> None:
    with pytest.raises(Exception, match="flashu calibrate"):
        engine.submit(GenerateRequest(prompt="a", acceleration="flashu"), request_id="a")
    engine.use(measured(engine))
    result = engine.generate(GenerateRequest(prompt="a", acceleration="flashu", num_inference_steps=35, seed=1))
    assert (result.schedule["backbone_passes"], result.schedule["head_passes"]) == (19, 18)
    assert result.schedule["backbone_pruned"] == 9
    with pytest.raises(CalibrationError, match="already"):
        measured(engine)


def test_using_a_calibration_changes_no_exact_result(engine: Engine) -> None:
    def run() -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], str]:
        image = engine.generate(
            GenerateRequest(prompt="a red circle", seed=4, num_inference_steps=4, acceleration="exact")
        ).images[0]
        answer = engine.understand(
            UnderstandRequest(question="what is it?", image=PICTURE, max_new_tokens=6, acceleration="exact")
        ).answer
        return image, answer

    found = measured(engine)
    (before, answer), _ = run(), engine.use(found)
    after, again = run()
    assert np.abs(before.astype(int) - after.astype(int)).max() <= 1
    assert answer == again


def test_it_survives_the_disk(engine: Engine, tmp_path: Path) -> None:
    found = measured(engine)
    nowhere = tmp_path / "file" / "calibration.safetensors"
    (tmp_path / "file").write_text("in the way")
    place = found.keep([nowhere, tmp_path / "kept" / "calibration.safetensors"])
    assert place == tmp_path / "kept" / "calibration.safetensors"
    again = Calibration.load(place, digest="random", shape=shape_of(engine))
    assert again.ratios == {"generate": 0.2, "vqa": 0.1}
    assert torch.equal(load_file(place)["kept.generate"].long(), again.kept("generate"))
    assert torch.equal(again.scores["vqa"], found.scores["vqa"])
    assert again.provenance == found.provenance
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    assert found.keep([nowhere]) is None


def test_calibration_reports_units_and_begins_no_request(engine: Engine) -> None:
    units: list[UnitEnded] = []
    engine.submit(GenerateRequest(prompt="a", num_inference_steps=3, acceleration="exact"), request_id="a")
    engine.calibrate(["a red circle"], [Sample(PICTURE, "what is it?")], on_unit=units.append)
    assert [unit.stage for unit in units[:3]] == ["prefix", "evaluate", "evaluate"]
    assert {unit.stage for unit in units} == {"prefix", "evaluate", "vae_decode", "prefill", "decode"}
    assert all(unit.request_ids == () and unit.memory["weights"] > 0 for unit in units)
    assert engine.step() == [Begun("a")]  # a client's request did not advance meanwhile


def test_a_model_without_numbers_is_refused_with_that_reason(engine: Engine) -> None:
    engine._parts.model.backbone.layers[0].get_submodule("mlp.down_proj").weight.fill_(torch.nan)
    with pytest.raises(FlashUError, match="NaN or Inf"):
        engine.warm_up()


def test_what_could_not_be_written_whole_leaves_nothing_behind(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "in-the-way.safetensors").mkdir()
    (tmp_path / "in-the-way.safetensors" / "file").touch()
    assert measured(engine).keep([tmp_path / "in-the-way.safetensors"]) is None
    assert [path.name for path in tmp_path.iterdir()] == ["in-the-way.safetensors"]


def test_a_user_without_a_home_has_no_cache(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert engine.calibration_files == []
    assert engine.prepare() is None
    assert engine.calibrated


def test_what_does_not_fit_is_refused(engine: Engine, tmp_path: Path) -> None:
    place = tmp_path / "calibration.safetensors"
    measured(engine).save(place)
    layers, neurons = shape_of(engine)
    with pytest.raises(CalibrationError, match="of the checkpoint random, not of other"):
        Calibration.load(place, digest="other", shape=(layers, neurons))
    with pytest.raises(CalibrationError, match=r"scores\.generate"):
        Calibration.load(place, digest="random", shape=(layers, neurons + 64))
    tensors = load_file(place)
    save_file(tensors, place, {"version": "0", "digest": "random"})
    with pytest.raises(CalibrationError, match="version"):
        Calibration.load(place, digest="random", shape=(layers, neurons))
    metadata = {"version": "2", "digest": "random", "ratios": '{"generate": 0.2, "vqa": 0.1}'}
    tensors["kept.vqa"] = tensors["kept.vqa"].flip(1)
    save_file(tensors, place, metadata)
    with pytest.raises(CalibrationError, match=r"kept\.vqa"):
        Calibration.load(place, digest="random", shape=(layers, neurons))
    save_file(tensors, place, {**metadata, "ratios": "0.2"})
    with pytest.raises(CalibrationError, match="cannot be read"):
        Calibration.load(place, digest="random", shape=(layers, neurons))
    for ratio in ("NaN", "Infinity", "1e999", "-5", "0.95"):
        save_file(tensors, place, {**metadata, "ratios": f'{{"generate": {ratio}, "vqa": 0.1}}'})
        with pytest.raises(CalibrationError, match="the ratio of generate is"):
            Calibration.load(place, digest="random", shape=(layers, neurons))
    tensors["scores.vqa"][0, 0] = torch.nan
    save_file(tensors, place, metadata)
    with pytest.raises(CalibrationError, match="finite"):
        Calibration.load(place, digest="random", shape=(layers, neurons))
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(CalibrationError, match="cannot be read"):
        Calibration.load(place, digest="random", shape=(layers, neurons))


def test_samples_are_read_from_lines(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    lines = tmp_path / "samples.jsonl"
    lines.write_text('{"image": "a.png", "question": "what?"}\n\n')
    (sample,) = read_samples(lines)
    assert sample.question == "what?"
    assert np.array_equal(sample.image, PICTURE)
    for content in ("", "{}", "[1]", '{"image": "b.png", "question": "what?"}', '{"image": 3, "question": "a"}', "no"):
        lines.write_text(content)
        with pytest.raises(CalibrationError, match=r"samples.jsonl"):
            read_samples(lines)
