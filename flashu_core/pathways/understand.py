"""Answering: a picture and a question read once, then tokens decoded from a cache.

What precedes every picture is the same for all requests, so it is read once per process (`read_system`) and copied. A
prefill runs the image block with full attention and the question causally in one pass. A request's whole running state
is its `Understanding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flashu_core.kv_cache import KeyValueCache
from flashu_core.model.showo2 import Showo2
from flashu_core.sampler import draw_token
from flashu_core.timing import Spans


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How an answer is drawn: `draw_token`'s parameters, when it stops, how long it may get."""

    eos: int
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0


@dataclass(slots=True)
class Understanding:
    """The running state of one request.

    Attributes:
        cache: keys and values of everything read so far.
        tokens: the answer so far, without the end token.
        logits: scores of the next token, (vocabulary,).
        ended: whether the end token came.
        decode_passes: tokens decoded after the prefill's own.
    """

    decoding: Decoding
    generator: torch.Generator
    cache: KeyValueCache
    logits: Tensor
    prompt_tokens: int
    tokens: list[int] = field(default_factory=list)
    ended: bool = False
    decode_passes: int = 0
    spans: list[Spans] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether the answer is complete."""
        return self.ended or len(self.tokens) == self.decoding.max_new_tokens


@torch.inference_mode()
def read_system(model: Showo2, ids: Sequence[int]) -> KeyValueCache:
    """Reads what precedes every picture (`bos system user image_start`), and its time token where that is causal."""
    embeddings = model.embed(ids)
    if model.config.time_token and model.config.understanding_block == "image":
        embeddings = torch.cat([embeddings, _clean_time_token(model)], dim=1)
    length = embeddings.shape[1]
    cache = model.backbone_cache(1, length)
    model.run_backbone(embeddings, [cache], block=0)
    cache.keep(length)
    return cache


def _clean_time_token(model: Showo2) -> Tensor:
    # A picture that is read, not drawn, stands at the end of the flow: time 1.
    _, token = model.time_tokens(torch.ones(1, device=model.device))
    return token


@torch.inference_mode()
def begin(
    model: Showo2,
    *,
    system: KeyValueCache,
    latents: Tensor,
    suffix: Sequence[int],
    decoding: Decoding,
    generator: torch.Generator,
    spans: Spans,
) -> Understanding:
    """Reads a picture and its question, and draws the answer's first token.

    Args:
        system: what `read_system` gave; it is copied, not changed.
        latents: (1, C, H, W) of the picture.
        suffix: ids of `image_end question assistant`.
        decoding: how the answer is drawn.
        generator: on the CPU, for drawing.
        spans: measures `features` and `prefill`.
    """
    with spans.span("features"):
        features = model.vision(latents)
    with spans.span("prefill"):
        block = features.shape[1] + 1
        parts = [features, model.embed(suffix)]
        if model.config.understanding_block == "time":
            # Without a time token the block is the image alone, wherever it is said to start.
            block -= 1 - model.config.block_extra
            parts[0] = model.image_block(features, _clean_time_token(model))
        tokens = torch.cat(parts, dim=1)
        length = tokens.shape[1]
        cache = system.fork(rows=1, capacity=system.length + length + decoding.max_new_tokens)
        hidden = model.run_backbone(tokens, [cache], block=block)
        cache.keep(length)
        logits = model.logits(hidden[0, -1])
        state = Understanding(decoding, generator, cache, logits, prompt_tokens=cache.length)
        _draw(state)
    state.spans.append(spans)
    return state


@torch.inference_mode()
def advance(model: Showo2, batch: Sequence[Understanding], spans: Spans) -> None:
    """Decodes one more token of each answer that is not done."""
    with spans.span("decode"):
        last = torch.tensor([[state.tokens[-1]] for state in batch], device=model.device)
        embeddings = model.backbone.embed_tokens(last)
        hidden = model.run_backbone(embeddings, [state.cache for state in batch], block=0)
        logits = model.logits(hidden[:, -1])
        for state, row in zip(batch, logits, strict=True):
            state.cache.keep(1)
            state.logits = row
            _draw(state)
    for state in batch:
        state.decode_passes += 1
        state.spans.append(spans)


def _draw(state: Understanding) -> None:
    decoding = state.decoding
    token = draw_token(state.logits, temperature=decoding.temperature, top_p=decoding.top_p, generator=state.generator)
    if token == decoding.eos:
        state.ended = True
    else:
        state.tokens.append(token)
