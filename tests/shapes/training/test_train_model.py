from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flashu_core.model import reference
from flashu_core.model.sampler import noise
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vae import Vae
from flashu_core.text.prompt import generation_prefix, understanding_prefix, understanding_suffix
from flashu_core.text.tokenizer import Tokenizer
from shapes.land.questions import DESCRIBE, Kind
from shapes.training.data import (
    ONE_WORD,
    SEGMENT_LENGTH,
    SENTENCE_LENGTH,
    WHOLE_SENTENCE,
    CaptionSource,
    Chooser,
    QuestionSource,
    Scenes,
    encoded_scenes,
    questions_of,
    system_ids,
    training_scene,
)
from shapes.training.labels import Probe
from shapes.training.train_model import (
    Losses,
    Trainer,
    draw_times,
    embedded_config,
    initialise,
    sine_cosine_positions,
)
from shapes.training.train_vae import LATENT_CHANNELS, untrained_config

LATENTS = noise(1, (6, LATENT_CHANNELS, 8, 8))
LABELS = torch.zeros(6, 16, 2, dtype=torch.uint8)
SCENES = [training_scene(index) for index in range(500)]


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Showo2:
    config = embedded_config(len(tokenizer), 64)
    torch.manual_seed(0)
    model = Showo2(replace(config, backbone=replace(config.backbone, layers=3)))
    initialise(model)
    with torch.no_grad():
        # Away from the start, where the zero modulation would hide what it does.
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def test_the_flow_loss_is_that_of_the_reference(model: Showo2, tokenizer: Tokenizer) -> None:
    """Neither padding on the left nor sharing the text changes positions nor who sees whom."""
    prefixes = [generation_prefix(tokenizer, text, limit=100) for text in ("", "a red circle", "two cyan squares")]
    length = 9
    padded = torch.tensor([[tokenizer.special.pad] * (length - len(ids)) + ids for ids in prefixes])
    lengths = torch.tensor([len(ids) for ids in prefixes])
    data, start = LATENTS[:3], noise(2, (3, 2, LATENT_CHANNELS, 8, 8))
    times = torch.tensor([[0.1, 0.7], [0.5, 0.2], [0.9, 0.4]])
    losses = Losses(model, system_ids(tokenizer), Probe(model, 1))
    found, read = losses.flow(padded, lengths, data, start, times, LABELS[:3])
    assert 4 < read.item() < 20
    whole = torch.tensor([(ids + [0] * 40)[:40] for ids in prefixes])
    errors = []
    for draw in range(2):
        mixed = torch.lerp(start[:, draw], data, times[:, draw].view(-1, 1, 1, 1))
        velocity = reference.velocities(model, whole, lengths.tolist(), mixed, times[:, draw])
        errors.append((velocity - (data - start[:, draw])).square().mean())
    assert found.item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-5)


def test_questions_about_one_picture_do_not_see_each_other(model: Showo2, tokenizer: Tokenizer) -> None:
    """The loss over several questions in one sequence is the mean over each asked alone."""
    ask = questions_of(tokenizer, each=3, kinds=ONE_WORD, length=SEGMENT_LENGTH)
    batch = next(iter(QuestionSource(ask, SCENES[:50], batch=2, seed=0)))
    losses = Losses(model, system_ids(tokenizer), Probe(model, 1))
    together, read, _ = losses.answers(batch.ids, batch.targets, LATENTS[:2], LABELS[:2])
    assert 4 < read.item() < 20
    _, token = model.time_tokens(torch.ones(1))
    prefix = model.embed(understanding_prefix(tokenizer))
    total, counted = 0.0, 0
    for row in range(2):
        picture = model.image_block(model.vision(LATENTS[row : row + 1]), token)
        for ids, targets in zip(batch.ids[row], batch.targets[row], strict=True):
            whole = torch.cat([prefix, picture, model.embed(ids.tolist())], dim=1)
            logits = reference.answer_logits(model, whole, (prefix.shape[1], picture.shape[1]))[0]
            wanted = targets != -100
            chosen = logits[-SEGMENT_LENGTH:][wanted].log_softmax(-1)
            total -= chosen.gather(1, targets[wanted][:, None]).sum().item()
            counted += int(wanted.sum())
    assert together.item() == pytest.approx(total / counted, rel=1e-4)


