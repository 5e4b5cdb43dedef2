from __future__ import annotations

from dataclasses import replace

import pytest

from shapes.land.figures import FIGURES
from shapes.land.things import OPPOSITES, RELATIONS, Scene, Size, Thing, between, box_of, on, region, relation


def thing(figure: str = "ball", x: float = 0.5, y: float = 0.5, *, colour: str = "red", size: Size = "small") -> Thing:
    return Thing(figure=figure, colour=colour, size=size, x=x, y=y)


def test_a_box_is_what_a_figure_fills() -> None:
    assert (box_of("square").left, box_of("square").bottom) == (-1, 1)
    assert box_of("car").top == pytest.approx(-0.5) and box_of("car").bottom == pytest.approx(0.67)
    for figure in FIGURES:
        box = box_of(figure)
        assert -1.001 <= box.left < box.right <= 1.001 and -1.001 <= box.top < box.bottom <= 1.001, figure


@pytest.mark.parametrize("values", [{"figure": "dragon"}, {"colour": "beige"}, {"x": 0.05}, {"y": 0.99}])
def test_what_is_unknown_or_leaves_the_picture_is_refused(values: dict[str, str | float]) -> None:
    with pytest.raises(ValueError, match=r"unknown figure|leaves the picture"):
        replace(thing(), **values)  # type: ignore[arg-type]


def test_a_scene_keeps_its_things_apart() -> None:
    with pytest.raises(ValueError, match="too close"):
        Scene(things=(thing(x=0.4), thing(x=0.5)))
    with pytest.raises(ValueError, match="1 to 6"):
        Scene(things=())
    with pytest.raises(ValueError, match="background"):
        Scene(things=(thing(),), background="space")


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (0.2, 0.5, "left of"),
        (0.8, 0.55, "right of"),
        (0.5, 0.2, "above"),
        (0.5, 0.8, "below"),
        (0.3, 0.3, None),
        (0.62, 0.5, None),
    ],
)
def test_a_relation_is_named_only_where_it_is_clear(x: float, y: float, expected: str | None) -> None:
    assert relation(thing(x=x, y=y), thing()) == expected


def test_what_stands_on_another_thing_is_on_it_and_not_merely_above() -> None:
    base = thing("square", y=0.7, size="medium")
    upper = thing("ball", y=base.box.top - 0.09)
    assert on(upper, base) and relation(upper, base) == "on" and relation(base, upper) == "under"
    assert Scene(things=(upper, base))
    assert relation(replace(upper, y=0.2), base) == "above"


def test_relations_have_opposites() -> None:
    assert all(OPPOSITES[OPPOSITES[name]] == name for name in RELATIONS)
    a, b = thing(x=0.2), thing(x=0.8)
    assert relation(a, b) == OPPOSITES["right of"] and relation(b, a) == "right of"


def test_between_is_beside_both() -> None:
    left, middle, right = (thing(x=x) for x in (0.15, 0.5, 0.85))
    assert between(middle, left, right) and between(middle, right, left)
    assert not between(left, middle, right)


@pytest.mark.parametrize(
    ("x", "y", "expected"), [(0.5, 0.5, "centre"), (0.2, 0.5, "left"), (0.5, 0.85, "bottom"), (0.75, 0.75, None)]
)
def test_a_region_is_named_only_where_it_is_clear(x: float, y: float, expected: str | None) -> None:
    assert region(thing(x=x, y=y)) == expected
