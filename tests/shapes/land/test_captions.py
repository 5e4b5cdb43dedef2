from __future__ import annotations

from random import Random

import pytest

from shapes.land.captions import (
    NUMBERS,
    PLACE_PHRASES,
    REGION_PHRASES,
    RELATION_PHRASES,
    article,
    caption,
    counted,
    listing,
    plural,
)
from shapes.land.painting import COLOURS
from shapes.land.questions import questions
from shapes.land.scenes import NAMES, sample_scene
from shapes.land.things import Scene, Thing
from shapes.land.usual import USUAL_COLOURS
from shapes.land.vocabulary import corpus, split, words

SCENES = [(sample_scene(Random(seed)), Random(seed)) for seed in range(1500)]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (counted(1, "apple"), "an apple"),
        (counted(1, "fish", "orange"), "an orange fish"),
        (counted(3, "fish", "blue", "small"), "three small blue fish"),
        (counted(6, "star"), "six stars"),
        (listing(["a", "b", "c"]), "a, b and c"),
        (article("umbrella"), "an umbrella"),
        (plural("cat"), "cats"),
    ],
)
def test_the_english_is_right(said: str, expected: str) -> None:
    assert said == expected


def test_a_count_without_a_word_is_refused() -> None:
    with pytest.raises(ValueError, match="7"):
        counted(7, "cat")


def test_a_caption_names_only_what_is_there() -> None:
    for scene, rng in SCENES:
        said = split(caption(scene, rng))
        names = {thing.figure for thing in scene.things} | {plural(thing.figure) for thing in scene.things}
        assert set(said) & {*NAMES, *map(plural, NAMES)} <= names, said
        assert set(said) & set(COLOURS) <= {thing.colour for thing in scene.things}, said


def test_a_colour_is_omitted_only_where_it_is_usual_or_any_would_do() -> None:
    for scene, rng in SCENES:
        if len(scene.things) == 1:
            (thing,) = scene.things
            said = split(caption(scene, rng))
            if thing.colour not in said:
                assert thing.colour in USUAL_COLOURS.get(thing.figure, (thing.colour,))


def test_captions_are_worded_in_several_ways_of_one_to_three_clauses() -> None:
    said = [caption(scene, rng) for scene, rng in SCENES]
    for phrases in (*RELATION_PHRASES.values(), *PLACE_PHRASES.values()):
        for phrase in phrases:
            assert any(f" {phrase}" in each for each in said), phrase
    for phrase in (*REGION_PHRASES.values(), *NUMBERS[2:], " between ", " it", "a picture of", "a drawing of"):
        assert any(phrase in each for each in said), phrase
    assert min(map(len, map(split, said))) <= 3 and max(map(len, map(split, said))) >= 15


def test_a_scene_of_one_thing_is_said_as_a_person_would() -> None:
    scene = Scene(things=(Thing(figure="cat", colour="black"),), background="snow")
    said = {caption(scene, Random(seed)) for seed in range(60)}
    assert {"a cat", "a black cat", "a cat in the snow", "a black cat in the snow"} <= said


def test_the_vocabulary_is_exactly_what_is_used() -> None:
    used: set[str] = set()
    for scene, rng in SCENES:
        used.update(split(caption(scene, rng)))
        for one in questions(scene, rng, 8):
            used.update(split(f"{one.text} {one.answer}"))
    assert used == set(words())


def test_the_corpus_is_captions_and_answered_questions_in_turn() -> None:
    lines = list(corpus(Random(0), 4))
    assert len(lines) == 4
    assert all(set(split(line)) <= set(words()) for line in lines)
