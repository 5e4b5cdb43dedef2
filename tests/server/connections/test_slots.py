"""Who gets a place, and who gives one up."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from server.connections.slots import PlaceLimits, Places, client_group


@dataclass(eq=False)
class One:
    client_group: str | None
    opened_at: float = 0.0
    idle_since: float = 0.0
    busy: bool = False
    receiving: bool = False
    evicted: bool = False

    def evict(self) -> None:
        self.evicted = True


def test_the_longest_idle_gives_way_and_no_request_does() -> None:
    places = Places(PlaceLimits(total=3))
    working = One("a", idle_since=0, busy=True)
    idle = [One("a", idle_since=2), One("b", idle_since=1)]
    assert all(places.enter(one) for one in (working, *idle))
    assert places.enter(One("c", busy=True))
    assert [one.evicted for one in (working, *idle)] == [False, False, True]
    assert places.enter(One("c", busy=True))
    assert idle[0].evicted
    assert not places.enter(One("c"))


def test_the_greediest_loses_what_is_still_arriving() -> None:
    places = Places(PlaceLimits(total=5))
    greedy = [One("a", busy=True, receiving=index > 0) for index in range(3)]
    modest = [One("b", busy=True, receiving=True) for _ in range(2)]
    assert all(places.enter(one) for one in (*modest, *greedy))
    assert places.enter(One("c", busy=True))
    assert [one.evicted for one in (*greedy, *modest)] == [False, True, False, False, False]
    assert not places.enter(One("a")), "not for one who has as many"


def test_a_client_at_its_bound_uses_its_own() -> None:
    places = Places(PlaceLimits(total=10, per_client=2))
    own, other = One("a", idle_since=5), One("b", idle_since=0)
    assert all(places.enter(one) for one in (other, own, One("a", busy=True)))
    assert places.enter(One("a", busy=True))
    assert own.evicted
    assert not other.evicted
    assert not places.enter(One("a"))
    assert all(places.enter(One(None)) for _ in range(5)), "a Unix socket has no address"
    assert places.enter(One("b"))


def test_places_come_back() -> None:
    places = Places(PlaceLimits(total=1, per_client=1))
    for _ in range(5):
        one = One("a", busy=True)
        assert places.enter(one)
        assert not places.enter(One("a"))
        places.leave(one)
        places.leave(one)


def test_half_of_the_reserve_is_out_of_one_clients_reach() -> None:
    places = Places(PlaceLimits(total=1))
    first = [One("a", opened_at=1.0) for _ in range(40)]
    assert [places.reserve(one) for one in first].count(True) == 32
    assert [places.reserve(One("b", opened_at=1.0)) for _ in range(40)].count(True) == 32
    assert not places.reserve(One("c", opened_at=1.05))
    assert places.reserve(One("c", opened_at=1.2)), "in place of one that said nothing for long enough"
    assert first[0].evicted


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002"),
        ("2001:db8:1:2::9", "2001:0db8:0001:0002"),
        ("fe80::1%eth0", "fe80:0000:0000:0000"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("", None),
        (None, None),
    ],
)
def test_whose_connection_it_is(address: str | None, group: str | None) -> None:
    assert client_group(address) == group
