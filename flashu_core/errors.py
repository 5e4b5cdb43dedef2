"""The exceptions of the engine, one tree; the server maps each class to an HTTP status."""

from __future__ import annotations


class FlashUError(Exception):
    """Base class of the engine's errors; the message is safe to show to a client."""


class InvalidRequestError(FlashUError):
    """A request has a value that the model cannot process.

    Args:
        message: names the value, the limit and the remedy.
        parameter: the request's invalid field, where it is a single one.
    """

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class PromptTooLongError(InvalidRequestError):
    """A text has more tokens than `max_prompt_tokens`."""


class ConfigurationError(FlashUError):
    """A configuration value is out of range or unknown."""


class CheckpointError(FlashUError):
    """A checkpoint is incomplete or damaged, or a tensor has an unexpected shape; the message names file and tensor."""


class CheckpointUnreachableError(CheckpointError):
    """A checkpoint could not be downloaded; a retry may succeed."""


class CalibrationError(FlashUError):
    """A calibration is missing, damaged or of another checkpoint, or could not be made."""


class CancelledError(FlashUError):
    """The request was cancelled."""


class DeadlineExceededError(FlashUError):
    """The request did not finish before its deadline."""


class KernelUnavailableError(FlashUError):
    """The requested attention kernel cannot run on this machine."""
