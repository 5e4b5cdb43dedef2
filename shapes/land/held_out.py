"""What training never shows, so that grading can ask for it: pairings of colour and figure, counts of a figure, and
relations between two figures. Chosen by a hash, the same on every machine."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from itertools import permutations

from shapes.land.things import OPPOSITES, RELATIONS, Relation, Scene, relation
from shapes.land.usual import USUAL_COLOURS


def _chosen(words: str, one_in: int) -> bool:
    digest = blake2b(f"flashu/land/{words}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % one_in == 0


def held_out_kind(colour: str, figure: str) -> bool:
    """Whether no training scene has a thing of this colour and figure; usual colours are never held out."""
    return colour not in USUAL_COLOURS.get(figure, ()) and _chosen(f"{colour} {figure}", 14)


def held_out_count(count: int, figure: str) -> bool:
    """Whether no training scene has exactly so many of a figure."""
    return count > 1 and _chosen(f"{count} {figure}", 12)


def held_out_relation(a: str, related: Relation, b: str) -> bool:
    """Whether no training scene has a thing of figure `a` lie so to one of figure `b`."""
    opposite = OPPOSITES[related]
    if RELATIONS.index(opposite) < RELATIONS.index(related):
        a, related, b = b, opposite, a
    return a != b and _chosen(f"{a} {related} {b}", 30)


def is_held_out(scene: Scene) -> bool:
    """Whether training must not show a scene."""
    if any(held_out_kind(*thing.kind) for thing in scene.things):
        return True
    counts = Counter(thing.figure for thing in scene.things)
    if any(held_out_count(count, figure) for figure, count in counts.items()):
        return True
    return any(
        (found := relation(a, b)) is not None and held_out_relation(a.figure, found, b.figure)
        for a, b in permutations(scene.things, 2)
    )
