"""Batches for the unified model: captions with latents, and pictures with several questions each.

Latents are encoded once and kept; text is drawn anew each time. Captions come in two lengths and
wait in a queue until a batch of their length is full, so that little is spent on padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from flashu_core.model.vae import Vae
from flashu_core.prompt import generation_prefix, understanding_prefix, understanding_suffix
from flashu_core.tokenizer import Tokenizer
from shapes.captions import caption
from shapes.questions import places, questions
from shapes.render import render
from shapes.scene import sample_scene
from shapes.seeds import training_rng
from shapes.training.precision import mixed

CAPTION_LENGTHS = (12, 26)  # tokens, with the two around the text
SEGMENT_LENGTH = 20  # tokens of a question with its answer: see `Questions`
NULL_PROMPTS = 0.1


@torch.no_grad()
def encode_scenes(vae: Vae, path: Path, *, count: int, pixels: int, batch: int = 128) -> Tensor:
    """Latents of training scenes 0 to `count`, (count, C, h, w) in bfloat16, made once and kept at `path`."""
    if path.exists():
        kept: Tensor = torch.load(path, weights_only=True)
        if kept.shape[0] >= count:
            return kept[:count]
    device = vae.conv1.weight.device
    chunks = []
    for first in track(range(0, count, batch), description="latents"):
        drawn = np.stack([render(sample_scene(training_rng(first + i)), pixels) for i in range(batch)])
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
class Questions:
    """Pictures with their questions.

    Attributes:
        ids: (B, Q, S) question, assistant turn, answer and end token, padded on the right.
        targets: (B, Q, S) the next token where it is part of an answer, else -100.
        scenes: (B,).
    """

    ids: Tensor
    targets: Tensor
    scenes: Tensor


class CaptionSource:
    """An endless stream of caption batches; one in ten captions is empty, for guidance."""

    def __init__(self, tokenizer: Tokenizer, *, scenes: int, batch: int, seed: int) -> None:
        self.tokenizer = tokenizer
        self.scenes = scenes
        self.batch = batch
        self.rng = Random(seed)

    def __iter__(self) -> Iterator[Captions]:
        queues: dict[int, list[tuple[list[int], int]]] = {length: [] for length in CAPTION_LENGTHS}
        while True:
            index = self.rng.randrange(self.scenes)
            text = "" if self.rng.random() < NULL_PROMPTS else caption(sample_scene(training_rng(index)), self.rng)
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
    """An endless stream of pictures with `each` questions."""

    def __init__(self, tokenizer: Tokenizer, *, scenes: int, batch: int, each: int, seed: int) -> None:
        self.tokenizer = tokenizer
        self.scenes = scenes
        self.batch = batch
        self.each = each
        self.rng = Random(seed)

    def __iter__(self) -> Iterator[Questions]:
        while True:
            ids: list[list[list[int]]] = []
            targets: list[list[list[int]]] = []
            scenes: list[int] = []
            while len(scenes) < self.batch:
                index = self.rng.randrange(self.scenes)
                scene = sample_scene(training_rng(index))
                # At most one question of where a single thing is, from which relations between two are learned.
                chosen = [*places(scene, self.rng)[:1], *questions(scene, self.rng, self.each)][: self.each]
                asked = [self._segment(question.text, question.answer) for question in chosen]
                usable = [segment for segment in asked if segment is not None]
                if not usable:
                    continue
                # A scene with fewer questions asks the first again: the shapes stay fixed.
                usable = (usable * self.each)[: self.each]
                ids.append([segment[0] for segment in usable])
                targets.append([segment[1] for segment in usable])
                scenes.append(index)
            yield Questions(torch.tensor(ids), torch.tensor(targets), torch.tensor(scenes))

    def _segment(self, text: str, answer: str) -> tuple[list[int], list[int]] | None:
        special = self.tokenizer.special
        asked = understanding_suffix(self.tokenizer, text, limit=1000)
        answered = [*self.tokenizer.encode(answer), special.eos]
        whole = asked + answered
        if len(whole) - 1 > SEGMENT_LENGTH:
            return None
        targets = [-100] * (len(asked) - 1) + answered
        room = SEGMENT_LENGTH - len(targets)
        return whole[:-1] + [special.pad] * room, targets + [-100] * room


def system_ids(tokenizer: Tokenizer) -> list[int]:
    """What precedes every picture that is asked about."""
    return understanding_prefix(tokenizer)
