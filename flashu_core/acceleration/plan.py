"""The seam between techniques and the model: plans in, traces out.

A schedule is a sequence of small immutable plans, one for each step, all made before the first step runs. A
technique changes plans, liveness removes dead computation, the engine executes the rest; the model gets pass options
only. What is decided while running (which layers are similar) belongs to the request's state, never to a plan. Imports
no torch.

Clients choose how long a schedule is and what is in it, and a request may yet be refused: making one takes a plan for
each kind of step, of which there are few, and arithmetic on arrays for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from flashu_core.errors import ConfigurationError

Flags = NDArray[np.bool_]
Numbers = NDArray[np.intp]
FfnPath = Literal["full", "pruned"]


@dataclass(frozen=True, slots=True)
class Step:
    """A step's position in its schedule.

    Attributes:
        index: counts from 1.
        num_inference_steps: points of the time grid, which has one step less; of an answer, its `max_new_tokens`.
    """

    index: int
    num_inference_steps: int

    def within_last(self, share: float) -> bool:
        """Whether the step is one of the last `share` of the points: above T - ceil(share * T) (3.3.1, eq. 4)."""
        return self.index > _before_last(share, self.num_inference_steps)


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """All steps of a schedule: as `Step`, with an array where that has a number.

    Attributes:
        indices: 1, 2, ...
    """

    indices: Numbers
    num_inference_steps: int

    def within_last(self, share: float) -> Flags:
        """As `Step.within_last`, of each."""
        last: Flags = self.indices > _before_last(share, self.num_inference_steps)
        return last


def _before_last(share: float, num_inference_steps: int) -> int:
    # Rounded first: 0.3 * 10 is a little more than 3.
    return num_inference_steps - math.ceil(round(share * num_inference_steps, 9))


class Observer(Protocol):
    """What a technique decides while a request runs. A frozen dataclass, so that plans stay values."""

    def observe(self, similarities: Sequence[float]) -> frozenset[int]:
        """The layers to skip until the next measurement.

        Args:
            similarities: the cosine of each layer's input and output.
        """


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What one denoising step does; for an answer, what one decoded token does.

    Attributes:
        guidance_scale: at 1 the unconditional branch's velocity is not read, at 0 the conditional branch's.
        ffn: which neurons run in the backbone.
        layers: all of them, or without those the request last measured as similar.
        measure: chooses, by the layers' similarity in this step, which layers later steps skip; None measures nothing.
        head: whether the head's state is computed, or the last computed one is used again.
        drop: the share of the image tokens that a prefill drops behind layer `drop_layer`, counted from 1.
        keep_head: whether a later step uses this one's head state again.
        run_backbone: whether anything reads the backbone's output.
        run_cond, run_uncond: which branches are computed: those that this step or a later one reads.
    """

    guidance_scale: float
    ffn: FfnPath = "full"
    layers: Literal["all", "measured"] = "all"
    measure: Observer | None = None
    head: Literal["compute", "reuse"] = "compute"
    drop: float = 0.0
    drop_layer: int = 0
    # Set by `liveness`, not by techniques.
    keep_head: bool = False
    run_backbone: bool = True
    run_cond: bool = True
    run_uncond: bool = True

    @property
    def reads_cond(self) -> bool:
        """Whether the conditional branch's velocity reaches the result."""
        return self.guidance_scale != 0.0

    @property
    def reads_uncond(self) -> bool:
        """Whether the unconditional branch's velocity reaches the result."""
        return self.guidance_scale != 1.0

    @property
    def work(self) -> tuple[FfnPath, str, bool]:
        """Steps that agree on this can share a pass."""
        return (self.ffn, self.head, self.run_backbone)


class Technique(Protocol):
    """A frozen dataclass of parameters with two pure hooks."""

    def plan(self, step: Step, plan: StepPlan) -> StepPlan:
        """The plan of that step as this technique wants it."""
        ...

    def alike(self, steps: Steps) -> Flags | Numbers:
        """A small number for each step, 0 or more. Of those with one number and equal plans the first stands for
        all: `plan` is called for it alone."""
        ...


Policy = tuple[Technique, ...]