@pytest.mark.parametrize(
    ("kinds", "each", "length"), [(ONE_WORD, 4, SEGMENT_LENGTH), (WHOLE_SENTENCE, 2, SENTENCE_LENGTH)]
)
def test_questions_end_with_their_answers(
    kinds: tuple[Kind, ...], each: int, length: int, tokenizer: Tokenizer
) -> None:
    ask = questions_of(tokenizer, each=each, kinds=kinds, length=length)
    batch = next(iter(QuestionSource(ask, SCENES[:200], batch=8, seed=3)))
    assert batch.ids.shape == batch.targets.shape == (8, each, length)
    for ids, targets in zip(batch.ids.flatten(0, 1), batch.targets.flatten(0, 1), strict=True):
        answered = targets[targets != -100].tolist()
        assert answered[-1] == tokenizer.special.eos
        first = int((targets != -100).nonzero()[0])
        asked = ids[: first + 1].tolist()
        text = tokenizer.decode(asked[1 : -len(tokenizer.encode_template("\n<|im_start|>assistant\n"))])
        assert asked == understanding_suffix(tokenizer, text, limit=100)
        assert tokenizer.decode(answered[:-1])
        assert (text in DESCRIBE or text.startswith("where")) == (kinds is WHOLE_SENTENCE)


def test_one_caption_in_ten_is_empty(tokenizer: Tokenizer) -> None:
    source = iter(CaptionSource(tokenizer, SCENES, batch=200, seed=0))
    lengths = torch.cat([next(source).lengths for _ in range(5)])
    assert 0.05 < (lengths == 2).float().mean() < 0.16


def test_captions_are_padded_on_the_left(tokenizer: Tokenizer) -> None:
    batch = next(iter(CaptionSource(tokenizer, SCENES, batch=50, seed=1)))
    for ids, length in zip(batch.ids.tolist(), batch.lengths.tolist(), strict=True):
        assert ids[: -length or None].count(tokenizer.special.pad) == len(ids) - length
        assert ids[-length] == tokenizer.special.bos
        assert ids[-1] == tokenizer.special.image_start


def test_crowded_scenes_come_as_often_as_is_said(tokenizer: Tokenizer) -> None:
    choose = Chooser(SCENES, CaptionSource(tokenizer, SCENES, batch=2, seed=0).rng)
    choose.crowded = 0.0
    assert all(len(SCENES[choose()].things) < 3 for _ in range(200))
    choose.crowded = 1.0
    assert 0.1 < sum(len(SCENES[choose()].things) > 2 for _ in range(500)) / 500 < 0.6


def test_latents_are_kept_and_only_new_ones_encoded(tmp_path: Path) -> None:
    vae = Vae(untrained_config(4)).requires_grad_(False)
    first = encoded_scenes(vae, tmp_path / "latents.pt", count=3, pixels=32, batch=2)
    assert first.latents.shape == (3, LATENT_CHANNELS, 4, 4) and len(first) == 3
    more = encoded_scenes(vae, tmp_path / "latents.pt", count=5, pixels=32, batch=2)
    assert torch.equal(more.latents[:3], first.latents) and more.scenes[:3] == first.scenes
    whole = encoded_scenes(vae, tmp_path / "other.pt", count=5, pixels=32)
    assert torch.allclose(whole.latents.float(), more.latents.float(), atol=0.02)
    assert len(encoded_scenes(vae, tmp_path / "latents.pt", count=2, pixels=32)) == 2


def test_times_lean_towards_noise() -> None:
    times = draw_times(1000, 4, 3.0, torch.Generator().manual_seed(0))
    assert times.shape == (1000, 4)
    assert times.min() >= 0
    assert times.max() <= 1
    assert times.median() == pytest.approx(0.25, abs=0.03)


def test_positions_distinguish_every_place() -> None:
    table = sine_cosine_positions(4, 96)
    assert table.shape == (16, 96)
    distances = torch.cdist(table, table) + torch.eye(16) * 9
    assert distances.min() > 0.5
    assert table.square().mean().sqrt() == pytest.approx(0.71, abs=0.05)


# Under autocast the norms' weights stay float32, which torch 2.13 notes once.
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
def test_a_run_learns_stops_and_goes_on(tokenizer: Tokenizer, tmp_path: Path) -> None:
    vae = Vae(replace(untrained_config(4))).requires_grad_(False)

    def trainer() -> Trainer:
        scenes = Scenes(SCENES[:6], LATENTS.bfloat16())
        return Trainer(tmp_path, tokenizer, vae, scenes, pixels=64, pictures=4, draws=2, asked=2)

    first = trainer()
    before = first.model.backbone.layers[0].get_parameter("mlp.gate_proj.weight").clone()
    values = [
        first._update(next(iter(first.captions)), next(iter(source)), done)  # one step, without the clock
        for done, source in ((0.1, first.questions), (0.2, first.sentences), (0.9, first.questions))
    ]
    first.history.add(3, values[-1])
    first.save()
    assert all(value["flow"] > 0 and value["labels"] > 0 and value["seen"] > 0 for value in values)
    assert (tmp_path / "losses.png").stat().st_size > 0
    assert (tmp_path / "sheets" / "000003.png").stat().st_size > 0
    second = trainer()
    assert second.step == 3
    after = second.model.backbone.layers[0].get_parameter("mlp.gate_proj.weight")
    assert not torch.equal(before, after)
    assert torch.equal(after, first.model.backbone.layers[0].get_parameter("mlp.gate_proj.weight"))
