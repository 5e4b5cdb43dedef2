"""The exceptions of the engine, one tree. It knows nothing of HTTP: the server maps each class to a status once."""

from __future__ import annotations


class FlashUError(Exception):
    """Every error the engine raises on purpose; the message is safe to show to a client."""


class InvalidRequestError(FlashUError):
    """The caller asked for something the model cannot do.

    Args:
        message: names the value, the limit and the remedy.
        parameter: the request field at fault, if a single one is.
    """

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class PromptTooLongError(InvalidRequestError):
    """A text has more tokens than the model takes."""


class ConfigurationError(FlashUError):
    """A configuration value is out of range or unknown."""


class CheckpointError(FlashUError):
    """A checkpoint is incomplete, damaged or of another shape; the message names the file and the tensor."""


class CheckpointUnreachableError(CheckpointError):
    """A checkpoint could not be fetched this time; a later try may succeed."""


class CalibrationError(FlashUError):
    """A calibration is damaged or of another checkpoint, or could not be made."""


class CancelledError(FlashUError):
    """The request was cancelled before it ended."""


class DeadlineExceededError(FlashUError):
    """The request's time ran out before it ended."""


class KernelUnavailableError(FlashUError):
    """An attention kernel was asked for that this machine cannot run."""
