"""Batches for the unified model: captions with latents, and pictures with several questions or sentences each.

Latents are encoded once and kept; text is worded anew each time. Captions come in two lengths and wait in a queue until
a batch of their length is full, so that little is spent on padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from flashu_core.model.vae import Vae
from flashu_core.text.prompt import generation_prefix, understanding_prefix, understanding_suffix
from flashu_core.text.tokenizer import Tokenizer
from flashu_core.threads import available_cpus
from shapes.land.captions import caption
from shapes.land.questions import KINDS, SENTENCES, Kind, questions
from shapes.land.scenes import painted, sample_scene
from shapes.land.things import Scene
from shapes.seeds import training_rng
from shapes.training.precision import mixed

CAPTION_LENGTHS = (13, 36)  # tokens, with the two around the text
SEGMENT_LENGTH = 20  # tokens of a question with its answer: see `QuestionBatch`
SENTENCE_LENGTH = 40
EMPTY_PROMPTS = 0.1
ONE_WORD: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind not in SENTENCES)
WHOLE_SENTENCE: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind in SENTENCES)

Segment: TypeAlias = tuple[list[int], list[int]]
UnderstandRunner: TypeAlias = Callable[[Scene, Random], list[Segment]]


@dataclass(frozen=True, slots=True)
class Scenes:
    """Training scenes of seeds 0 and up with their latents, (count, C, h, w) bfloat16."""

    scenes: Sequence[Scene]
    latents: Tensor

    def __len__(self) -> int:
        return len(self.scenes)


def training_scene(index: int) -> Scene:
    """The scene of a training seed."""
    return sample_scene(training_rng(index))


def training_picture(index: int, pixels: int) -> NDArray[np.uint8]:
    """The picture of a training seed's scene, uint8 (pixels, pixels, 3)."""
    return painted(training_scene(index), pixels)


@torch.no_grad()
def encoded_scenes(vae: Vae, path: Path, *, count: int, pixels: int, batch: int = 128) -> Scenes:
    """Scenes 0 to `count`, whose latents are kept at `path`; what is there already is not encoded again."""
    kept = torch.load(path, weights_only=True) if path.exists() else None
    have = 0 if kept is None else kept.shape[0]
    chunks = [] if kept is None else [kept]
    device = vae.conv1.weight.device
    workers = available_cpus()
    with ProcessPoolExecutor(workers) as pool:
        for first in track(range(have, count, batch), description="latents"):
            indices = range(first, min(first + batch, count))
            pictures = pool.map(partial(training_picture, pixels=pixels), indices, chunksize=batch // workers + 1)
            images = torch.from_numpy(np.stack(list(pictures))).to(device).permute(0, 3, 1, 2).float().div(127.5).sub(1)
            with mixed(device):
                chunks.append(vae.encode(images.contiguous(memory_format=torch.channels_last)).bfloat16().cpu())
    latents = torch.cat(chunks)
    if have < count:
        torch.save(latents, path)
    return Scenes([training_scene(index) for index in range(count)], latents[:count])


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


class Chooser:
    """Chooses scenes at random, crowded ones more rarely at first.

    Attributes:
        crowded: the share of scenes of three things or more that is taken, from 0 to 1.
    """

    def __init__(self, scenes: Sequence[Scene], rng: Random) -> None:
        self.scenes = scenes
        self.rng = rng
        self.crowded = 1.0

    def __call__(self) -> int:
        while True:
            index = self.rng.randrange(len(self.scenes))
            if len(self.scenes[index].things) < 3 or self.rng.random() < self.crowded:
                return index


class CaptionSource:
    """An endless stream of caption batches; one in ten captions is empty, for guidance."""

    def __init__(self, tokenizer: Tokenizer, scenes: Sequence[Scene], *, batch: int, seed: int) -> None:
        self.tokenizer = tokenizer
        self.scenes = scenes
        self.batch = batch
        self.rng = Random(seed)
        self.choose = Chooser(scenes, self.rng)

    def __iter__(self) -> Iterator[Captions]:
        queues: dict[int, list[tuple[list[int], int]]] = {length: [] for length in CAPTION_LENGTHS}
        while True:
            index = self.choose()
            text = "" if self.rng.random() < EMPTY_PROMPTS else caption(self.scenes[index], self.rng)
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
        scenes, batch, seed: training scenes, pictures in a batch, and of the random choices.
    """

    def __init__(self, ask: UnderstandRunner, scenes: Sequence[Scene], *, batch: int, seed: int) -> None:
        self.ask = ask
        self.scenes = scenes
        self.batch = batch
        self.rng = Random(seed)
        self.choose = Chooser(scenes, self.rng)

    def __iter__(self) -> Iterator[QuestionBatch]:
        while True:
            segments: list[list[Segment]] = []
            scenes: list[int] = []
            while len(scenes) < self.batch:
                index = self.choose()
                found = self.ask(self.scenes[index], self.rng)
                if found:
                    segments.append(found)
                    scenes.append(index)
            yield QuestionBatch(
                torch.tensor([[ids for ids, _ in found] for found in segments]),
                torch.tensor([[targets for _, targets in found] for found in segments]),
                torch.tensor(scenes),
            )


def questions_of(tokenizer: Tokenizer, *, each: int, kinds: Sequence[Kind], length: int) -> UnderstandRunner:
    """Asks `each` questions of these kinds about a scene, in segments of `length` tokens."""

    def ask(scene: Scene, rng: Random) -> list[Segment]:
        chosen = questions(scene, rng, each, kinds=kinds)
        return _filled([segment(tokenizer, one.text, one.answer, length) for one in chosen], each)

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