class Schedule(Sequence[StepPlan]):
    """The plans of a request's steps, in order: equal where all their plans are.

    Attributes:
        kinds: the plans that differ, by their first appearance.
    """

    __slots__ = ("_numbers", "kinds")

    def __init__(self, plans: Iterable[StepPlan] = ()) -> None:
        known: dict[StepPlan, int] = {}
        numbers = [known.setdefault(plan, len(known)) for plan in plans]
        self.kinds = tuple(known)
        self._numbers: NDArray[np.uint16] = np.array(numbers, np.uint16)

    @classmethod
    def uniform(cls, plan: StepPlan, length: int) -> Schedule:
        """That plan so many times."""
        return cls._of((plan,), np.zeros(length, np.uint16))

    @classmethod
    def _of(cls, kinds: tuple[StepPlan, ...], numbers: NDArray[np.uint16]) -> Schedule:
        schedule = cls()
        schedule.kinds, schedule._numbers = kinds, numbers
        return schedule

    def changed(self, alike: Flags | Numbers, change: Callable[[int, StepPlan], StepPlan]) -> Schedule:
        """The schedule with other plans.

        Args:
            alike: a number for each step, 0 or more.
            change: gives a plan's successor for the place, counted from 0, of the first of all steps that have
                equal plans and equal numbers.
        """
        if not len(self):
            return self
        numbers = alike.astype(np.int64)
        keys = self._numbers * (numbers.max() + 1) + numbers
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
        known: dict[StepPlan, int] = {}
        found = np.empty(len(first), np.uint16)
        for group in np.argsort(first):
            place = int(first[group])
            found[group] = known.setdefault(change(place, self[place]), len(known))
        return self._of(tuple(known), found[which])

    def flags(self, of: Callable[[StepPlan], bool]) -> Flags:
        """What is true of each plan."""
        return np.array([of(kind) for kind in self.kinds], bool)[self._numbers]

    @property
    def counts(self) -> Mapping[StepPlan, int]:
        """How often each kind of plan appears."""
        return dict(zip(self.kinds, np.bincount(self._numbers, minlength=len(self.kinds)).tolist(), strict=True))

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> StepPlan: ...
    @overload
    def __getitem__(self, index: slice) -> Schedule: ...
    def __getitem__(self, index: int | slice) -> StepPlan | Schedule:
        if isinstance(index, slice):
            return Schedule(self.kinds[number] for number in self._numbers[index])
        return self.kinds[int(self._numbers[index])]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        return self.kinds == other.kinds and np.array_equal(self._numbers, other._numbers)

    def __hash__(self) -> int:
        return hash((self.kinds, self._numbers.tobytes()))


def make_schedule(policy: Policy, *, num_inference_steps: int, guidance_scale: float) -> Schedule:
    """The plans of a picture's steps: each technique in turn changes what the ones before it left; then liveness.

    Args:
        policy: techniques, applied in order.
        num_inference_steps: points of the time grid; N points are N - 1 steps.
        guidance_scale: of every step before the techniques change it.

    Raises:
        ConfigurationError: fewer than two points.
    """
    if num_inference_steps < 2:
        raise ConfigurationError(f"a time grid of {num_inference_steps} points has no step; use at least 2")
    return _fold(policy, num_inference_steps - 1, num_inference_steps, StepPlan(guidance_scale))


def make_answer_schedule(policy: Policy, *, tokens: int) -> Schedule:
    """The plans of an answer of at most that many tokens: the prefill, which samples the first, then one for each
    further token.

    Raises:
        ConfigurationError: no token.
    """
    if tokens < 1:
        raise ConfigurationError(f"max_new_tokens is {tokens}; use at least 1")
    return _fold(policy, tokens, tokens, StepPlan(1.0))


@lru_cache(maxsize=32)
def _fold(policy: Policy, indices: int, num_inference_steps: int, start: StepPlan) -> Schedule:
    # Kept, some kilobytes each, since most requests ask for the same; the keys are the very values.
    schedule = Schedule.uniform(start, indices)
    steps = Steps(np.arange(1, indices + 1), num_inference_steps)
    for technique in policy:
        schedule = schedule.changed(technique.alike(steps), _hook(technique, num_inference_steps))
    return liveness(schedule)


def _hook(technique: Technique, num_inference_steps: int) -> Callable[[int, StepPlan], StepPlan]:
    return lambda place, plan: technique.plan(Step(place + 1, num_inference_steps), plan)


def liveness(schedule: Schedule) -> Schedule:
    """Removes dead computation.

    A head state is read by its own step and by those that use it again; a measurement by the steps that
    skip layers before the next one; the backbone by the head, and by a measurement that is read.
    """
    if not len(schedule):
        return schedule
    compute = schedule.flags(lambda plan: plan.head == "compute")
    if not compute[0]:
        raise ConfigurationError("the first step reuses a head state that no step computed")
    run_cond, run_uncond = (
        np.where(compute, _any_until_next(compute, reads), reads)
        for reads in (schedule.flags(lambda plan: plan.reads_cond), schedule.flags(lambda plan: plan.reads_uncond))
    )
    keep = compute & np.append(~compute[1:], False)
    measures = schedule.flags(lambda plan: plan.measure is not None)
    reads = schedule.flags(lambda plan: plan.layers == "measured") & compute & ~measures
    measured = measures & _any_until_next(measures, reads)

    def mark(place: int, plan: StepPlan) -> StepPlan:
        return replace(
            plan,
            measure=plan.measure if measured[place] else None,
            keep_head=bool(keep[place]),
            run_backbone=bool(compute[place] or measured[place]),
            run_cond=bool(run_cond[place]),
            run_uncond=bool(run_uncond[place]),
        )

    return schedule.changed(measured * 8 + keep * 4 + run_cond * 2 + run_uncond, mark)


def _any_until_next(starts: Flags, flags: Flags) -> Flags:
    """Whether a flag is set from a position up to the start of the next group; undefined before the first start."""
    places = np.flatnonzero(starts)
    if not len(places):
        return np.zeros_like(flags)
    found: Flags = np.logical_or.reduceat(flags, places)[np.cumsum(starts) - 1]
    return found
