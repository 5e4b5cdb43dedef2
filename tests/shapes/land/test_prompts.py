from __future__ import annotations

from collections import Counter

import pytest

from shapes.land.prompts import CATEGORIES, Prompt, Wanted, grading_prompts, grading_questions
from shapes.land.questions import KINDS
from shapes.land.vocabulary import words

PROMPTS = grading_prompts(700, 1)


def test_they_are_the_same_each_time_and_others_with_another_seed() -> None:
    assert grading_prompts(700, 1) == PROMPTS
    assert grading_prompts(700, 2) != PROMPTS
    assert grading_questions(40, 1) == grading_questions(40, 1) != grading_questions(40, 2)


def test_categories_have_as_many() -> None:
    assert set(Counter(prompt.category for prompt in PROMPTS).values()) == {100}
    assert [prompt.category for prompt in grading_prompts(3, 1)] == list(CATEGORIES[:3])


def test_no_text_comes_twice_in_a_category_that_has_others() -> None:
    for category in CATEGORIES[1:]:
        texts = [prompt.text for prompt in PROMPTS if prompt.category == category]
        assert len(texts) == len(set(texts))


def test_they_are_in_the_words_of_the_land() -> None:
    known = set(words())
    assert {word for prompt in PROMPTS for word in prompt.text.replace(",", "").split()} <= known


def test_the_text_names_what_is_wanted() -> None:
    for prompt in PROMPTS:
        assert all(want.text in prompt.text for want in prompt.wanted)


def test_two_counted_are_of_two_figures_and_fit_a_scene() -> None:
    for prompt in PROMPTS:
        if prompt.category == "two_counted":
            first, second = prompt.wanted
            assert first.figure != second.figure and 3 <= first.count + second.count <= 6


def test_some_ask_for_what_training_never_shows() -> None:
    held = Counter(prompt.category for prompt in PROMPTS if prompt.held_out)
    assert all(held[category] for category in ("counting", "colours", "position", "colour_attribution", "two_counted"))
    assert held.total() < len(PROMPTS) / 3
    assert not Prompt(category="colours", text="", wanted=(Wanted(figure="sun", colour="yellow"),)).held_out


def test_kinds_of_question_take_turns() -> None:
    counts = Counter(question.kind for _, question in grading_questions(80, 1))
    assert set(counts) == set(KINDS) and max(counts.values()) <= 20


@pytest.mark.parametrize("make", [grading_prompts, grading_questions])
def test_a_negative_number_is_refused(make: object) -> None:
    with pytest.raises(ValueError, match="use 0 or more"):
        make(-1, 1)  # type: ignore[operator]
