"""The engine's Python API as a page, in which mkdocstrings puts signatures and docstrings."""

from __future__ import annotations

from collections.abc import Sequence

import flashu_core

_HEAD = """# Python API

Made by `python -m docs.reference`: every public name of `flashu_core`, with its docstring. Other modules of the package
are its own and change without notice.
"""
_GROUPS = {
    "The engine": ("Engine", "EngineConfig", "ModelInfo"),
    "Requests and results": ("GenerateRequest", "GenerateResult", "UnderstandRequest", "UnderstandResult"),
    "Events": ("Begun", "Progress", "Preview", "Text", "UnitEnded", "Finished", "Failed"),
    "Pictures": ("decode_picture", "picture_formats", "PictureLimits", "cover"),
}


def text() -> str:
    """The page: the groups above, then errors, then the rest, each in alphabetical order."""
    grouped = {name for names in _GROUPS.values() for name in names}
    errors = sorted(name for name in flashu_core.__all__ if name.endswith("Error"))
    rest = sorted(set(flashu_core.__all__) - grouped - set(errors))
    sections = {**_GROUPS, "Errors": errors, "Other types": rest}
    return _HEAD + "".join(_section(title, names) for title, names in sections.items())


def _section(title: str, names: Sequence[str]) -> str:
    return f"\n## {title}\n" + "".join(f"\n::: flashu_core.{name}\n" for name in names)
