"""Work that keys may use: reserved, given back, charged, and when there is room again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashu_core import InvalidRequestError
from server.errors import RateLimitedError
from server.middleware.work_limits import WorkLimits


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_work_is_reserved_charged_and_given_back() -> None:
    limits = WorkLimits("100/hour", clock=Clock())
    first = limits.reserve("a", 60, "generate")
    with pytest.raises(
        RateLimitedError, match="40 are left and the request may take 60: lower num_inference_steps or n"
    ):
        limits.reserve("a", 60, "generate")
    first.add(10)
    first.settle()
    first.settle()  # again does nothing
    limits.reserve("a", 90, "vqa")
    with pytest.raises(RateLimitedError, match="lower max_new_tokens"):
        limits.reserve("a", 1, "vqa")
    with pytest.raises(RateLimitedError):
        limits.check("a")
    limits.check("b")
    limits.reserve("b", 100, "vqa")


def test_what_never_fits_says_so() -> None:
    limits = WorkLimits("1000/day; 100/hour")
    with pytest.raises(
        InvalidRequestError, match=r"may take 101 .* may use 100 in 3600 s: lower max_new_tokens"
    ) as caught:
        limits.reserve("a", 101, "vqa")
    assert caught.value.parameter == "max_new_tokens"


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 90.0, allow_subnormal=False), st.integers(1, 100), st.floats(0.0, 1.0, allow_subnormal=False)
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 100),
)
def test_after_retry_after_the_work_is_accepted(past: list[tuple[float, int, float]], work: int) -> None:
    clock = Clock()
    limits = WorkLimits("100/minute; 400/hour", clock=clock)
    for gap, wanted, share in past:
        clock.now += gap
        try:
            one = limits.reserve("a", wanted, "vqa")
        except RateLimitedError:
            continue
        one.add(round(share * wanted))
        one.settle()
    waited = 0
    for _ in range(3):  # each limit tells its own time
        try:
            limits.reserve("a", work, "vqa").settle()
            break
        except RateLimitedError as error:
            waited += error.retry_after
            clock.now += error.retry_after
    else:
        pytest.fail(f"there is no room after {waited} s")


def test_names_cost_bounded_memory() -> None:
    limits = WorkLimits("100/hour")
    for index in range(1000):
        limits.check(f"key:{index}")
    assert limits.size == 0
