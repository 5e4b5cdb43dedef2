from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from shapes.land.figures import FIGURES, Ellipse, Polygon
from shapes.land.painting import BACKGROUNDS, COLOURS, Placed, paint, shade


def alone(figure: str, colour: str = "red", *, pixels: int = 64, extent: float = 0.4) -> NDArray[np.uint8]:
    return paint([Placed(figure=figure, colour=colour, x=0.5, y=0.5, extent=extent)], pixels=pixels)


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def test_there_are_sixteen_things_that_a_person_would_name_beside_the_plain_forms() -> None:
    assert len(set(FIGURES) - {"circle", "square", "triangle", "star", "heart"}) >= 16
    assert (len(COLOURS), len(BACKGROUNDS)) == (10, 6)


def test_no_two_figures_look_alike() -> None:
    pictures = {figure: alone(figure) for figure in FIGURES}
    for one, other in combinations(FIGURES, 2):
        assert difference(pictures[one], pictures[other]) > 3.0, (one, other)


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_shows_its_colour_and_fills_its_extent(figure: str) -> None:
    empty = paint([], pixels=64)
    reach = np.argwhere((alone(figure, "purple") != empty).any(axis=2))
    low, high = 0.1 * 64 - 2, 0.9 * 64 + 2  # with the outline
    assert reach.min() >= low and reach.max() <= high
    assert (reach.max(axis=0) - reach.min(axis=0)).max() > 0.7 * 0.8 * 64
    painted = alone(figure, "purple").reshape(-1, 3)
    own = [shade(COLOURS["purple"], kind) for kind in ("own", "dark", "light")]
    shown = sum((painted == rgb).all(axis=1).sum() for rgb in own)
    assert shown > 0.25 * len(reach)


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_the_same_at_any_size(figure: str) -> None:
    large, small = alone(figure, pixels=128), alone(figure, pixels=64)
    halved = large.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert difference(small, halved) < 1.5


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_a_background_covers_the_picture_and_differs_from_the_others(background: str) -> None:
    picture = paint([], background=background, pixels=32)
    assert picture.shape == (32, 32, 3) and picture.dtype == np.uint8
    assert picture.min() > 0  # an unpainted canvas is black
    for other in set(BACKGROUNDS) - {background}:
        assert difference(picture, paint([], background=other, pixels=32)) > 5.0


def test_edges_are_smooth_and_pictures_repeat() -> None:
    picture = alone("circle")
    assert np.array_equal(picture, alone("circle"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 6


def test_later_things_cover_earlier_ones() -> None:
    first = Placed(figure="square", colour="red", x=0.5, y=0.5, extent=0.3)
    second = Placed(figure="square", colour="blue", x=0.5, y=0.5, extent=0.2)
    assert tuple(paint([first, second])[64, 64]) == COLOURS["blue"]
    assert tuple(paint([second, first])[64, 64]) == COLOURS["red"]


def test_parts_stay_in_their_square() -> None:
    for figure, parts in FIGURES.items():
        for part in parts:
            if isinstance(part, Ellipse):
                reach = max(abs(part.x) + part.width, abs(part.y) + part.height)
            else:
                assert isinstance(part, Polygon)
                reach = max(abs(value) for point in part.points for value in point)
            assert reach <= 1.0 + 1e-9, figure


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"figure": "dragon"}, "there is no figure 'dragon'"),
        ({"colour": "beige"}, "there is no colour 'beige'"),
        ({"x": 1.2}, "is not in the picture"),
        ({"extent": float("nan")}, "is not in the picture"),
    ],
)
def test_what_is_not_in_the_land_is_refused(changes: dict[str, object], said: str) -> None:
    fields = {"figure": "cat", "colour": "red", "x": 0.5, "y": 0.5, "extent": 0.3, **changes}
    with pytest.raises(ValueError, match=said):
        Placed(**fields)  # type: ignore[arg-type]


def test_a_background_that_is_not_there_and_a_picture_that_is_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no background 'moonlight'"):
        paint([], background="moonlight")
    with pytest.raises(ValueError, match="at least 16 pixels"):
        paint([], pixels=15)
