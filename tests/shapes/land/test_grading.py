from __future__ import annotations

from random import Random

import pytest

from shapes.land.detector import PIXELS, Found
from shapes.land.grading import judge, lies, meets, right
from shapes.land.prompts import Prompt, Wanted
from shapes.land.questions import KINDS, SENTENCES, Question, candidates
from shapes.land.scenes import Look, any_scene, painted, related
from shapes.land.things import EXTENTS, OPPOSITES, RELATIONS, Relation, Scene, Thing


def found(figure: str, colour: str = "red", x: float = 0.5, y: float = 0.5, size: str = "medium") -> Found:
    return Found(figure=figure, colour=colour, x=x, y=y, extent=EXTENTS[size], score=1.0)  # type: ignore[index]


def prompt(category: str, *wanted: Wanted, relation: Relation | None = None) -> Prompt:
    return Prompt(category=category, text="", wanted=wanted, relation=relation)  # type: ignore[arg-type]


CAT, BLUE_CAR = Wanted(figure="cat"), Wanted(figure="car", colour="blue")


def test_a_single_object_may_have_others_beside_it() -> None:
    assert meets(prompt("single_object", CAT), [found("cat"), found("car")])
    assert not meets(prompt("single_object", CAT), [found("car")])


def test_colours_belong_to_their_things() -> None:
    wanted = prompt("colour_attribution", Wanted(figure="cat", colour="red"), BLUE_CAR)
    assert meets(wanted, [found("cat", "red"), found("car", "blue")])
    assert not meets(wanted, [found("cat", "blue"), found("car", "red")])


def test_another_size_does_not_do() -> None:
    large = prompt("single_object", Wanted(figure="cat", size="large"))
    assert meets(large, [found("cat", size="large")])
    assert not meets(large, [found("cat", size="small")])


@pytest.mark.parametrize("number", [2, 3, 4])
def test_counting_wants_exactly_that_many(number: int) -> None:
    assert meets(prompt("counting", Wanted(figure="cat", count=3)), [found("cat")] * number) is (number == 3)


def test_two_counted_wants_both_numbers() -> None:
    wanted = prompt("two_counted", Wanted(figure="cat", count=2), Wanted(figure="car", count=1))
    assert meets(wanted, [found("cat"), found("cat"), found("car")])
    assert not meets(wanted, [found("cat"), found("cat"), found("car"), found("car")])
    assert not meets(wanted, [found("cat"), found("car")])


@pytest.mark.parametrize("name", RELATIONS)
def test_relations_are_read_off_places(name: Relation) -> None:
    pair = (Look(figure="cat", colour="red"), Look(figure="house", colour="blue"))
    for seed in range(20):
        first, second = (
            found(thing.figure, thing.colour, thing.x, thing.y, thing.size)
            for thing in related(Random(seed), pair, name).things
        )
        assert lies(first, name, second)
        assert not lies(second, name, first) and not lies(first, OPPOSITES[name], second)


def test_what_floats_above_is_not_on() -> None:
    assert lies(found("cat", y=0.2), "above", found("house", y=0.75))
    assert not lies(found("cat", y=0.2), "on", found("house", y=0.75))


def test_pictures_of_the_right_scene_are_right_and_of_another_are_not() -> None:
    things = (Thing(figure="cat", colour="red", x=0.25), Thing(figure="car", colour="blue", x=0.75))
    right_one = Scene(things=things, background="meadow")
    wrong = Scene(things=(things[0],), background="meadow")
    wanted = prompt("colour_attribution", Wanted(figure="cat", colour="red"), BLUE_CAR)
    images = [painted(right_one, PIXELS), painted(wrong, PIXELS)]
    assert judge([wanted, wanted], images) == [True, False]


def test_true_answers_are_right_and_those_of_another_scene_are_not() -> None:
    for kind in KINDS:
        wrong = total = 0
        for seed in range(40):
            rng = Random(seed)
            scene, other = any_scene(rng), any_scene(rng)
            for question in candidates(scene, rng, kind)[:1]:
                assert right(question, scene, question.answer), question
                assert right(question, scene, f" {question.answer.capitalize()}. ")
                if kind in SENTENCES:
                    total += 1
                    wrong += not right(question, other, question.answer)
        assert kind not in SENTENCES or wrong > 0.8 * total


def test_a_number_may_be_written_in_digits() -> None:
    question = Question(kind="how many", text="how many cats are there?", answer="two")
    scene = any_scene(Random(0))
    assert right(question, scene, "2") and not right(question, scene, "3") and not right(question, scene, "")
