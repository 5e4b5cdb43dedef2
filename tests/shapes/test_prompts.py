"""Grading prompts and questions: balance, determinism, agreement with the captions' wording."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from shapes.captions import caption
from shapes.prompts import CATEGORIES, Prompt, Wanted, grading_prompts, grading_questions
from shapes.questions import QUESTION_KINDS
from shapes.scene import HELD_OUT, is_held_out, pair_scene, sample_scene
from shapes.seeds import grading_rng
from shapes.usual import USUAL_COLOURS, arranged, usual_size
from shapes.vocabulary import split, words


def test_prompts_are_balanced_and_repeat_with_the_seed() -> None:
    prompts = grading_prompts(100, 3)
    assert prompts == grading_prompts(100, 3) != grading_prompts(100, 4)
    counts = Counter(prompt.category for prompt in prompts)
    assert sorted(counts.values()) == [16, 16, 17, 17, 17, 17] and set(counts) == set(CATEGORIES)
    assert grading_prompts(0, 3) == ()
    with pytest.raises(ValueError):
        grading_prompts(-1, 3)


def test_no_prompt_repeats_where_its_category_has_others() -> None:
    for prompts in (grading_prompts(60, 0), grading_prompts(192, 1)):
        for category in ("colours", "counting", "position", "colour_attribution"):
            texts = [prompt.text for prompt in prompts if prompt.category == category]
            assert len(texts) == len(set(texts)), category
    singles = Counter(p.text for p in grading_prompts(240, 1) if p.category == "single_object")
    assert len(singles) == 9 and max(singles.values()) - min(singles.values()) <= 2


def test_text_says_what_is_wanted() -> None:
    for prompt in grading_prompts(300, 5):
        joint = f" {prompt.relation} " if prompt.relation else " and "
        wish = joint.join(want.text for want in prompt.wanted)
        alike = {wish, f"a picture of {wish}", wish.replace("a ", "one ", 1)}
        assert prompt.text in alike
        assert set(split(prompt.text)) <= set(words())


def test_captions_produce_every_form_of_prompt() -> None:
    rng = Random(6)
    for prompt in grading_prompts(120, 6):
        wanted = prompt.wanted
        for _ in range(4000):  # far more than any wording needs to come up
            count = sum(want.count for want in wanted)
            looks = [
                ((want.colour or USUAL_COLOURS[want.form], want.form), want.size or usual_size(count))
                for want in wanted
                for _ in range(want.count)
            ]
            if prompt.relation:
                kinds = (looks[0][0], looks[1][0])
                sizes = (looks[0][1], looks[1][1])
                scene = pair_scene(rng, kinds=kinds, sizes=sizes, related=prompt.relation)
            else:
                scene = arranged(rng, looks)
            if caption(scene, rng) == prompt.text:
                break
        else:
            pytest.fail(f"never a caption: {prompt.text}")


def test_pairings_held_out_of_training_have_a_fair_share() -> None:
    for category in ("position", "colour_attribution"):
        prompts = [p for p in grading_prompts(600, 7) if p.category == category]
        assert 0.1 < sum(prompt.held_out for prompt in prompts) / len(prompts) < 0.5
    kinds = {(w.colour, w.form) for p in grading_prompts(600, 7) if p.held_out for w in p.wanted}
    assert kinds >= HELD_OUT
    assert not any(p.held_out for p in grading_prompts(600, 7) if len(p.wanted) == 1)


def test_prompts_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError):
        Wanted(form="circle", count=5)
    with pytest.raises(ValueError):
        Wanted(form="star")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        Prompt(category="position", text="x", wanted=(Wanted(form="circle"),), relation="above")
    with pytest.raises(ValueError):
        Prompt(category="colours", text="x", wanted=())


def test_grading_questions_are_balanced_repeatable_and_on_unseen_scenes() -> None:
    asked = grading_questions(500, 8)
    assert asked == grading_questions(500, 8) != grading_questions(500, 9)
    assert set(Counter(q.kind for _, q in asked).values()) == {100}
    assert {q.kind for _, q in asked} == set(QUESTION_KINDS)
    assert any(is_held_out(scene) for scene, _ in asked)
    assert not any(is_held_out(scene) for scene, _ in grading_questions(300, 8, held_out=HELD_OUT))
    yes = sum(q.answer == "yes" for _, q in asked if q.kind == "is there")
    assert 35 < yes < 65
    assert asked[0][0] != sample_scene(grading_rng(8))
    with pytest.raises(ValueError):
        grading_questions(-1, 8)
