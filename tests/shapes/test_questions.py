"""Questions: their answers against a brute-force reader of the question's text, and their balance."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest

from shapes.questions import QUESTION_KINDS, Question, exact_match, places, questions
from shapes.scene import Scene, Thing, sample_scene

WORDS = ["zero", "one", "two", "three", "four"]
SUBJECT = r"((?:(?:small|large|red|green|blue|yellow|purple|cyan) )*(?:circle|square|triangle|object)s?)"
TAIL = r"(?: in the picture)?\?"


def meant(subject: str, scene: Scene) -> list[Thing]:
    wanted = [word for word in subject.removesuffix("s").split() if word != "object"]
    return [t for t in scene.things if all(word in (t.form, t.colour, t.size) for word in wanted)]


def ahead(first: Thing, word: str, second: Thing) -> float:
    across, down = first.x - second.x, first.y - second.y
    return {"left": -across, "right": across, "above": -down, "below": down}[word]


def one(subject: str, scene: Scene) -> Thing:
    (thing,) = meant(subject, scene)
    return thing


def brute_force(text: str, scene: Scene) -> str:
    """The answer read off the question's words alone; fails where the question is ambiguous."""
    if text in (f"{which} colour is the background?" for which in ("what", "which")):
        return scene.background
    if match := re.fullmatch(rf"(?:is there|can you see) a {SUBJECT}{TAIL}", text):
        return "yes" if meant(match[1], scene) else "no"
    if match := re.fullmatch(rf"how many {SUBJECT} (?:are there|are in the picture|can you see)\?", text):
        return WORDS[len(meant(match[1], scene))]
    if match := re.fullmatch(rf"(?:what|which) (colour|shape) (is|are) the {SUBJECT}\?", text):
        things = meant(match[3], scene)
        assert (match[2] == "is") == (len(things) == 1)
        (found,) = {t.colour if match[1] == "colour" else t.form for t in things}
        return found
    if match := re.fullmatch(rf"is the {SUBJECT} (?:to the )?(left|right|above|below)(?: of)? the {SUBJECT}\?", text):
        return "yes" if ahead(one(match[1], scene), match[2], one(match[3], scene)) > 0.2 else "no"
    if match := re.fullmatch(rf"where is the {SUBJECT}, (left or right of|above or below) the {SUBJECT}\?", text):
        first, second = one(match[1], scene), one(match[3], scene)
        options = ["left", "right"] if "left" in match[2] else ["above", "below"]
        (answer,) = [word for word in options if ahead(first, word, second) >= 0.22]
        return answer
    match = re.fullmatch(rf"where is the {SUBJECT}{TAIL}", text)
    assert match, text
    thing = one(match[1], scene)
    offsets = {"left": 0.5 - thing.x, "right": thing.x - 0.5, "top": 0.5 - thing.y, "bottom": thing.y - 0.5}
    best = max(offsets, key=lambda side: offsets[side])
    return "centre" if offsets[best] < 0.1 else best


@pytest.fixture(scope="module")
def asked() -> list[tuple[Scene, Question]]:
    rng = Random(0)
    scenes = [sample_scene(rng) for _ in range(2500)]
    return [(scene, question) for scene in scenes for question in questions(scene, rng, 8)]


def test_answers_agree_with_brute_force(asked: list[tuple[Scene, Question]]) -> None:
    for scene, question in asked:
        assert question.answer == brute_force(question.text, scene), (question, scene)


def test_questions_on_a_scene_are_distinct_and_no_more_than_asked_for() -> None:
    rng = Random(1)
    for _ in range(500):
        found = questions(sample_scene(rng), rng, 6)
        assert len(found) == len({question.text for question in found}) == 6
    assert questions(sample_scene(rng), rng, 0) == []


def test_every_kind_is_asked(asked: list[tuple[Scene, Question]]) -> None:
    counts = Counter(question.kind for _, question in asked)
    assert set(counts) == set(QUESTION_KINDS) and min(counts.values()) > 0.08 * len(asked)
    assert any(question.text == "how many squares are there?" for _, question in asked)


def test_yes_and_no_are_balanced_and_no_is_often_a_near_miss(asked: list[tuple[Scene, Question]]) -> None:
    answers = [(scene, q) for scene, q in asked if q.kind == "is there"]
    share = sum(q.answer == "yes" for _, q in answers) / len(answers)
    assert 0.47 < share < 0.53
    near = [
        q
        for scene, q in answers
        if q.answer == "no"
        and any(t.form in q.text for t in scene.things)
        and any(t.colour in q.text for t in scene.things)
    ]
    assert len(near) > 0.1 * len(answers)


def test_no_answer_dominates_its_kind(asked: list[tuple[Scene, Question]]) -> None:
    for kind in QUESTION_KINDS:
        answers = Counter(q.answer for _, q in asked if q.kind == kind)
        assert max(answers.values()) < 0.55 * sum(answers.values()), (kind, answers)


@pytest.mark.parametrize(
    ("answer", "expected", "same"),
    [
        ("Red", "red", True),
        (" red. ", "red", True),
        ("3", "three", True),
        ("three", "3.", True),
        ("5", "five", False),
        ("red circle", "red", False),
        ("", "red", False),
        ("3", "four", False),
    ],
)
def test_exact_match(answer: str, expected: str, same: bool) -> None:
    assert exact_match(answer, expected) is same


def test_question_refuses_emptiness() -> None:
    with pytest.raises(ValueError):
        Question(kind="where", text="", answer="left")


def test_places_name_things_that_can_be_distinguished() -> None:
    rng = Random(6)
    found = [(scene, question) for scene in (sample_scene(rng) for _ in range(500)) for question in places(scene, rng)]
    assert any(len(scene.things) > 2 for scene, _ in found)
    for scene, question in found:
        assert question.answer == brute_force(question.text, scene), (question, scene)
