from __future__ import annotations

import pytest

from flashu_core.errors import InvalidRequestError
from flashu_core.plan import make_schedule
from flashu_core.policies import POLICIES, find_policy


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_makes_hashable_schedules(name: str) -> None:
    schedule = make_schedule(find_policy(name), points=35, guidance=5.0)
    assert len(schedule) == 34
    assert hash(schedule) == hash(make_schedule(find_policy(name), points=35, guidance=5.0))


def test_unknown_policies_are_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidRequestError, match=r"'warp'.*exact") as caught:
        find_policy("warp")
    assert caught.value.parameter == "acceleration"
