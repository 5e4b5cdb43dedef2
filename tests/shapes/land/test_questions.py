from __future__ import annotations

from collections import Counter
from random import Random

from shapes.land.questions import KINDS, SENTENCES, candidates, description, questions
from shapes.land.scenes import sample_scene
from shapes.land.sentences import says_what_is_there, says_where
from shapes.land.things import Scene, Thing

CAT = Thing(figure="cat", colour="black", x=0.25)
TREES = (Thing(figure="tree", colour="green", x=0.6), Thing(figure="tree", colour="green", x=0.86, size="small"))
SCENE = Scene(things=(CAT, *TREES), background="meadow")
ALL = [
    (scene, one)
    for seed in range(800)
    for scene in [sample_scene(Random(seed))]
    for one in questions(scene, Random(seed), 8)
]


def answers(kind: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for seed in range(40):
        found |= {one.text: one.answer for one in candidates(SCENE, Random(seed), kind)}  # type: ignore[arg-type]
    return found


def test_answers_follow_from_the_scene() -> None:
    assert answers("is there")["is there a cat?"] == "yes"
    assert answers("is there")["is there a white cat?"] == "no"
    assert answers("what colour")["what colour are the trees?"] == "green"
    assert answers("what")["what is black?"] == "cat"
    assert answers("how many")["how many trees are there?"] == "two"
    assert answers("how many")["how many things can you see?"] == "three"
    assert answers("background")["what is the background?"] == "meadow"
    assert answers("where") == {"where is the cat?": "the cat is on the left"}
    assert set(answers("describe").values()) == {"a black cat and two green trees in a meadow"}


def test_a_thing_that_is_not_the_only_one_of_its_figure_is_not_asked_about_alone() -> None:
    asked = [text for kind in ("where", "related", "what colour") for text in answers(kind)]
    assert not any("the tree?" in text or "the tree " in text for text in asked)


def test_every_kind_is_asked_and_yes_is_as_frequent_as_no() -> None:
    kinds = Counter(one.kind for _, one in ALL)
    assert set(kinds) == set(KINDS) and min(kinds.values()) > 0.3 * max(kinds.values())
    for kind in ("is there", "related", "background"):
        found = Counter(one.answer for _, one in ALL if one.kind == kind)
        assert 0.4 < found["yes"] / (found["yes"] + found["no"]) < 0.6, kind


def test_numbers_are_not_nearly_all_one() -> None:
    found = Counter(one.answer for _, one in ALL if one.kind == "how many")
    assert set(found) == {"zero", "one", "two", "three", "four", "five", "six"}
    assert max(found.values()) < 0.5 * sum(found.values())


def test_one_word_answers_are_one_word_and_sentences_are_true() -> None:
    for scene, one in ALL:
        if one.kind not in SENTENCES:
            assert " " not in one.answer
        elif one.kind == "describe":
            assert one.answer == description(scene) and says_what_is_there(one.answer, scene)
        else:
            assert says_where(one.answer, one.text.removeprefix("where is the ").removesuffix("?"), scene)
