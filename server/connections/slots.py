"""Places for connections: how many may be open, how many of one client, and some more that only ask how the server is.
It knows addresses and who waits, no sockets."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

_RESERVED = 64  # places of those who have not asked for anything yet, beyond the others; half of them for one client
_SETTLED_S = 0.1  # what holds a reserved place for longer has had its chance


class Connection(Protocol):
    """What is asked of a connection; times are the loop's."""

    @property
    def client_group(self) -> str | None: ...
    @property
    def busy(self) -> bool: ...
    @property
    def receiving(self) -> bool: ...

    opened_at: float
    idle_since: float

    def evict(self) -> None:
        """Closes it at once, to make room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceLimits:
    """Bounds on open connections.

    Attributes:
        total: of all clients.
        per_client: of one address, or one IPv6 network of 64 bits; None for no bound of its own.
    """

    total: int = 512
    per_client: int | None = None


class Places:
    """Gives each new connection its place, and takes places back from those who can spare them.

    A place is freed by dropping the connection that has waited longest without a request: of the same client where it
    is at its own bound, of any where the server is full. If no connection waits in a full server, the client with most
    connections loses the oldest whose request is still arriving, to one that has fewer. A request that has arrived is
    never dropped.
    """

    def __init__(self, limits: PlaceLimits) -> None:
        self._limits = limits
        self._all: dict[Connection, None] = {}  # in the order they came
        self._reserved: dict[Connection, None] = {}
        self._of: Counter[str] = Counter()

    def enter(self, new: Connection) -> bool:
        """Whether there is a place for a connection that was just opened."""
        group = new.client_group
        bound = self._limits.per_client
        if group is not None and bound is not None and self._of[group] >= bound:
            if not self._drop_idle(one for one in self._all if one.client_group == group):
                return False
        elif len(self._all) >= self._limits.total and not (self._drop_idle(self._all) or self._drop_arriving(group)):
            return False
        self._all[new] = None
        if group is not None:
            self._of[group] += 1
        return True

    def reserve(self, new: Connection) -> bool:
        """Whether there is a place to wait, for a connection that got none: that of the one that has waited longest."""
        own = [one for one in self._reserved if one.client_group == new.client_group]
        for held, maximum in ((own, _RESERVED // 2), (list(self._reserved), _RESERVED)):
            if len(held) >= maximum and (new.opened_at - held[0].opened_at < _SETTLED_S or not self._drop(held[0])):
                return False
        self._reserved[new] = None
        return True

    def leave(self, gone: Connection) -> None:
        """Frees the place, if it still has one."""
        self._reserved.pop(gone, None)
        if gone in self._all:
            del self._all[gone]
            group = gone.client_group
            if group is not None:
                self._of[group] -= 1
                if self._of[group] == 0:
                    del self._of[group]

    def _drop_idle(self, among: Iterable[Connection]) -> bool:
        idle = min((one for one in among if not one.busy), key=lambda one: one.idle_since, default=None)
        return self._drop(idle)

    def _drop_arriving(self, group: str | None) -> bool:
        arriving = (
            one for one in self._all if one.receiving and self._of[one.client_group or ""] > self._of[group or ""]
        )
        return self._drop(max(arriving, key=lambda one: self._of[one.client_group or ""], default=None))

    def _drop(self, one: Connection | None) -> bool:
        if one is None:
            return False
        self.leave(one)
        one.evict()
        return True


def client_group(address: str | None) -> str | None:
    """Whose connection it is: an IPv4 address, or the 64 bits of an IPv6 network; None where there is no address, as
    for Unix sockets."""
    try:
        ip = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    mapped = ip.ipv4_mapped
    return str(mapped) if mapped is not None else ip.exploded[:19]
