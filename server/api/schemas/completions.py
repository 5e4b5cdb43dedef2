"""Request body of `POST /v1/completions`, OpenAI's older route for text. The model's template is a question and its
answer: a prompt is answered, not continued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Discriminator, Field, Tag

from flashu_core import UnderstandRequest
from flashu_core.limits import MAX_LOGPROBS, MAX_NEW_TOKENS
from server.api.schemas.examples import example
from server.api.schemas.native import FilledText
from server.api.schemas.openai import NewTokens, Stops, StreamOptions, TextBody, listed
from server.api.schemas.openai_fields import TEXT, NoEffect
from server.api.schemas.warnings import Warnings
from server.limits import MAX_PROMPTS

_DEFAULT_TOKENS = 16  # OpenAI's


def _one_answer(value: Any) -> bool:
    return value in (1, None)


COMPLETIONS = {
    **TEXT,
    "n": NoEffect(reason="it generates one answer", neutral=_one_answer, remedy="send 1, or as many prompts"),
    "suffix": NoEffect(
        reason="it answers a prompt and cannot fill in text", neutral=lambda value: not value, remedy="omit it"
    ),
}


def _kind_of_prompt(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


Prompts = Annotated[
    Annotated[FilledText, Tag("text")]
    | Annotated[list[FilledText], Field(min_length=1, max_length=MAX_PROMPTS), Tag("list")],
    Discriminator(
        _kind_of_prompt,
        custom_error_type="prompt",
        custom_error_message="must be text or a list of texts; token ids are not supported by this model",
    ),
]


class CompletionBody(TextBody):
    """One or more prompts. Each is answered as a separate question, without a picture."""

    model_config = example(model="shapes-64", prompt="what colour is a red circle?", max_tokens=16)

    no_effect: ClassVar[Mapping[str, NoEffect]] = COMPLETIONS

    prompt: Prompts
    """A text, or a list of texts with a choice for each."""
    max_tokens: NewTokens = None
    """Maximum length of an answer in tokens; null is 16. Reduced to the model's limit, and to what can be
    decoded before the timeout; -1 is that maximum."""
    stop: Stops | None = None
    """One to four texts; an answer ends before the first of them."""
    echo: bool | None = None
    """Whether the text of a choice begins with its prompt."""
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    """Number of likeliest tokens to return log probabilities for at each position; null is no log probabilities."""
    stream_options: StreamOptions | None = None
    """Options of a stream; ignored without `stream`."""

    def review(self, warnings: Warnings) -> None:
        """Warns of a length that is reduced, and of stream options without a stream."""
        if (self.max_tokens or 0) > MAX_NEW_TOKENS:
            warnings.add("max_tokens", f"reduced to {MAX_NEW_TOKENS}, the model's limit")
        if self.stream_options is not None and not self.stream:
            warnings.add("stream_options", "ignored: stream is not true")

    @property
    def prompts(self) -> Sequence[str]:
        """The prompts as a list."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with token counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def understand_requests(self, deadline: float, default: str) -> list[UnderstandRequest]:
        """The engine's requests, one for each prompt; `default` is the policy if none is named."""
        length = self.max_tokens or _DEFAULT_TOKENS
        stop = listed(self.stop)
        return [
            self._understand_request(
                prompt, deadline, default, max_new_tokens=length, stop=stop, logprobs=self.logprobs
            )
            for prompt in self.prompts
        ]
