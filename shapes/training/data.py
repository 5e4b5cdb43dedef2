"""Batches for the unified model: captions with latents, and pictures with several questions or descriptions each.

Latents are encoded once and kept; text is drawn anew each time. Captions come in two lengths and
wait in a queue until a batch of their length is full, so that little is spent on padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeAlias

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from flashu_core.model.vae import Vae
from flashu_core.text.prompt import generation_prefix, understanding_prefix, understanding_suffix
from flashu_core.text.tokenizer import Tokenizer
from shapes.captions import caption
from shapes.questions import candidates, places, questions
from shapes.render import render
from shapes.scene import Scene, sample_scene
from shapes.seeds import training_rng
from shapes.training.precision import mixed
from shapes.usual import drawn_scene

CAPTION_LENGTHS = (12, 26)  # tokens, with the two around the text
SEGMENT_LENGTH = 20  # tokens of a question with its answer: see `QuestionBatch`
DESCRIPTION_LENGTH = 36
DESCRIBE = "what is in the picture?"
EMPTY_PROMPTS = 0.1

Segment: TypeAlias = tuple[list[int], list[int]]
Sampler: TypeAlias = Callable[[Random], Scene]
UnderstandRunner: TypeAlias = Callable[[Scene, Random], list[Segment]]


@torch.no_grad()
def encode_scenes(vae: Vae, path: Path, sample: Sampler, *, count: int, pixels: int, batch: int = 128) -> Tensor:
    """Latents of what `sample` makes of training seeds 0 to `count`, (count, C, h, w) bfloat16, kept at `path`."""
    if path.exists():
        kept: Tensor = torch.load(path, weights_only=True)
        if kept.shape[0] >= count:
            return kept[:count]
    device = vae.conv1.weight.device
    chunks = []
    for first in track(range(0, count, batch), description="latents"):
        drawn = np.stack([render(sample(training_rng(first + i)), pixels) for i in range(batch)])
        images = torch.from_numpy(drawn).to(device).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        with mixed(device):
            chunks.append(vae.encode(images.contiguous(memory_format=torch.channels_last)).bfloat16().cpu())
    latents = torch.cat(chunks)[:count]
    torch.save(latents, path)
    return latents


@dataclass(frozen=True, slots=True)
class Captions:
    """Prefixes padded on the left to one length: ids (B, T), how many of them count (B,), scenes (B,)."""

    ids: Tensor
    lengths: Tensor
    scenes: Tensor


@dataclass(frozen=True, slots=True)
class QuestionBatch:
    """Pictures with what is asked about them.

    Attributes:
        ids: (B, Q, S) question, assistant turn, answer and end token, padded on the right.
        targets: (B, Q, S) the next token where it is part of an answer, else -100.
        scenes: (B,).
    """

    ids: Tensor
    targets: Tensor
    scenes: Tensor


class CaptionSource:
    """An endless stream of caption batches of `drawn_scene`s; one in ten captions is empty, for guidance."""

    def __init__(self, tokenizer: Tokenizer, *, scenes: int, batch: int, seed: int) -> None:
        self.tokenizer = tokenizer
        self.scenes = scenes
        self.batch = batch
        self.rng = Random(seed)

    def __iter__(self) -> Iterator[Captions]:
        queues: dict[int, list[tuple[list[int], int]]] = {length: [] for length in CAPTION_LENGTHS}
        while True:
            index = self.rng.randrange(self.scenes)
            text = "" if self.rng.random() < EMPTY_PROMPTS else caption(drawn_scene(training_rng(index)), self.rng)
            ids = generation_prefix(self.tokenizer, text, limit=1000)
            length = next((length for length in CAPTION_LENGTHS if len(ids) <= length), None)
            if length is None:
                continue
            queue = queues[length]
            queue.append((ids, index))
            if len(queue) == self.batch:
                yield self._batch(queue, length)
                queue.clear()

    def _batch(self, queue: list[tuple[list[int], int]], length: int) -> Captions:
        pad = self.tokenizer.special.pad
        padded = [[pad] * (length - len(ids)) + ids for ids, _ in queue]
        return Captions(
            torch.tensor(padded),
            torch.tensor([len(ids) for ids, _ in queue]),
            torch.tensor([index for _, index in queue]),
        )


class QuestionSource:
    """An endless stream of pictures asked about.

    Args:
        ask: the segments of one scene, as many and as long for every scene; none where nothing can be asked.
        scenes, batch, seed: training scenes 0 and up, pictures in a batch, and of the random choices.
    """

    def __init__(self, ask: UnderstandRunner, *, scenes: int, batch: int, seed: int) -> None:
        self.ask = ask
        self.scenes = scenes
        self.batch = batch
        self.rng = Random(seed)

    def __iter__(self) -> Iterator[QuestionBatch]:
        while True:
            segments: list[list[Segment]] = []
            scenes: list[int] = []
            while len(scenes) < self.batch:
                index = self.rng.randrange(self.scenes)
                found = self.ask(sample_scene(training_rng(index)), self.rng)
                if found:
                    segments.append(found)
                    scenes.append(index)
            yield QuestionBatch(
                torch.tensor([[ids for ids, _ in found] for found in segments]),
                torch.tensor([[targets for _, targets in found] for found in segments]),
                torch.tensor(scenes),
            )


def questions_of(tokenizer: Tokenizer, *, each: int) -> UnderstandRunner:
    """Asks `each` questions about a scene: where a single thing is (see `places`), where one is to another, then any.

    Where things are is learned last, so it is asked most.
    """

    def ask(scene: Scene, rng: Random) -> list[Segment]:
        where = [*places(scene, rng)[:1], *candidates(scene, rng, "where")[-1:]]
        chosen = [*where, *questions(scene, rng, each)][:each]
        return _filled([segment(tokenizer, one.text, one.answer, SEGMENT_LENGTH) for one in chosen], each)

    return ask


def descriptions_of(tokenizer: Tokenizer, *, each: int) -> UnderstandRunner:
    """Asks for a description of a scene `each` times, worded anew: each word of it says what belongs to which thing."""

    def ask(scene: Scene, rng: Random) -> list[Segment]:
        said = [caption(scene, rng) for _ in range(each)]
        return _filled([segment(tokenizer, DESCRIBE, text, DESCRIPTION_LENGTH) for text in said], each)

    return ask


def _filled(segments: list[Segment | None], count: int) -> list[Segment]:
    """`count` of those that fit: where there are fewer the first come again, so that shapes stay fixed."""
    usable = [found for found in segments if found is not None]
    return (usable * count)[:count]


def segment(tokenizer: Tokenizer, text: str, answer: str, length: int) -> Segment | None:
    """A question with its answer, and the targets of its tokens, both padded to `length`; None where it is longer."""
    special = tokenizer.special
    asked = understanding_suffix(tokenizer, text, limit=1000)
    answered = [*tokenizer.encode(answer), special.eos]
    whole = asked + answered
    if len(whole) - 1 > length:
        return None
    targets = [-100] * (len(asked) - 1) + answered
    room = length - len(targets)
    return whole[:-1] + [special.pad] * room, targets + [-100] * room


def system_ids(tokenizer: Tokenizer) -> list[int]:
    """What precedes every picture that is asked about."""
    return understanding_prefix(tokenizer)
