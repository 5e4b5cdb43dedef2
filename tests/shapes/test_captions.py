"""Captions are true: an independent little parser reads them back and compares them with the scene."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

from shapes.captions import caption
from shapes.scene import Scene, Thing, pair_scene, sample_scene
from shapes.usual import drawn_scene, has_usual_colours, has_usual_sizes, usual_scene
from shapes.vocabulary import corpus, split, words

NUMBERS = {"a": 1, "one": 1, "two": 2, "three": 3, "four": 4}
PHRASE = re.compile(
    r"(a|one|two|three|four) (?:(small|large) )?(?:(red|green|blue|yellow|purple|cyan) )?"
    r"(circle|square|triangle)(s?)"
)
RELATION = re.compile(r"(.+?)(?: to the)? (left of|right of|above|below) (.+)")
WITH = re.compile(r"(.+) with (.+?)(?: to the)? (left of|right of|above|below) it")
REGION = re.compile(r"(.+) (?:on|at|in) the (left|right|top|bottom|centre)")


def read_phrase(text: str, scene: Scene) -> list[Thing]:
    """The things a phrase means; asserts that there are exactly as many as it says."""
    match = PHRASE.fullmatch(text)
    assert match, text
    number, size, colour, form, plural = match.groups()
    meant = [
        thing
        for thing in scene.things
        if thing.form == form and size in (None, thing.size) and colour in (None, thing.colour)
    ]
    assert len(meant) == NUMBERS[number] and bool(plural) == (len(meant) > 1), text
    return meant


def check(text: str, scene: Scene) -> str:
    """Asserts that a caption is true of its scene and tells what kind of caption it was."""
    assert re.fullmatch(r"[a-z]+(,? [a-z]+)*", text), text
    text = text.removeprefix("a picture of ")
    background = re.fullmatch(r"(.+) on a (white|grey|black) background", text)
    if background:
        text = background[1]
        assert background[2] == scene.background
    with_it = WITH.fullmatch(text)
    related = (with_it[2], with_it[3], with_it[1]) if with_it else None
    plain = RELATION.fullmatch(text)
    if related is None and plain:
        related = (plain[1], plain[2], plain[3])
    if related:
        (first,), (second,) = read_phrase(related[0], scene), read_phrase(related[2], scene)
        across, down = second.x - first.x, second.y - first.y
        ahead, aside = (across, down) if related[1] in ("left of", "right of") else (down, across)
        assert (ahead if related[1] in ("left of", "above") else -ahead) >= 0.22
        assert abs(ahead) > 1.3 * abs(aside)
        assert len(scene.things) == 2
        return "relation"
    parts = re.split(r", | and ", text)
    placed = [REGION.fullmatch(part) for part in parts]
    means = [read_phrase(place[1] if place else part, scene) for part, place in zip(parts, placed, strict=True)]
    assert Counter(id(thing) for group in means for thing in group) == Counter(map(id, scene.things))
    for place, things in zip(placed, means, strict=True):
        if place:
            (only,) = things
            check_place(only, place[2])
    if any(placed):
        return "places" if len(parts) > 1 else "region"
    return "background" if background else "plain"


def check_place(thing: Thing, place: str) -> None:
    """Asserts that a thing is in the part of the picture that was said."""
    across, down = thing.x - 0.5, thing.y - 0.5
    toward = {"left": -across, "right": across, "top": -down, "bottom": down}
    if place == "centre":
        assert max(toward.values()) <= 0.08
    else:
        assert toward[place] == max(toward.values()) >= 0.15


def test_captions_are_true_of_their_scenes() -> None:
    rng = Random(0)
    kinds = Counter(check(caption(scene, rng), scene) for scene in (drawn_scene(rng) for _ in range(5000)))
    assert min(kinds[kind] for kind in ("relation", "region", "places", "background", "plain")) > 100


def test_the_check_itself_catches_untruths() -> None:
    rng = Random(1)
    caught = 0
    for _ in range(300):
        scene, other = sample_scene(rng), sample_scene(rng)
        try:
            check(caption(scene, rng), other)
        except (AssertionError, ValueError):
            caught += 1
    assert caught > 270


def test_only_what_is_usual_is_omitted() -> None:
    rng = Random(2)
    open_colours = open_sizes = 0
    for _ in range(3000):
        scene = drawn_scene(rng)
        text = caption(scene, rng)
        if not re.search(r"(red|green|blue|yellow|purple|cyan) (circle|square|triangle)", text):
            assert has_usual_colours(scene), text
            open_colours += 1
        if "small" not in text and "large" not in text:
            assert has_usual_sizes(scene), text
            open_sizes += 1
    assert 0.15 < open_colours / 3000 < 0.5
    assert 0.3 < open_sizes / 3000 < 0.7


def test_plain_lists_name_things_in_the_order_they_stand() -> None:
    rng = Random(3)
    lists = 0
    for _ in range(3000):
        scene = usual_scene(rng)
        text = caption(scene, rng)
        if len({thing.kind for thing in scene.things}) == len(scene.things) == 2 and check(text, scene) == "plain":
            first, second = sorted(scene.things, key=lambda thing: thing.x)
            named = [
                text.index(f"{thing.colour} {thing.form}") if thing.colour in text else text.index(thing.form)
                for thing in (first, second)
            ]
            assert named[0] < named[1], text
            lists += 1
    assert lists > 200


def test_either_thing_of_a_relation_may_come_first() -> None:
    rng = Random(4)
    scene = pair_scene(rng, kinds=(("red", "circle"), ("blue", "square")), related="above")
    texts = [caption(scene, rng) for _ in range(200)]
    starts = sum(text.index("circle") < text.index("square") for text in texts if check(text, scene) == "relation")
    assert 30 < starts < sum(check(text, scene) == "relation" for text in texts) - 30


def test_vocabulary_is_exactly_what_is_used() -> None:
    used = {word for line in corpus(Random(5), 10000) for word in split(line)}
    assert used == set(words())
    assert list(words()) == sorted(set(words())) and len(words()) < 80
