"""An understanding request on its way through the engine: accepted, its picture and question read, its answer decoded.

The stages here turn one unit of the scheduler's into calls of the understanding pathway and events. They know no queue
and no other task.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from flashu_core.acceleration.resolve import ResolvedUnderstanding, resolve_understanding
from flashu_core.engine.context import Parts
from flashu_core.errors import FlashUError, InvalidRequestError
from flashu_core.images.tensors import fit
from flashu_core.pathways import understand
from flashu_core.text import prompt
from flashu_core.text.detokenizer import Detokenizer
from flashu_core.timing import Spans, total_milliseconds
from flashu_core.types import (
    Failed,
    Finished,
    RequestEvent,
    Stage,
    Task,
    Text,
    TokenLogprob,
    TokenLogprobs,
    UnderstandRequest,
    UnderstandResult,
)

_MIN_LOGPROB = -9999.0  # JSON has no infinity; OpenAI's own value for a token that cannot be


@dataclass(kw_only=True, slots=True, eq=False)
class UnderstandSequence:
    """One request; `state`, which holds `nbytes` on the device, exists once its picture is read; of the text, events
    carry so far what is `shown`, and `logprobs`."""

    task: ClassVar[Task] = "vqa"
    rows: ClassVar[int] = 1
    request_id: str
    request: UnderstandRequest
    resolved: ResolvedUnderstanding
    seed: int
    suffix: Sequence[int]
    detokenizer: Detokenizer
    nbytes: int
    arrival: int = 0
    arrived: float = 0.0
    begun: float = 0.0
    first_token: float = 0.0
    state: understand.Understanding | None = None
    detokenized: int = 0  # tokens
    shown: int = 0  # characters
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    spans: list[Spans] = field(default_factory=list)

    @property
    def started(self) -> bool:
        """Whether a unit of it has run."""
        return self.state is not None

    @property
    def stage(self) -> Stage:
        """What it needs next."""
        return "prefill" if self.state is None else "decode"

    @property
    def key(self) -> Hashable:
        """Requests of one stage share a batch where this is equal."""
        return None if self.state is None else self.state.work

    @property
    def priority(self) -> int:
        return self.request.priority


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

    def needs_calibration(self, request: UnderstandRequest) -> bool:
        """Whether the request prunes neurons, and it is not known which."""
        return self.parts.paths is None and self._resolve(request).policy.ffn_ratio > 0.0

    def accept(self, request: UnderstandRequest, *, request_id: str, seed: int) -> UnderstandSequence:
        """Settles a request's schedule and tokens.

        Raises:
            InvalidRequestError: this model cannot do it.
        """
        parts = self.parts
        resolved = self._resolve(request)
        policy = resolved.policy
        layers = parts.model.config.backbone.layers
        if policy.token_ratio and policy.token_layer >= layers:
            raise InvalidRequestError(
                f"token_layer is {policy.token_layer}; this model's layers before the last are 1 to {layers - 1}",
                parameter="acceleration",
            )
        parts.check_path(policy.ffn_ratio)
        after = prompt.question_suffix if request.image is None else prompt.understanding_suffix
        suffix = after(parts.tokenizer, request.question, limit=parts.info.max_prompt_tokens)
        return UnderstandSequence(
            request_id=request_id,
            request=request,
            resolved=resolved,
            seed=seed,
            suffix=suffix,
            detokenizer=parts.tokenizer.detokenizer(),
            nbytes=self._size(len(suffix) + request.max_new_tokens),
        )

    def run(self, stage: Stage, sequences: Sequence[UnderstandSequence], spans: Spans) -> Sequence[RequestEvent]:
        """Runs one unit."""
        match stage:
            case "prefill":
                return self.prefill(sequences, spans)
            case "decode":
                return self.decode(sequences, spans)
            case _:
                raise ValueError(f"{stage!r} is no stage of understanding")

    def _resolve(self, request: UnderstandRequest) -> ResolvedUnderstanding:
        return resolve_understanding(request, self.parts.policies)

    def _size(self, text: int) -> int:
        """Bytes that the keys and values of a picture and of so many tokens after it take at most."""
        model = self.parts.model
        rows, columns = model.config.grids[0]
        positions = len(self._before_picture.ids) + rows * columns + 1 + text
        return positions * model.backbone_position_size

    def prefill(self, sequences: Sequence[UnderstandSequence], spans: Spans) -> list[RequestEvent]:
        """Reads pictures and questions, and samples the answers' first tokens."""
        events: list[RequestEvent] = []
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
                schedule=sequence.resolved.schedule,
                pruned=parts.path("vqa", sequence.resolved.policy.ffn_ratio),
            )
            sequence.first_token = parts.clock()
            events += self._emit(sequence)
        return events

    def decode(self, sequences: Sequence[UnderstandSequence], spans: Spans) -> list[RequestEvent]:
        """Decodes one more token of each answer."""
        understand.advance(
            self.parts.model, [sequence.state for sequence in sequences if sequence.state is not None], spans
        )
        return [event for sequence in sequences for event in self._emit(sequence)]

    def _emit(self, sequence: UnderstandSequence) -> list[RequestEvent]:
        """What is new of an answer, and its end."""
        state = sequence.state
        assert state is not None
        if state.lost:
            return [
                Failed(
                    sequence.request_id,
                    FlashUError(
                        "the logits contain NaN or Inf; rephrase the question or choose another acceleration policy"
                    ),
                )
            ]
        events: list[RequestEvent] = []
        text, cut = self._text(sequence, state)
        logprobs = () if sequence.request.logprobs is None else self._logprobs(sequence, state, len(text), cut=cut)
        if len(text) > sequence.shown or logprobs:
            events.append(Text(sequence.request_id, text[sequence.shown :], logprobs))
            sequence.shown = len(text)
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
            events.append(Finished(sequence.request_id, result))
        return events

    def _text(self, sequence: UnderstandSequence, state: understand.Understanding) -> tuple[str, bool]:
        """The answer so far as far as it can be shown, and whether a stop cut it, which ends it."""
        detokenizer, stops = sequence.detokenizer, sequence.request.stop
        for token in state.tokens[sequence.detokenized :]:
            detokenizer.add(token)
        sequence.detokenized = len(state.tokens)
        if state.done:
            detokenizer.finish(state.tokens)
        text = detokenizer.text
        # What was shown holds no part of a stop.
        starts = [start for stop in stops if (start := text.find(stop, sequence.shown)) >= 0]
        if starts:
            state.ended = True
            return text[: min(starts)], True
        if not state.done:
            text = text[: len(text) - _begun(text, stops)]  # a stop may lack its end
        return text, False

    def _logprobs(
        self, sequence: UnderstandSequence, state: understand.Understanding, shown: int, *, cut: bool
    ) -> tuple[TokenLogprobs, ...]:
        """Log probabilities of the tokens whose text ends in the `shown` characters of the answer, and that no event
        carries yet. Where a stop cut the answer, also of those whose text begins in it; at its end of all."""
        first, ends = len(sequence.logprobs), sequence.detokenizer.ends
        end = len(state.tokens)
        if cut or not state.done:
            end = first
            while end < len(ends) and (ends[end] <= shown or (cut and (ends[end - 1] if end else 0) < shown)):
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
