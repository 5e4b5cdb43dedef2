"""Answering: a question, and its picture where there is one, read once, then tokens decoded from a cache.

What precedes every picture or question is the same for all requests, so it is read once per process on each path
(`System`) and copied. A prefill runs the image block with full attention and the question causally in one pass. A
request's whole running state is its `Understanding`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flashu_core.acceleration.neurons import FULL, NeuronPath
from flashu_core.acceleration.plan import Schedule, StepPlan, make_answer_schedule
from flashu_core.lru_cache import LruCache
from flashu_core.model.kv_cache import KeyValueCache
from flashu_core.model.pass_options import Drop, PassOptions
from flashu_core.model.sampler import likeliest, log_probabilities, sample_token
from flashu_core.model.showo2 import Showo2
from flashu_core.timing import Spans, to_device

LAST = slice(-1, None)
PATHS = 8  # on which what precedes a question is kept as it was read


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How an answer is sampled: `sample_token`'s parameters, when it stops, how long it may get, and of how many
    likeliest tokens at each position the log probability is kept (None: of none, nor of the answer's own)."""

    eos: int
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    logprobs: int | None = None


@dataclass(slots=True)
class System:
    """What precedes every picture (`bos system user image_start`), and its time token where that is causal; or what
    precedes every question that has no picture (`bos system user`).

    Keys and values depend on the neurons that ran, so there is a cache for each of the paths it was last read on.
    """

    ids: Sequence[int]
    picture: bool = True
    _read: LruCache[str, KeyValueCache] = field(default_factory=lambda: LruCache(PATHS))

    def read(self, model: Showo2, path: NeuronPath = FULL) -> KeyValueCache:
        """Its cache on that path, run through the backbone on first use."""
        return self._read.get(path.name, lambda: self._run(model, path))

    @property
    def nbytes(self) -> int:
        """Bytes of what was read."""
        return sum(cache.nbytes for cache in self._read)

    @torch.inference_mode()
    def _run(self, model: Showo2, path: NeuronPath) -> KeyValueCache:
        embeddings = model.embed(self.ids)
        if self.picture and model.config.time_token and model.config.understanding_block == "image":
            embeddings = torch.cat([embeddings, _clean_time_token(model)], dim=1)
        length = embeddings.shape[1]
        cache = model.backbone_cache(1, length)
        model.run_backbone(embeddings, [cache], block=0, options=PassOptions(neurons=path.layers))
        cache.keep(length)
        return cache


def _clean_time_token(model: Showo2) -> Tensor:
    # A picture that is read, not generated, stands at the end of the flow: time 1.
    _, token = model.time_tokens(torch.ones(1, device=model.device))
    return token


@dataclass(slots=True)
class Understanding:
    """The running state of one request.

    Attributes:
        schedule: one plan for each token that may be sampled; the first is the prefill's.
        cache: keys and values of everything read so far.
        tokens: the answer so far, without the end token.
        logprobs: for each token its log probability, and the likeliest tokens with theirs; where they are wanted.
        logits: scores of the next token, (vocabulary,).
        ended: whether the end token came.
        lost: whether the logits contain NaN or Inf; there is no answer then.
        pruned: the neurons of tokens whose plan says "pruned".
        skipped: the layers that were last measured as similar.
        pending: tokens decoded since, whose keys and values those layers lack.
        counts: what ran: `prefills`, `decode_passes`, `tokens_full`, `tokens_pruned`, `layers_skipped`,
            `visual_tokens_kept`, `visual_tokens_pruned`.
    """

    decoding: Decoding
    generator: torch.Generator
    schedule: Schedule
    cache: KeyValueCache
    logits: Tensor
    prompt_tokens: int
    pruned: NeuronPath = FULL
    tokens: list[int] = field(default_factory=list)
    logprobs: list[tuple[float, list[tuple[int, float]]]] = field(default_factory=list)
    ended: bool = False
    lost: bool = False
    skipped: frozenset[int] = frozenset()
    pending: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    spans: list[Spans] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether the answer is complete, or will never be."""
        return self.ended or self.lost or len(self.tokens) == self.decoding.max_new_tokens

    @property
    def plan(self) -> StepPlan:
        """The next token's plan."""
        return self.schedule[len(self.tokens)]

    @property
    def path(self) -> NeuronPath:
        """The neurons of the next token."""
        return self.pruned if self.plan.ffn == "pruned" else FULL

    @property
    def skipped_layers(self) -> frozenset[int]:
        """The layers that the next token skips."""
        return self.skipped if self.plan.layers == "measured" else frozenset()

    @property
    def block(self) -> int:
        """Tokens of the next pass: where no layer is skipped any more, those decoded meanwhile run once again, which
        makes every layer's cache exact."""
        return 1 if self.skipped_layers else 1 + self.pending

    @property
    def work(self) -> tuple[object, ...]:
        """Requests that agree on this can share the next token's pass."""
        return (self.path.name, self.block) if not self.done else ()


