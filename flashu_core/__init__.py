"""The FlashU inference engine: Show-o2 for generation and understanding, one copy of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flashu_core.config import EngineConfig
from flashu_core.engine.latency_model import Quote, UnitCost, UnitCosts
from flashu_core.errors import (
    CalibrationError,
    CancelledError,
    CheckpointError,
    CheckpointUnreachableError,
    ConfigurationError,
    DeadlineExceededError,
    FlashUError,
    InvalidRequestError,
    KernelUnavailableError,
    PromptTooLongError,
)
from flashu_core.images.decode import PictureLimits, decode_picture, picture_formats
from flashu_core.images.resize import cover
from flashu_core.types import (
    LOCAL,
    Begun,
    DenoisingStep,
    Event,
    Failed,
    Finished,
    FinishReason,
    GenerateRequest,
    GenerateResult,
    ModelInfo,
    Pixels,
    Preview,
    Progress,
    Request,
    RequestEvent,
    Result,
    Stage,
    Task,
    Text,
    TokenLogprob,
    TokenLogprobs,
    UnderstandRequest,
    UnderstandResult,
    UnitEnded,
)

if TYPE_CHECKING:
    from flashu_core.engine.engine import Engine

__all__ = [
    "LOCAL",
    "Begun",
    "CalibrationError",
    "CancelledError",
    "CheckpointError",
    "CheckpointUnreachableError",
    "ConfigurationError",
    "DeadlineExceededError",
    "Engine",
    "EngineConfig",
    "DenoisingStep",
    "Event",
    "Failed",
    "FinishReason",
    "Finished",
    "FlashUError",
    "GenerateRequest",
    "GenerateResult",
    "InvalidRequestError",
    "KernelUnavailableError",
    "ModelInfo",
    "PictureLimits",
    "Pixels",
    "Preview",
    "Progress",
    "PromptTooLongError",
    "Quote",
    "Request",
    "RequestEvent",
    "Result",
    "Stage",
    "Task",
    "Text",
    "TokenLogprob",
    "TokenLogprobs",
    "UnderstandRequest",
    "UnderstandResult",
    "UnitCost",
    "UnitCosts",
    "UnitEnded",
    "cover",
    "decode_picture",
    "picture_formats",
]


def __getattr__(name: str) -> Any:
    # Only an engine needs torch: a process that talks to one in another starts without it, in a tenth of the memory.
    if name == "Engine":
        from flashu_core.engine.engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
