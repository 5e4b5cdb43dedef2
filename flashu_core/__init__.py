"""The FlashU inference engine: Show-o2 for generation and understanding, one copy of the weights."""

from flashu_core.config import EngineConfig
from flashu_core.costs import UnitCost, UnitCosts
from flashu_core.engine import Engine
from flashu_core.errors import (
    CalibrationError,
    CancelledError,
    CheckpointError,
    ConfigurationError,
    DeadlineExceededError,
    FlashUError,
    InvalidRequestError,
    KernelUnavailableError,
)
from flashu_core.types import (
    Event,
    Failed,
    Finished,
    FinishReason,
    GenerateRequest,
    GenerateResult,
    ModelInfo,
    Pixels,
    Progress,
    Request,
    Result,
    Task,
    Text,
    UnderstandRequest,
    UnderstandResult,
)

__all__ = [
    "CalibrationError",
    "CancelledError",
    "CheckpointError",
    "ConfigurationError",
    "DeadlineExceededError",
    "Engine",
    "EngineConfig",
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
    "Pixels",
    "Progress",
    "Request",
    "Result",
    "Task",
    "Text",
    "UnderstandRequest",
    "UnderstandResult",
    "UnitCost",
    "UnitCosts",
]
