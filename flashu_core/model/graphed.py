"""The passes of `Showo2` on a GPU: fused layers, each of them a CUDA graph, over buffers with fixed addresses.

A graph of a whole pass would be captured again for each choice of layers; with one graph per layer, a pass skips a
layer by not replaying its graph. Buffers are per shape, keys and values are in pools, and what differs between two
passes of one shape (positions in the pool, and lengths) is a tensor of integers. Passes are padded to few lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch import Tensor

from flashu_core.config import RopeScaling
from flashu_core.lru_cache import LruCache
from flashu_core.model import fused_ops as fused
from flashu_core.model.attention import rotary
from flashu_core.model.backbone import DecoderLayer, similarity, smallest_values
from flashu_core.model.cuda_graphs import Buffers, Calls, Captures
from flashu_core.model.fused_layers import FusedDecoderLayer, FusedHeadBlock, FusedVisionLayer, Places
from flashu_core.model.head import HeadBlock
from flashu_core.model.kv_cache import KeyValueCache
from flashu_core.model.kv_pool import PADDING, KeyValuePool, PooledCache
from flashu_core.model.pass_options import Neurons, PassOptions, Trace
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vision import VisionLayer

POSITIONS = 16384  # rows of the rotary tables
PASSES = 512  # shapes kept per stack: clients choose lengths, rows, and how many tokens are dropped


def use_graphs(model: Showo2, cache_bytes: int) -> None:
    """Makes a model run its passes as graphs of fused layers.

    Args:
        model: on its device; its weights are joined.
        cache_bytes: for the keys and values of all running requests.
    """
    position = model.backbone_position_size + model.head_position_size
    model.graphs = GraphedPasses(model, max(cache_bytes // position, 1))


def padded_length(length: int, block: int) -> int:
    """The padded length of a pass: text after a block fills a multiple of 32, which changes nothing before it."""
    text = length - block
    return length if text <= 1 else block + -(-text // PADDING) * PADDING


@dataclass(slots=True, eq=False)
class Pass:
    """Buffers of R sequences of L tokens, and their positions.

    Attributes:
        key: identifies the graphs of this pass; a pass that replaces a dropped one of the same shape has another key.
        x: (R * L, W), the residual stream.
        places: positions of the tokens and their keys.
        numbers: int32, the part of `places` that differs from pass to pass.
        lengths: (R,) int32, positions before the pass; a view of `numbers`.
    """

    key: tuple[object, ...]
    x: Tensor
    places: Places
    numbers: Tensor
    lengths: Tensor

    @property
    def tokens(self) -> Tensor:
        """x as (R, L, W)."""
        return self.x.unflatten(0, (self.places.rows, -1))

    def fill(self, caches: Sequence[PooledCache], length: int) -> None:
        """Sets the positions of a pass over these caches."""
        rows = [(cache, start) for cache in caches for start in cache.starts]
        starts = [start for _, start in rows]
        lengths = [cache.length for cache, _ in rows]
        written = np.array(lengths)[None] - np.array([cache.dropped for cache, _ in rows]).T  # (layers, R)
        block = self.places.block
        numbers = np.concatenate(
            [starts, [0], lengths, *(part.ravel() for part in (written, written + length, written + block))]
        ).astype(np.int32)
        self.numbers.copy_(torch.from_numpy(numbers), non_blocking=True)


class Stack:
    """Passes over one stack of layers with KV caches: the backbone, or the head.

    Args:
        pool: memory of the caches.
        width: width of the residual stream.
        theta, scaling: parameters of the rotary positions.
    """

    def __init__(self, name: str, pool: KeyValuePool, *, width: int, theta: float, scaling: RopeScaling | None) -> None:
        self.pool = pool
        self._name, self._width = name, width
        self._device = pool.storage.device
        positions = torch.arange(POSITIONS, device=self._device)[None]
        cosine, sine = rotary(positions, pool.storage.shape[-1], theta, scaling, torch.float32)
        self._rotary = (cosine[0, :, 0].contiguous(), sine[0, :, 0].contiguous())
        self._steps = torch.arange(POSITIONS, dtype=torch.int32, device=self._device)
        self._passes: LruCache[tuple[object, ...], Pass] = LruCache(PASSES)
        self._made = count()
        self._buffers = Buffers(self._device)

    def holds(self, caches: Sequence[KeyValueCache], length: int) -> bool:
        """Whether a pass of that length can run over these caches."""
        limit = POSITIONS - length - PADDING
        return all(isinstance(cache, PooledCache) and cache.length <= limit for cache in caches)

    def begin(self, caches: Sequence[PooledCache], length: int, block: int, kind: str = "") -> Pass:
        """The pass of that shape, filled; `kind` separates passes of one shape that are in use at once."""
        rows = sum(cache.rows for cache in caches)
        found = self._find(rows, length, block, kind)
        found.fill(caches, length)
        torch.add(found.lengths[:, None], self._steps[:length], out=found.places.positions.view(rows, length))
        return found

    def _stream(self, kind: str, tokens: int) -> Tensor:
        """The residual stream of a pass. Passes of one kind share one: only one of them runs at a time."""
        maximum = 1 << max(tokens - 1, 1).bit_length()
        return self._buffers.get(kind, (maximum, self._width), self.pool.storage.dtype)[:tokens]

    def _find(self, rows: int, length: int, block: int, kind: str) -> Pass:
        shape = (self._name, rows, length, block, kind)
        return self._passes.get(shape, lambda: self._make(shape, rows, length, block, kind))

    def _make(self, shape: tuple[object, ...], rows: int, length: int, block: int, kind: str) -> Pass:
        layers, device = self.pool.storage.shape[0], self._device
        numbers = torch.zeros(2 * rows + 1 + 3 * layers * rows, dtype=torch.int32, device=device)
        starts, lengths, *each = numbers.split([rows + 1, rows, *[layers * rows] * 3])
        written, used, block_used = (part.view(layers, rows) for part in each)
        ends = torch.arange(rows + 1, dtype=torch.int32, device=device)
        places = Places(
            positions=torch.zeros(rows * length, dtype=torch.int32, device=device),
            rotary=self._rotary,
            storage=self.pool.storage,
            ends=ends * length,
            block_ends=ends * block,
            text_ends=ends * (length - block),
            starts=starts,
            written=written,
            used=used,
            block_used=block_used,
            block=block,
        )
        # Graphs hold these buffers' addresses: those of a dropped pass are never replayed for its successor.
        return Pass((*shape, next(self._made)), self._stream(kind, rows * length), places, numbers, lengths)


class GraphedPasses:
    """Replaces the passes of `Showo2` on a GPU that computes in half precision.

    Args:
        model: its weights are joined, in place.
        positions: capacity of the backbone's pool and of the head's.
    """

    def __init__(self, model: Showo2, positions: int) -> None:
        config, device = model.config, model.device
        self._model = model
        self._captures = Captures(device)
        self._call = Calls(self._captures, Buffers(device))
        self._layers = [FusedDecoderLayer(layer) for layer in model.backbone.layers if isinstance(layer, DecoderLayer)]
        self._blocks = [FusedHeadBlock(block) for block in model.head.blocks if isinstance(block, HeadBlock)]
        self._vision = [FusedVisionLayer(layer) for layer in model.vision.layers if isinstance(layer, VisionLayer)]
        self._norm = (model.backbone.norm.weight, config.backbone.norm_eps)

        def stack(name: str, own: Callable[[], KeyValueCache], **rest: object) -> Stack:
            like = own()
            pool = KeyValuePool(
                positions=positions,
                layers=len(like.keys),
                heads=like.keys[0].shape[1],
                head_size=like.keys[0].shape[3],
                dtype=model.dtype,
                device=device,
            )
            return Stack(name, pool, **rest)  # type: ignore[arg-type]

        self.backbone = stack(
            "backbone",
            lambda: model.backbone_cache(1, 1),
            width=config.backbone.hidden_size,
            theta=config.backbone.rope_theta,
            scaling=None,
        )
        self.head = stack(
            "head",
            lambda: model.head_cache(1, 1),
            width=config.head.hidden_size,
            theta=config.head.rope_theta,
            scaling=config.head.rope_scaling,
        )

    @property
    def pool_bytes(self) -> int:
        """Bytes of both pools, free or not."""
        return self.backbone.pool.storage.nbytes + self.head.pool.storage.nbytes

    def features(self, latents: Tensor) -> Tensor:
        """As `Vision`."""
        (found,) = self._call("features", lambda own: (self._model.vision.embed(own, self._vision),), latents)
        return found

    def time_tokens(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """As `Showo2.time_tokens`."""
        time, token = self._call("time tokens", self._model.plain_time_tokens, times)
        return time, token

    def velocity(self, state: Tensor, time: Tensor, grid: tuple[int, int]) -> Tensor:
        """As `Showo2.velocity`."""

        def function(state: Tensor, time: Tensor) -> tuple[Tensor]:
            return (self._model.plain_velocity(state, time, grid),)

        (found,) = self._call(f"velocity {grid}", function, state, time)
        return found.clone()  # requests keep it

    @torch.inference_mode()
    def run_backbone(
        self, x: Tensor, caches: Sequence[PooledCache], *, block: int, options: PassOptions
    ) -> tuple[Tensor, Trace]:
        """As `Showo2.run_backbone`."""
        length = x.shape[1]
        block = min(block, length)
        now = self.backbone.begin(caches, padded_length(length, block), block)
        _load(now, x)
        paths = _paths(options.neurons, len(self._layers))
        if any(options.skipped) or options.measured is not None or options.drop is not None or paths is None:
            now, length, trace = self._run_layers(now, length, caches, options)
            hidden = self._captures.run(("norm", *now.key), lambda: fused.rms_norm(now.x, *self._norm))
        else:
            trace = Trace()
            hidden = self._captures.run(("all layers", *now.key, paths), lambda: self._run_all(now, options.neurons))
        hidden = hidden.unflatten(0, (now.places.rows, -1))[:, :length]
        return (hidden if options.read is None else hidden[:, -options.read :]), trace

    def _run_all(self, now: Pass, neurons: Sequence[Neurons] | None) -> Tensor:
        for index, layer in enumerate(self._layers):
            layer.update(now.x, index, now.places, None if neurons is None else neurons[index])
        return fused.rms_norm(now.x, *self._norm)

    def _run_layers(
        self, now: Pass, length: int, caches: Sequence[PooledCache], options: PassOptions
    ) -> tuple[Pass, int, Trace]:
        """Runs layer by layer; returns the last pass and its length, which is smaller where tokens were dropped."""
        trace = Trace()
        others: dict[tuple[int, ...], tuple[Tensor, Pass]] = {}
        last = len(self._layers) - 1
        for index in range(len(self._layers)):
            groups = [group for group, skipped in enumerate(options.skipped) if index in skipped]
            neurons = None if options.neurons is None else options.neurons[index]
            before = now.tokens[:, :length].clone() if options.measured is not None else None
            if not groups:
                self._run_layer(index, now, neurons)
            elif len(groups) < len(options.skipped):
                rows, own = self._subset(now, caches, groups, others)
                own.x.copy_(now.tokens[rows].flatten(0, 1))
                self._run_layer(index, own, neurons)
                now.tokens.index_copy_(0, rows, own.tokens)
            if before is not None and options.measured is not None:
                after = now.tokens[:, :length]
                trace.similarity.append(similarity(before[:, options.measured], after[:, options.measured]))
            if options.drop is not None and index + 1 == options.drop.layer and index < last:
                kept = smallest_values(options.drop, caches[0], index, now.tokens.shape[1])
                gone = options.drop.tokens.stop - options.drop.tokens.start - options.drop.keep
                now, length, trace.kept = self._keep(now, caches, kept, gone), length - gone, kept[: length - gone]
        return now, length, trace

    def _run_layer(self, index: int, now: Pass, neurons: Neurons) -> None:
        layer = self._layers[index]

        def work() -> None:
            layer.update(now.x, index, now.places, neurons)

        if neurons is None or isinstance(neurons, slice):
            path = None if neurons is None else (neurons.start, neurons.stop)
            self._captures.run((*now.key, index, path), work)
        else:  # gathered from the weights: a request's own ratio, rarely repeated
            work()

    def _subset(
        self,
        now: Pass,
        caches: Sequence[PooledCache],
        groups: Sequence[int],
        others: dict[tuple[int, ...], tuple[Tensor, Pass]],
    ) -> tuple[Tensor, Pass]:
        """The rows of all other groups and a pass over them; neighbouring layers are often skipped by the same."""
        key = tuple(groups)
        if key not in others:
            others.clear()  # their buffers may be the same
            sizes = [cache.rows for cache in caches]
            begins = [sum(sizes[:group]) for group in range(len(sizes))]
            left = [group for group in range(len(sizes)) if group not in groups]
            rows = torch.tensor([begins[group] + row for group in left for row in range(sizes[group])])
            length = now.tokens.shape[1]
            own = self.backbone.begin([caches[group] for group in left], length, now.places.block, "subset")
            others[key] = (rows.to(now.x.device, non_blocking=True), own)
        return others[key]

    def _keep(self, now: Pass, caches: Sequence[PooledCache], kept: Tensor, gone: int) -> Pass:
        """The pass over the kept tokens, whose positions do not change."""
        length, block = now.tokens.shape[1] - gone, now.places.block - gone
        after = self.backbone.begin(caches, length, block, "kept")
        after.tokens.copy_(now.tokens[:, kept])
        after.places.positions.copy_(now.places.positions[kept])
        return after

    @torch.inference_mode()
    def run_head(self, hidden: Tensor, time: Tensor | None, caches: Sequence[PooledCache], *, block: int) -> Tensor:
        """As `Showo2.run_head`."""
        length = hidden.shape[1]
        block = min(block, length)
        now = self.head.begin(caches, padded_length(length, block), block)
        _load(now, self._model.head.diff_proj(hidden))
        modulations: Sequence[Tensor | None] = [None] * len(self._blocks)
        if time is not None:
            modulations = self._call("modulations", self._model.head.modulations, time)

        def work() -> None:
            for index, (fused_block, modulation) in enumerate(zip(self._blocks, modulations, strict=True)):
                fused_block.update(now.x, index, now.places, modulation)

        self._captures.run((*now.key, time is not None), work)
        return now.tokens[:, :length].clone()


def _paths(neurons: Sequence[Neurons] | None, layers: int) -> tuple[object, ...] | None:
    """A key of the neurons; None where they are gathered from the weights: a request's own ratio, rarely repeated."""
    if neurons is None:
        return (None,) * layers
    if not all(one is None or isinstance(one, slice) for one in neurons):
        return None
    return tuple((one.start, one.stop) if isinstance(one, slice) else None for one in neurons)


def _load(now: Pass, x: Tensor) -> None:
    tokens, length = now.tokens, x.shape[1]
    tokens[:, :length] = x
    if length < tokens.shape[1]:
        tokens[:, length:] = 0  # padding: unused, but it must be finite
