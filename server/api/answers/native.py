"""Response bodies of the native routes: whole responses and the events of streams."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, RootModel

from flashu_core import Task
from server.api.schemas.native import OutputFormat


class Out(BaseModel):
    """Base of all response models: frozen, each field described by the docstring below it."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ImageSeen(Out):
    """The picture of a conversation that the question is about."""

    message: int
    """Index of the message that holds it."""
    role: str
    """Role of that message."""


class Routing(Out):
    """The task that was chosen for a request, and why."""

    task: Task
    """`generate` for pictures, `vqa` for text."""
    reason: str
    """Why this task was chosen."""
    image: ImageSeen | None = None
    """In a conversation: the picture that the question is about, if there is one."""


class WarningOut(Out):
    """A field that had no effect, or words that the model does not know."""

    param: str | None
    """Name of the field; null in the last entry if more fields were ignored than are listed."""
    message: str
    """What it lacks, and why."""


class WorkDone(Out):
    """Measurements of the work, in every response."""

    acceleration: str | dict[str, str | float]
    """The applied policy: its name, or an object with `policy` and the changed parameters."""
    timings_ms: dict[str, float]
    """Milliseconds per component, with `queue` and `total`."""
    schedule: dict[str, int]
    """How many steps, layers and tokens were computed, skipped or reused."""
    warnings: list[WarningOut] | None = None
    """Fields that had no effect, or whose words the model was never trained on; absent if there are none. The header
    `X-Flashu-Warnings` lists their names too."""


class _Identified(Out):
    id: str
    """Unique id of the response."""


class _Answer(WorkDone, _Identified):
    routing: Routing | None = None
    """The chosen task; only if the route leaves it open."""


class DenoisingStepOut(Out):
    """What one denoising step computed."""

    backbone: Literal["full", "pruned", "not_needed"]
    """All neurons, only those kept for the task, or no pass because its output would not be used."""
    head: Literal["computed", "reused"]
    """Whether the head's state was computed or reused from an earlier step."""
    layers_skipped: int
    """Number of skipped layers."""


class GenerateDone(_Answer):
    """`done`: the end of a stream of pictures."""

    task: Literal["generate"] = "generate"
    """Always `generate`."""
    evaluations: list[DenoisingStepOut]  # a public field
    """One entry per denoising step; `schedule` has the sums."""
    size: str
    """WIDTHxHEIGHT in pixels."""
    output_format: OutputFormat
    """File format of the pictures."""


class PictureOut(Out):
    """A picture."""

    b64_json: str
    """The file as base64."""
    seed: int
    """Seed that generates this picture again."""


class GenerateAnswer(GenerateDone):
    """Generated pictures."""

    images: list[PictureOut]
    """The pictures, in the order of their seeds."""


class Usage(Out):
    """Token counts."""

    prompt_tokens: int
    """Tokens of the prompt or question."""
    completion_tokens: int
    """Tokens of the answer; 0 for pictures."""
    total_tokens: int
    """Sum of both."""


class VqaAnswer(_Answer):
    """An answer; `done` at the end of a stream has the same fields."""

    task: Literal["vqa"] = "vqa"
    """Always `vqa`."""
    answer: str
    """The whole text."""
    finish_reason: Literal["stop", "length"]
    """`stop`: the model ended the answer; `length`: it reached `max_new_tokens`."""
    usage: Usage
    """Token counts."""


class EitherDone(RootModel[GenerateDone | VqaAnswer]):
    """`done`: the end of a stream of pictures or of an answer."""


class ProgressEvent(Out):
    """`progress`: a denoising step ended."""

    evaluation: int  # a public field
    """Number of the step, counted from 1."""
    of: int
    """Number of steps."""
    eta_s: float | None
    """Estimated seconds until the last step ends; null until two steps are measured."""


class PartialImageEvent(Out):
    """`partial_image`: a preview of the picture."""

    index: int
    """Number of the preview, counted from 0."""
    b64_json: str
    """The file as base64."""


class ImageEvent(PictureOut):
    """`image`: a finished picture."""

    index: int
    """Number of the picture, counted from 0."""


class TextEvent(Out):
    """`text`: the next piece of an answer."""

    text: str
    """Text to append."""


class ErrorDetail(Out):
    """One error."""

    message: str
    """What is wrong, the limit, and the remedy."""
    type: str
    """Kind of error, as OpenAI's API names them."""
    param: str | None
    """The field at fault; null if the error is about no single field."""
    code: str
    """Stable identifier for programs."""


class ErrorBody(Out):
    """The body of every error and of the event `error`."""

    error: ErrorDetail
    """The error."""
