"""Acceleration policies by name: for each, the ordered techniques. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from flashu_core.errors import InvalidRequestError
from flashu_core.plan import Policy

POLICIES: Mapping[str, Policy] = MappingProxyType({"exact": ()})


def find_policy(name: str) -> Policy:
    """The policy of that name.

    Raises:
        InvalidRequestError: there is none.
    """
    try:
        return POLICIES[name]
    except KeyError:
        raise InvalidRequestError(
            f"there is no acceleration policy {name!r}; use one of: {', '.join(POLICIES)}", parameter="acceleration"
        ) from None
