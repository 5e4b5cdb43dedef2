"""Finding the coloured things in any picture, a model's blurry output included.

It knows the palette and the forms and nothing of prompts or models.  It looks at hue and saturation only,
relative to the background, so brightness and mild blur or noise do not matter to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray

from shapes.things import COLOUR_RGB, COLOURS, EXTENTS, FORMS, Colour, Form, Size

SMALLEST_SIDE = 16
# Hues of the palette are at least 48 degrees apart, so nothing within 22 degrees of one is near another.
_MAX_TURN = 0.93  # cosine
_LEAST_COVER = 0.5
# A small triangle covers 0.024 of a picture; a speck is less than half of that.
_SPECK = 0.01
_LEAST_FIT = 0.8
_MAX_STRETCH = 1.4
# Blur eats a triangle's sharp corners, so templates that reach beyond what is left are tried as well, by
# these shares of the height and of the width.
_APEX_LOSSES = (0.0, 0.1, 0.2)
_BASE_LOSSES = (0.0, 0.08, 0.16)
_SIZE_BORDER = (EXTENTS["small"] + EXTENTS["large"]) / 2.0
# Two axes that span the plane of colours without brightness.
_CHROMA = np.array([[2.0, -1.0, -1.0], [0.0, sqrt(3.0), -sqrt(3.0)]], dtype=np.float32).T / sqrt(6.0)
_PALETTE = np.array([COLOUR_RGB[colour] for colour in COLOURS], dtype=np.float32) @ _CHROMA


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One patch of colour; `form` is None where it looks like none of the forms.

    `x` and `y` are the centre of the bounding box and `extent` the half-width that a form of this area has,
    all in units of the picture's sides; `area` is a share of the picture; `confidence` is the overlap with
    the best form's outline, 0..1.
    """

    form: Form | None
    colour: Colour
    size: Size
    x: float
    y: float
    extent: float
    area: float
    confidence: float


def find_objects(image: NDArray[np.uint8]) -> list[Found]:
    """Every patch of a palette colour in an image, largest first, formless blobs included.

    `image` is uint8 of (height, width, 3), RGB, each side at least 16; raises ValueError otherwise.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image is uint8 of (height, width, 3), not {image.dtype} of {image.shape}")
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(f"an image needs at least {SMALLEST_SIDE} pixels a side, not {width} x {height}")
    labels = _colour_labels(image)
    found = []
    for label, rows, columns in components(labels):
        if len(rows) >= _SPECK * height * width:
            found.append(_classified(label, rows, columns, height, width))
    return sorted(found, key=lambda each: -each.area)


def _colour_labels(image: NDArray[np.uint8]) -> NDArray[np.int8]:
    """(height, width): 1 + the palette's index where a pixel is more coloured than background, else 0."""
    chroma = image.astype(np.float32) @ _CHROMA
    edge = max(1, min(image.shape[:2]) // 32)
    border = np.concatenate(
        [strip.reshape(-1, 2) for strip in (chroma[:edge], chroma[-edge:], chroma[:, :edge], chroma[:, -edge:])]
    )
    # An edge pixel is a blend of thing and background, and without brightness the blend is just a paler
    # version of the thing's own hue: half its saturation marks the outline, whatever the background.
    chroma -= np.median(border, axis=0)
    strength = np.linalg.norm(_PALETTE, axis=1)
    along = chroma @ (_PALETTE / strength[:, None]).T
    best = np.argmax(along, axis=2)
    reach = np.take_along_axis(along, best[:, :, None], axis=2)[:, :, 0]
    coloured = (reach >= _LEAST_COVER * strength[best]) & (reach >= _MAX_TURN * np.hypot(*chroma.T).T)
    return np.where(coloured, best + 1, 0).astype(np.int8)


def components(labels: NDArray[np.int8]) -> list[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
    """The 4-connected patches of equal non-zero labels: (label, rows, columns) of each one's pixels.

    Works on runs, not pixels: each row is cut into runs of one label and touching runs are united.
    """
    width = labels.shape[1]
    # A column of zeros on the right keeps runs from continuing in the next row.
    flat = np.pad(labels, ((0, 0), (0, 1))).ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=0) != 0)
    ends = np.append(starts[1:], flat.size)
    kept = flat[starts] != 0
    starts, ends = starts[kept], ends[kept]
    values = flat[starts].tolist()
    firsts, lasts = starts.tolist(), (ends - 1).tolist()
    parents = list(range(len(firsts)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    above = 0
    for run, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
        # A row up is a row's length less in the flattened labels.
        upper_first, upper_last = first - (width + 1), last - (width + 1)
        while above < run and lasts[above] < upper_first:
            above += 1
        candidate = above
        while candidate < run and firsts[candidate] <= upper_last:
            if values[candidate] == values[run]:
                parents[root(run)] = root(candidate)
            candidate += 1
    groups: dict[int, list[int]] = {}
    for run in range(len(firsts)):
        groups.setdefault(root(run), []).append(run)
    patches = []
    for members in groups.values():
        pixels = np.concatenate([np.arange(firsts[run], lasts[run] + 1) for run in members])
        patches.append((int(values[members[0]]), pixels // (width + 1), pixels % (width + 1)))
    return patches


def _classified(label: int, rows: NDArray[np.intp], columns: NDArray[np.intp], height: int, width: int) -> Found:
    """The patch with the form that fits it best, if any fits well."""
    top, left = int(rows.min()), int(columns.min())
    tall, wide = int(rows.max()) + 1 - top, int(columns.max()) + 1 - left
    patch = np.zeros((tall, wide), dtype=np.bool_)
    patch[rows - top, columns - left] = True
    fits = {form: _fit(patch, form) for form in FORMS}
    best = max(FORMS, key=lambda form: fits[form])
    accepted = fits[best] >= _LEAST_FIT and max(tall, wide) <= _MAX_STRETCH * min(tall, wide)
    area = len(rows) / (height * width)
    # Half-widths from areas: pi e^2 for the circle, 4 e^2 for the square and 2 e^2 for the triangle.
    extent = sqrt(area / {"circle": pi, "square": 4.0, "triangle": 2.0}[best])
    return Found(
        form=best if accepted else None,
        colour=COLOURS[label - 1],
        size="large" if extent >= _SIZE_BORDER else "small",
        x=(left + wide / 2.0) / width,
        y=(top + tall / 2.0) / height,
        extent=extent,
        area=area,
        confidence=fits[best],
    )


def _fit(patch: NDArray[np.bool_], form: Form) -> float:
    """Overlap (intersection over union) of a patch with a form that fills the patch's bounding box."""
    tall, wide = patch.shape
    if form == "square":
        return float(patch.mean())
    across = np.abs((np.arange(wide) + 0.5) / (wide / 2.0) - 1.0)[None, :]
    depth = ((np.arange(tall) + 0.5) / tall)[:, None]
    if form == "circle":
        return _overlap(patch, across**2 + (2.0 * depth - 1.0) ** 2 <= 1.0)
    # The side is at a share of the half-width equal to the depth below the apex.
    return max(
        _overlap(patch, across / (1.0 + loss_across) <= (depth + loss) / (1.0 + loss))
        for loss in _APEX_LOSSES
        for loss_across in _BASE_LOSSES
    )


def _overlap(patch: NDArray[np.bool_], template: NDArray[np.bool_]) -> float:
    return float((patch & template).sum() / (patch | template).sum())
