"""Warnings as a list and as a header."""

from __future__ import annotations

from server.api.schemas.warnings import HEADER, Warnings
from server.limits import MAX_WARNING_NAME_CHARACTERS, MAX_WARNINGS


def test_nothing_to_warn_of() -> None:
    warnings = Warnings()
    assert not warnings
    assert (warnings.as_json(), warnings.headers()) == ([], {})


def test_each_parameter_once_in_order() -> None:
    warnings = Warnings()
    for param, message in [("b", "one"), ("a", "two"), ("b", "three")]:
        warnings.add(param, message)
    assert warnings.as_json() == [{"param": "b", "message": "one"}, {"param": "a", "message": "two"}]
    assert warnings.headers() == {HEADER: "b, a"}


def test_words_are_replaced_in_their_place() -> None:
    warnings = Warnings()
    warnings.add("b", "one")
    for param, message in [("a", "two"), ("b", "three")]:
        warnings.replace(param, message)
    assert warnings.as_json() == [{"param": "b", "message": "three"}, {"param": "a", "message": "two"}]


def test_names_are_cleaned_and_bounded() -> None:
    warnings = Warnings()
    warnings.add("a,\r\nb\0é" + "x" * 1000, "m")
    (entry,) = warnings.as_json()
    assert entry["param"] == "a???b??" + "x" * (MAX_WARNING_NAME_CHARACTERS - 7)
    for index in range(100):
        warnings.add(f"field_{index}", "m")
    assert len(warnings.as_json()) == MAX_WARNINGS + 1
    assert warnings.as_json()[-1] == {"param": None, "message": f"{101 - MAX_WARNINGS} more fields were ignored"}
    assert len(warnings.headers()[HEADER].split(", ")) == MAX_WARNINGS
