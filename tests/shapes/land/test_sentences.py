from __future__ import annotations

import pytest

from shapes.land.sentences import plain, says_what_is_there, says_where
from shapes.land.things import Scene, Thing

SCENE = Scene(
    things=(
        Thing(figure="fish", colour="blue", x=0.2),
        Thing(figure="fish", colour="blue", x=0.5, size="small"),
        Thing(figure="apple", colour="red", x=0.8),
    ),
    background="sea",
)


@pytest.mark.parametrize(
    "text",
    [
        "two blue fish and a red apple at sea",
        "A red apple and two blue fish on the sea.",
        "there are two small blue fish, and one red apple at sea",
        "a blue fish, a blue fish and the red apple at sea",
    ],
)
def test_other_words_for_the_same_scene_are_right(text: str) -> None:
    assert says_what_is_there(text, SCENE)


@pytest.mark.parametrize(
    "text",
    [
        "two blue fish at sea",
        "two blue fish and a red apple",
        "two blue fish and a red apple at night",
        "three blue fish and a red apple at sea",
        "two blue fish and a green apple at sea",
        "two blue fish and an apple at sea",
        "two blue fish and a red apple and a cat at sea",
        "two blue dogs and a red apple at sea",
        "",
    ],
)
def test_what_is_missing_wrong_or_too_much_is_not(text: str) -> None:
    assert not says_what_is_there(text, SCENE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the apple is on the right", True),
        ("the apple is right of the fish", True),
        ("The apple is to the right of the fish.", True),
        ("the apple is on the left", False),
        ("the apple is left of the fish", False),
        ("the fish is on the left", False),
        ("on the right", False),
    ],
)
def test_where_a_thing_is_may_be_said_by_a_place_or_a_relation(text: str, *, expected: bool) -> None:
    assert says_where(text, "apple", SCENE) == expected


def test_plain_drops_case_spaces_and_the_full_stop() -> None:
    assert plain("  Two  Fish. ") == "two fish"
