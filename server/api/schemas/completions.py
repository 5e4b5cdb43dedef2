"""The body of `POST /v1/completions`, OpenAI's older route for text. The model has one template, a question and its
answer: a prompt is answered, not continued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Discriminator, Field, Tag

from flashu_core.limits import MAX_LOGPROBS, MAX_NEW_TOKENS
from server.api.schemas.native import FilledText, VqaFields
from server.api.schemas.openai import NewTokens, Stops, StreamOptions, TextBody, listed
from server.api.schemas.openai_fields import TEXT, NoEffect
from server.api.schemas.warnings import Warnings
from server.limits import MAX_PROMPTS

_DEFAULT_TOKENS = 16  # OpenAI's


def _one_answer(value: Any) -> bool:
    return value in (1, None)


COMPLETIONS = {
    **TEXT,
    "n": NoEffect(reason="it writes one answer", neutral=_one_answer, remedy="send 1, or as many prompts"),
    "suffix": NoEffect(
        reason="it answers a text and fills no gaps", neutral=lambda value: not value, remedy="leave it out"
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
    """`POST /v1/completions`. Each prompt is a question of its own, without a picture."""

    no_effect: ClassVar[Mapping[str, NoEffect]] = COMPLETIONS

    prompt: Prompts
    """What is answered: a text, or several for a choice each."""
    max_tokens: NewTokens = None
    """Length of an answer at most; null is 16. More than the model has room for, or can be decoded in time, is cut
    to that."""
    stop: Stops | None = None
    """Texts before the first of which an answer ends."""
    echo: bool | None = None
    """Whether a choice begins with its prompt."""
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    """Of how many likeliest tokens in each place of an answer log probabilities are wanted; null: none at all."""
    stream_options: StreamOptions | None = None
    """Of streams only."""

    def review(self, warnings: Warnings) -> None:
        """Warns of a length that is cut, and of options without a stream."""
        if (self.max_tokens or 0) > MAX_NEW_TOKENS:
            warnings.add("max_tokens", f"cut to {MAX_NEW_TOKENS}, the model's limit")
        if self.stream_options is not None and not self.stream:
            warnings.add("stream_options", "ignored: they are for streams")

    @property
    def prompts(self) -> Sequence[str]:
        """The texts that are answered."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def stops(self) -> tuple[str, ...]:
        """Where an answer ends."""
        return listed(self.stop)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the counts of tokens."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def questions(self) -> list[VqaFields]:
        """The native bodies, one for each prompt."""
        return [self._understanding(prompt, self.max_tokens or _DEFAULT_TOKENS) for prompt in self.prompts]
