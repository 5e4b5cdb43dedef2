"""An understanding request on its way through the engine: accepted, its picture and question read, its answer decoded.

The stages here turn one unit of the scheduler's into calls of the understanding pathway and events. They know no queue
and no other task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from flashu_core.acceleration.plan import Schedule, make_answer_schedule
from flashu_core.acceleration.policies import UnderstandingPolicy, find_policy, override
from flashu_core.engine.context import Parts
from flashu_core.engine.scheduler import Entry
from flashu_core.errors import FlashUError, InvalidRequestError
from flashu_core.images.tensors import fit
from flashu_core.pathways import understand
from flashu_core.text import prompt
from flashu_core.timing import Spans, total_milliseconds
from flashu_core.types import (
    Event,
    Failed,
    Finished,
    Text,
    TokenLogprob,
    TokenLogprobs,
    UnderstandRequest,
    UnderstandResult,
)

_MIN_LOGPROB = -9999.0  # JSON has no infinity; OpenAI's own value for a token that cannot be


@dataclass(slots=True)
class UnderstandSequence:
    """One request; `state`, which holds all memory that counts, `held` bytes, exists once its picture is read;
    `shown` and `logprobs` are what events already carry."""

    identity: int
    request: UnderstandRequest
    seed: int
    policy: UnderstandingPolicy
    schedule: Schedule
    suffix: Sequence[int]
    held: int
    arrived: float = 0.0
    begun: float = 0.0
    first_token: float = 0.0
    state: understand.Understanding | None = None
    shown: str = ""
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    spans: list[Spans] = field(default_factory=list)

    @property
    def entry(self) -> Entry:
        """What the scheduler needs to know."""
        return Entry(
            request=self.identity,
            task="vqa",
            stage="prefill" if self.state is None else "decode",
            key=None if self.state is None else self.state.work,
            size=self.held,
            priority=self.request.priority,
        )


class UnderstandRunner:
    """Runs the stages of understanding on one model.

    Args:
        parts: what it works with.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._before_picture = understand.System(prompt.understanding_prefix(parts.tokenizer))
        self._before_question = understand.System(prompt.question_prefix(parts.tokenizer), picture=False)

    @property
    def nbytes(self) -> int:
        """Bytes of what was read for all requests."""
        return self._before_picture.nbytes + self._before_question.nbytes

    def accept(self, identity: int, request: UnderstandRequest, seed: int) -> UnderstandSequence:
        """Settles a request's tokens.

        Raises:
            InvalidRequestError: this model cannot do it.
        """
        parts = self.parts
        policy = override(find_policy(request.acceleration, parts.policies).vqa, request.overrides)
        layers = parts.model.config.backbone.layers
        if policy.token_ratio and policy.token_layer >= layers:
            raise InvalidRequestError(
                f"token_layer is {policy.token_layer}; this model's layers before the last are 1 to {layers - 1}",
                parameter="acceleration",
            )
        parts.check_path(policy.ffn_ratio)
        after = prompt.question_suffix if request.image is None else prompt.understanding_suffix
        suffix = after(parts.tokenizer, request.question, limit=parts.info.max_prompt_tokens)
        schedule = make_answer_schedule(policy.techniques, tokens=request.max_new_tokens)
        return UnderstandSequence(
            identity=identity,
            request=request,
            seed=seed,
            policy=policy,
            schedule=schedule,
            suffix=suffix,
            held=self._size(len(suffix) + request.max_new_tokens),
        )

    def _size(self, text: int) -> int:
        """Bytes that the keys and values of a picture and of so many tokens after it take at most."""
        model = self.parts.model
        rows, columns = model.config.grids[0]
        positions = len(self._before_picture.ids) + rows * columns + 1 + text
        return positions * model.backbone_position_size

    def prefill(self, sequences: Sequence[UnderstandSequence], spans: Spans) -> list[Event]:
        """Reads pictures and questions, and draws the answers' first tokens."""
        events: list[Event] = []
        for sequence in sequences:
            parts, request = self.parts, sequence.request
            sequence.begun = parts.clock()
            latents = None
            if request.image is not None:
                width, height = parts.info.sizes[0]
                with spans.span("vae_encode"), torch.inference_mode():
                    latents = parts.vae.encode(fit(request.image, height, width).to(parts.model.device))
            sequence.state = understand.begin(
                parts.model,
                system=self._before_question if latents is None else self._before_picture,
                latents=latents,
                suffix=sequence.suffix,
                decoding=understand.Decoding(
                    eos=parts.tokenizer.special.eos,
                    max_new_tokens=request.max_new_tokens,
                    temperature=request.temperature,
                    top_p=request.top_p,
                    logprobs=request.logprobs,
                ),
                generator=torch.Generator().manual_seed(sequence.seed),
                spans=spans,
                schedule=sequence.schedule,
                pruned=parts.path("vqa", sequence.policy.ffn_ratio),
            )
            sequence.first_token = parts.clock()
            events += self._emit(sequence)
        return events

    def decode(self, sequences: Sequence[UnderstandSequence], spans: Spans) -> list[Event]:
        """Decodes one more token of each answer."""
        understand.advance(
            self.parts.model, [sequence.state for sequence in sequences if sequence.state is not None], spans
        )
        return [event for sequence in sequences for event in self._emit(sequence)]

    def _emit(self, sequence: UnderstandSequence) -> list[Event]:
        """What is new of an answer, and its end."""
        state = sequence.state
        assert state is not None
        if state.lost:
            return [
                Failed(
                    sequence.identity,
                    FlashUError(
                        "the logits contain NaN or Inf; rephrase the question or choose another acceleration policy"
                    ),
                )
            ]
        events: list[Event] = []
        text = self.parts.tokenizer.decode(state.tokens)
        stops = [text.index(stop) for stop in sequence.request.stop if stop in text]
        if stops:
            text = text[: min(stops)]
            state.ended = True
        elif not state.done:
            # A character may still lack bytes that come with the next token, and a stop its end.
            text = text.rstrip("\ufffd")
            text = text[: len(text) - _begun(text, sequence.request.stop)]
        logprobs = () if sequence.request.logprobs is None else self._logprobs(sequence, state, text, cut=bool(stops))
        if len(text) > len(sequence.shown) or logprobs:
            events.append(Text(sequence.identity, text[len(sequence.shown) :], logprobs))
            sequence.shown = text
            sequence.logprobs += logprobs
        if state.done:
            timings = total_milliseconds([*sequence.spans, *state.spans])
            timings["queue"] = (sequence.begun - sequence.arrived) * 1000
            timings["time_to_first_token"] = (sequence.first_token - sequence.begun) * 1000
            timings["total"] = (self.parts.clock() - sequence.begun) * 1000
            result = UnderstandResult(
                answer=text,
                finish_reason="stop" if state.ended else "length",
                prompt_tokens=state.prompt_tokens,
                completion_tokens=len(state.tokens),
                acceleration=sequence.request.acceleration,
                schedule=dict(state.counts),
                timings=timings,
                logprobs=tuple(sequence.logprobs),
            )
            events.append(Finished(sequence.identity, result))
        return events

    def _logprobs(
        self, sequence: UnderstandSequence, state: understand.Understanding, text: str, *, cut: bool
    ) -> tuple[TokenLogprobs, ...]:
        """Log probabilities of the tokens that `text`, the answer so far, completes and that no event carries yet.
        Where a stop string cut the text, those whose text begins in it; at the end the remaining ones too."""
        decode, first = self.parts.tokenizer.decode, len(sequence.logprobs)
        end = len(state.tokens)
        if cut or not state.done:
            end = first
            while end < len(state.tokens):
                reaches = len(decode(state.tokens[: end + 1]))
                if reaches > len(text) and not (cut and len(decode(state.tokens[:end])) < len(text)):
                    break
                end += 1
        return tuple(
            TokenLogprobs(
                chosen=self._logprob(token, value), top=tuple(self._logprob(other, theirs) for other, theirs in top)
            )
            for token, (value, top) in zip(state.tokens[first:end], state.logprobs[first:end], strict=True)
        )

    def _logprob(self, token: int, value: float) -> TokenLogprob:
        written = self.parts.tokenizer.token_bytes(token)
        return TokenLogprob(
            token=written.decode("utf-8", "replace"), bytes=tuple(written), logprob=max(value, _MIN_LOGPROB)
        )


def _begun(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of the text may be the start of a stop."""
    return max((size for stop in stops for size in range(1, len(stop)) if text.endswith(stop[:size])), default=0)
