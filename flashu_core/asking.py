"""An understanding request on its way through the engine: accepted, its picture and question read, its answer decoded.

The stages here turn one unit of the scheduler's into calls of the understanding pathway and events. They know no queue
and no other task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from flashu_core import prompt
from flashu_core.image import fit
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vae import Vae
from flashu_core.pathways import understand
from flashu_core.policies import find_policy
from flashu_core.scheduler import Entry
from flashu_core.timing import Spans, total_milliseconds
from flashu_core.tokenizer import Tokenizer
from flashu_core.types import Event, Finished, ModelInfo, Text, UnderstandRequest, UnderstandResult


@dataclass(slots=True)
class Asking:
    """One request; `state` is there once its picture is read, `shown` is the text already told."""

    identity: int
    request: UnderstandRequest
    seed: int
    suffix: Sequence[int]
    begun: float = 0.0
    first_token: float = 0.0
    state: understand.Understanding | None = None
    shown: str = ""
    spans: list[Spans] = field(default_factory=list)

    @property
    def entry(self) -> Entry:
        """What the scheduler needs to know."""
        return Entry(
            request=self.identity,
            task="vqa",
            stage="prefill" if self.state is None else "decode",
            priority=self.request.priority,
        )


class Asker:
    """Runs the stages of understanding on one model.

    Args:
        model, vae, tokenizer: what was loaded.
        info: its sizes and limits.
        clock: seconds, for the whole of a request.
    """

    def __init__(
        self, model: Showo2, vae: Vae, tokenizer: Tokenizer, info: ModelInfo, clock: Callable[[], float]
    ) -> None:
        self.model = model
        self.vae = vae
        self.tokenizer = tokenizer
        self.info = info
        self._clock = clock
        self._system = understand.read_system(model, prompt.understanding_prefix(tokenizer))

    def accept(self, identity: int, request: UnderstandRequest, seed: int) -> Asking:
        """Settles a request's tokens.

        Raises:
            InvalidRequestError: this model cannot do it.
        """
        find_policy(request.policy)
        suffix = prompt.understanding_suffix(self.tokenizer, request.question, limit=self.info.max_prompt_tokens)
        return Asking(identity=identity, request=request, seed=seed, suffix=suffix)

    def prefill(self, askings: Sequence[Asking], spans: Spans) -> list[Event]:
        """Reads pictures and questions, and draws the answers' first tokens."""
        events: list[Event] = []
        for asking in askings:
            asking.begun = self._clock()
            request = asking.request
            width, height = self.info.sizes[0]
            with spans.span("vae_encode"), torch.inference_mode():
                latents = self.vae.encode(fit(request.image, height, width).to(self.model.device))
            asking.state = understand.begin(
                self.model,
                system=self._system,
                latents=latents,
                suffix=asking.suffix,
                decoding=understand.Decoding(
                    eos=self.tokenizer.special.eos,
                    max_new_tokens=request.max_new_tokens,
                    temperature=request.temperature,
                    top_p=request.top_p,
                ),
                generator=torch.Generator().manual_seed(asking.seed),
                spans=spans,
            )
            asking.first_token = self._clock()
            events += self._tell(asking)
        return events

    def decode(self, askings: Sequence[Asking], spans: Spans) -> list[Event]:
        """Decodes one more token of each answer."""
        understand.advance(self.model, [asking.state for asking in askings if asking.state is not None], spans)
        return [event for asking in askings for event in self._tell(asking)]

    def _tell(self, asking: Asking) -> list[Event]:
        """What is new of an answer, and its end."""
        state = asking.state
        assert state is not None
        events: list[Event] = []
        text = self.tokenizer.decode(state.tokens)
        if not state.done:
            # A character may still lack bytes that come with the next token.
            text = text.rstrip("\ufffd")
        if len(text) > len(asking.shown):
            events.append(Text(asking.identity, text[len(asking.shown) :]))
            asking.shown = text
        if state.done:
            timings = total_milliseconds([*asking.spans, *state.spans])
            timings["time_to_first_token"] = (asking.first_token - asking.begun) * 1000
            timings["total"] = (self._clock() - asking.begun) * 1000
            result = UnderstandResult(
                answer=text,
                finish_reason="stop" if state.ended else "length",
                prompt_tokens=state.prompt_tokens,
                completion_tokens=len(state.tokens),
                policy=asking.request.policy,
                schedule={"prefills": 1, "decode_passes": state.decode_passes},
                timings=timings,
            )
            events.append(Finished(asking.identity, result))
        return events
