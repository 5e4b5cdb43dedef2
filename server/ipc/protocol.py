"""The messages between the front end and its processes, the engine's and those for pictures, and the tag of each on the
wire. How they are encoded is `framing`'s; events of the engine travel as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from flashu_core import (
    Begun,
    CalibrationError,
    CancelledError,
    CheckpointError,
    ConfigurationError,
    DeadlineExceededError,
    DenoisingStep,
    EngineConfig,
    Event,
    Failed,
    Finished,
    FlashUError,
    GenerateRequest,
    GenerateResult,
    InvalidRequestError,
    KernelUnavailableError,
    ModelInfo,
    Pixels,
    Preview,
    Progress,
    PromptTooLongError,
    Request,
    Text,
    TokenLogprob,
    TokenLogprobs,
    UnderstandRequest,
    UnderstandResult,
    UnitCost,
    UnitCosts,
    UnitEnded,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """The first message: what to load and how to run it.

    Attributes:
        model: a folder or hub id; None is the embedded model.
        acceleration: the default policy, which the loaded model must have.
        log_level, log_format: least severity that the process logs, and how its lines look.
        threads: that it computes with; None leaves the number to the environment and the machine.
    """

    model: str | None
    engine: EngineConfig
    acceleration: str
    log_level: str
    log_format: Literal["json", "text"] = "text"
    threads: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Submit:
    """A request for the engine to schedule.

    Attributes:
        request_id: of all later messages about it.
        arrived: when it came, in monotonic seconds: one clock for both processes.
    """

    request_id: str
    request: Request
    arrived: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Validate:
    """Whether the engine would take a request: answered with `Valid` or `Refused`, and nothing is run."""

    request_id: str
    request: Request


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancel:
    """End a request at the next unit; nothing where it has ended."""

    request_id: str


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
class Valid:
    """The engine would take a request that was to be validated."""

    request_id: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Refused:
    """The engine did not take a request, or would not take it; without an error of its own it was an internal fault,
    reported in the log."""

    request_id: str
    error: FlashUError | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DecodeImage:
    """A picture to decode.

    Attributes:
        file: its bytes, or where `is_text` base64 or a data URL of them, in ASCII.
        max_pixels, min_side: of the picture.
        max_memory: bytes that decoding may take, as far as the picture's header tells.
        width, height: what the model reads; a much larger picture comes in that size.
        cpu_s: seconds of CPU time after which the process is killed.
    """

    file: bytes
    is_text: bool
    max_pixels: int
    min_side: int
    max_memory: int
    width: int
    height: int
    cpu_s: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EncodeImage:
    """A picture to encode; `quality` 0-100 is of jpeg and webp."""

    pixels: Pixels
    output_format: Literal["png", "jpeg", "webp"]
    quality: int
    cpu_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageProcessReady:
    """A process for pictures has come up."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageDecoded:
    """The pixels of a picture."""

    pixels: Pixels


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageEncoded:
    """The file of a picture."""

    file: bytes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageRefused:
    """The picture cannot be decoded, and why, as its sender may read."""

    error: FlashUError


ToWorker = Load | Submit | Validate | Cancel | Shutdown
FromWorker = Loaded | LoadFailed | Valid | Refused | Event
TO_WORKER: Final[tuple[type[ToWorker], ...]] = get_args(ToWorker)
FROM_WORKER: Final[tuple[type[FromWorker], ...]] = get_args(FromWorker)

ToImageProcess = DecodeImage | EncodeImage
FromImageProcess = ImageProcessReady | ImageDecoded | ImageEncoded | ImageRefused
TO_IMAGE_PROCESS: Final[tuple[type[ToImageProcess], ...]] = get_args(ToImageProcess)
FROM_IMAGE_PROCESS: Final[tuple[type[FromImageProcess], ...]] = get_args(FromImageProcess)

# Everything that may be in a message. A new event is a line here and a member of its union above.
TAGS: Final[Mapping[str, type]] = {
    "load": Load,
    "submit": Submit,
    "validate": Validate,
    "cancel": Cancel,
    "shutdown": Shutdown,
    "loaded": Loaded,
    "load_failed": LoadFailed,
    "begun": Begun,
    "valid": Valid,
    "refused": Refused,
    "unit_ended": UnitEnded,
    "progress": Progress,
    "preview": Preview,
    "text": Text,
    "finished": Finished,
    "failed": Failed,
    "decode_image": DecodeImage,
    "encode_image": EncodeImage,
    "image_process_ready": ImageProcessReady,
    "image_decoded": ImageDecoded,
    "image_encoded": ImageEncoded,
    "image_refused": ImageRefused,
    "engine_config": EngineConfig,
    "model_info": ModelInfo,
    "unit_cost": UnitCost,
    "unit_costs": UnitCosts,
    "generate_request": GenerateRequest,
    "understand_request": UnderstandRequest,
    "evaluation": DenoisingStep,
    "generate_result": GenerateResult,
    "understand_result": UnderstandResult,
    "token_logprob": TokenLogprob,
    "token_logprobs": TokenLogprobs,
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
