"""Random sources for training and for grading that can never be the same one.

It knows only how a purpose and a number become a seed; what is drawn from the source is the caller's affair.
"""

from __future__ import annotations

from hashlib import blake2b
from random import Random


def source(purpose: str, number: int) -> Random:
    """The random source of a purpose's item; no two of different purposes are the same."""
    # A hash, because neighbouring integers as seeds would let training item N be grading item N + offset.
    digest = blake2b(f"flashu/shapes/{purpose}/{number}".encode(), digest_size=16).digest()
    return Random(int.from_bytes(digest, "big"))


def training_rng(index: int) -> Random:
    """The random source of training item `index`."""
    return source("training", index)


def grading_rng(seed: int) -> Random:
    """The random source of the grading set `seed`."""
    return source("grading", seed)
