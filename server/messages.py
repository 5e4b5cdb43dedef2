"""What the front end and the process of the engine tell each other: frozen messages, and the tag that each travels
under. It knows what is said, not how it is written (`wire`) nor who acts on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from flashu_core import (
    CalibrationError,
    CancelledError,
    CheckpointError,
    ConfigurationError,
    DeadlineExceededError,
    EngineConfig,
    Evaluation,
    Failed,
    Finished,
    FlashUError,
    GenerateRequest,
    GenerateResult,
    InvalidRequestError,
    KernelUnavailableError,
    ModelInfo,
    Preview,
    Progress,
    PromptTooLongError,
    Request,
    Text,
    UnderstandRequest,
    UnderstandResult,
    UnitCost,
    UnitCosts,
    UnitReport,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """The first message: what to load and how to run it.

    Attributes:
        model: a folder or hub id; None is the embedded model.
        policy: the default policy, which the loaded model must have.
        log_level, log_format: least severity that the process logs, and how its lines look.
        threads: that it computes with; None leaves the number to the environment and the machine.
    """

    model: str | None
    engine: EngineConfig
    policy: str
    log_level: str
    log_format: Literal["json", "text"] = "text"
    threads: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Submit:
    """A request for the engine to schedule.

    Attributes:
        request: the number that all later messages call it by.
        arrived: when it came, in monotonic seconds: one clock for both processes.
    """

    request: int
    work: Request
    arrived: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancel:
    """End a request at the next unit; nothing where it has ended."""

    request: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Shutdown:
    """End the process after the unit it is in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """The model is loaded and warm, and its units cost so much."""

    info: ModelInfo
    costs: UnitCosts


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadFailed:
    """The model cannot be loaded; the process ends.

    Attributes:
        permanent: another try would fail for the same reason: a folder that is missing, a file that is damaged, a
            policy or device that does not exist.
    """

    message: str
    permanent: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """The engine turns to a request for the first time; before that it has run nothing of it."""

    request: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Refused:
    """The engine did not take a request; without an error of its own it was a fault of ours, told in the log."""

    request: int
    error: FlashUError | None


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitEnded:
    """A sign of forward progress, after every unit of work, those of warming up too.

    Attributes:
        units: that ended since the process began.
        memory: bytes on the device, by kind.
    """

    units: int
    unit: UnitReport
    memory: Mapping[str, int]


ToWorker = Load | Submit | Cancel | Shutdown
FromWorker = Loaded | LoadFailed | Begun | Refused | UnitEnded | Progress | Preview | Text | Finished | Failed
TO_WORKER: Final[tuple[type[ToWorker], ...]] = get_args(ToWorker)
FROM_WORKER: Final[tuple[type[FromWorker], ...]] = get_args(FromWorker)

# Everything that may be in a message. A new event is a line here and a member of its union above.
TAGS: Final[Mapping[str, type]] = {
    "load": Load,
    "submit": Submit,
    "cancel": Cancel,
    "shutdown": Shutdown,
    "loaded": Loaded,
    "load_failed": LoadFailed,
    "begun": Begun,
    "refused": Refused,
    "unit_ended": UnitEnded,
    "progress": Progress,
    "preview": Preview,
    "text": Text,
    "finished": Finished,
    "failed": Failed,
    "engine_config": EngineConfig,
    "model_info": ModelInfo,
    "unit_cost": UnitCost,
    "unit_costs": UnitCosts,
    "unit_report": UnitReport,
    "generate_request": GenerateRequest,
    "understand_request": UnderstandRequest,
    "evaluation": Evaluation,
    "generate_result": GenerateResult,
    "understand_result": UnderstandResult,
}
# An error of a class that is not listed travels as the nearest one above it.
ERRORS: Final[Mapping[str, type[FlashUError]]] = {
    "error": FlashUError,
    "invalid_request": InvalidRequestError,
    "prompt_too_long": PromptTooLongError,
    "configuration": ConfigurationError,
    "checkpoint": CheckpointError,
    "calibration": CalibrationError,
    "cancelled": CancelledError,
    "deadline_exceeded": DeadlineExceededError,
    "kernel_unavailable": KernelUnavailableError,
}
