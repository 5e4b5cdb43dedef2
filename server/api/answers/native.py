"""What the native routes answer with, at once or event by event. It knows names and types, not where the values come
from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, RootModel

from flashu_core import Task
from server.api.schemas.native import OutputFormat


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ImageSeen(_Out):
    """The picture of a conversation that was looked at."""

    message: int
    """Index of its message."""
    role: str


class Routing(_Out):
    """Which task a request was taken for, and why."""

    task: Task
    reason: str
    image: ImageSeen | None = None
    """Of a chat: the picture that was looked at, where one was."""


class WarningOut(_Out):
    """A field that had no effect."""

    param: str | None
    """Its name; null in the last entry where more were ignored than are listed."""
    message: str


class _Answer(_Out):
    id: str
    acceleration: str | dict[str, str | float]
    """The policy as applied: its name, or an object with `policy` and the parameters that were changed."""
    timings_ms: dict[str, float]
    """Per component, and `queue` and `total`."""
    schedule: dict[str, int]
    """Counts of what ran."""
    routing: Routing | None = None
    """Where the task was not the route's."""
    warnings: list[WarningOut] | None = None
    """What was sent and had no effect, where something had none."""


class DenoisingStepOut(_Out):
    """What one evaluation ran."""

    backbone: Literal["full", "pruned", "not_needed"]
    """All neurons, the task's own, or no pass since nothing would have read it."""
    head: Literal["computed", "reused"]
    """Whether the head's state was computed, or the last computed one was used again."""
    layers_skipped: int
    """Layers that the pass left out."""


class GenerateDone(_Answer):
    """The end of a stream of pictures."""

    task: Literal["generate"] = "generate"
    evaluations: list[DenoisingStepOut]
    """What ran, one by one; `schedule` holds their sums."""
    size: str
    output_format: OutputFormat


class PictureOut(_Out):
    b64_json: str
    seed: int


class GenerateAnswer(GenerateDone):
    """Pictures."""

    images: list[PictureOut]


class Usage(_Out):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class VqaAnswer(_Answer):
    """An answer, and the end of a stream of one."""

    task: Literal["vqa"] = "vqa"
    answer: str
    finish_reason: Literal["stop", "length"]
    usage: Usage


class EitherDone(RootModel[GenerateDone | VqaAnswer]):
    """The end of a stream of pictures, or of an answer."""


class ProgressEvent(_Out):
    """`progress`: an evaluation ended."""

    evaluation: int
    of: int
    eta_s: float | None
    """Seconds until the last evaluation at the pace so far; null until there is one."""


class PartialImageEvent(_Out):
    """`partial_image`: what the picture looks like to become."""

    index: int
    b64_json: str


class ImageEvent(PictureOut):
    """`image`: a picture is ready."""

    index: int


class TextEvent(_Out):
    """`text`: more of an answer."""

    text: str


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """The one body of every error, and of the event `error`."""

    error: ErrorDetail