@torch.inference_mode()
def begin(
    model: Showo2,
    *,
    system: System,
    latents: Tensor | None,
    suffix: Sequence[int],
    decoding: Decoding,
    generator: torch.Generator,
    spans: Spans,
    schedule: Schedule | None = None,
    pruned: NeuronPath = FULL,
) -> Understanding:
    """Reads a picture and its question, or a question alone, and samples the answer's first token.

    Args:
        system: what precedes the picture or the question.
        latents: (1, C, H, W) of the picture; None where there is none.
        suffix: ids of `image_end question assistant`, without `image_end` where there is no picture.
        decoding: how the answer is sampled.
        generator: on the CPU, for sampling.
        spans: measures `features` and `prefill`.
        schedule: a plan for each token; exact by default.
        pruned: the neurons that "pruned" in a plan means.
    """
    schedule = schedule or make_answer_schedule((), tokens=decoding.max_new_tokens)
    plan = schedule[0]
    path = pruned if plan.ffn == "pruned" else FULL
    features = None
    if latents is not None:
        with spans.span("features"):
            features = model.features(latents)
    with spans.span("prefill"):
        tokens, block, first = _sequence(model, features, suffix)
        length, images = tokens.shape[1], 0 if features is None else features.shape[1]
        prefix = system.read(model, path)
        whole = prefix.length + length + decoding.max_new_tokens
        gone = int(round(plan.drop * images, 9))
        drop = Drop(plan.drop_layer, slice(first, first + images), images - gone) if gone else None
        layers = model.config.backbone.layers
        cache = prefix.fork(
            rows=1, capacity=[whole - gone * (drop is not None and layer >= drop.layer) for layer in range(layers)]
        )
        options = PassOptions(neurons=path.layers, measured=LAST if plan.measure else None, drop=drop, read=1)
        hidden, trace = model.run_backbone(tokens, [cache], block=block, options=options)
        if drop is not None:
            cache.drop(drop.layer, gone)
        cache.keep(length)
        logits = model.logits(hidden[0, -1])
        state = Understanding(decoding, generator, schedule, cache, logits, cache.length, pruned)
        if plan.measure:
            state.skipped = plan.measure.observe(torch.cat(trace.similarity).tolist())
        state.counts.update(prefills=1, visual_tokens_kept=images - gone, visual_tokens_pruned=gone)
        _sample(state)
    state.spans.append(spans)
    return state


def _sequence(model: Showo2, features: Tensor | None, suffix: Sequence[int]) -> tuple[Tensor, int, int]:
    """What a prefill runs, (1, L, width); how many positions at its start see each other; where the image begins."""
    text = model.embed(suffix)
    if features is None:
        return text, 0, 0
    if model.config.understanding_block == "time":
        # Without a time token the block is the image alone, wherever it is said to start.
        picture = model.image_block(features, _clean_time_token(model)) if model.config.time_token else features
        return torch.cat([picture, text], dim=1), picture.shape[1], picture.shape[1] - features.shape[1]
    return torch.cat([features, text], dim=1), features.shape[1] + 1, 0


@torch.inference_mode()
def advance(model: Showo2, batch: Sequence[Understanding], spans: Spans) -> None:
    """Decodes one more token of each answer that is not done; all must agree on their `work`."""
    block = batch[0].block
    skipped_layers = [state.skipped_layers for state in batch]
    with spans.span("decode"):
        for state in batch:
            state.cache.length -= block - 1  # what is run again is written again
        options = PassOptions(
            neurons=batch[0].path.layers,
            skipped=skipped_layers if any(skipped_layers) else (),
            measured=LAST if any(state.plan.measure for state in batch) else None,
            read=1,
        )
        last = to_device([state.tokens[-block:] for state in batch], model.device)
        embeddings = model.backbone.embed_tokens(last)
        hidden, trace = model.run_backbone(embeddings, [state.cache for state in batch], block=0, options=options)
        logits = model.logits(hidden[:, -1])
        best = likeliest(logits)
        for row, state in enumerate(batch):
            plan = state.plan
            state.cache.keep(block)
            state.pending = state.pending + 1 if skipped_layers[row] else 0
            if plan.measure:
                similarity = torch.stack(trace.similarity)[:, row]
                state.skipped = plan.measure.observe(similarity.tolist())
            state.counts.update(
                {"decode_passes": 1, f"tokens_{plan.ffn}": 1, "layers_skipped": len(skipped_layers[row])}
            )
            state.logits = logits[row]
            _sample(state, best[row])
    for state in batch:
        state.spans.append(spans)


def _sample(state: Understanding, best: tuple[int, float] | None = None) -> None:
    decoding = state.decoding
    try:
        token = sample_token(
            state.logits, temperature=decoding.temperature, top_p=decoding.top_p, generator=state.generator, best=best
        )
    except FloatingPointError:
        state.lost = True
        return
    if token == decoding.eos:
        state.ended = True
        return
    state.tokens.append(token)
    if decoding.logprobs is not None:
        state.logprobs.append(log_probabilities(state.logits, token, decoding.logprobs))
