"""The layers of `backbone`, `head` and `vision` for a GPU: few kernels, in place, with joined weights.

They compute what those modules compute, with the same weights: matrices with the same input are joined into one, and
the modules' parameters become views of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from flashu_core.model import fused_ops as fused
from flashu_core.model.backbone import DecoderLayer
from flashu_core.model.ffn import GatedFFN
from flashu_core.model.head import HeadBlock
from flashu_core.model.pass_options import Neurons
from flashu_core.model.self_attention import SelfAttention
from flashu_core.model.vision import VisionAttention, VisionLayer


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Positions of a pass's tokens, and of their keys in the pool: R sequences of L tokens each.

    Attributes:
        positions: (R * L,) int32, for the rotary tables.
        rotary: cosines and sines, (P, D / 2) float32.
        storage: (layers, 2, S, K, D), the pool.
        ends, block_ends, text_ends: (R + 1,) int32, multiples of L, of `block`, and of what follows the block.
        starts: (R + 1,) int32, each sequence's first position in the pool.
        written, used, block_used: (layers, R) int32: keys before the pass; with its own; with those of its block.
        block: the first `block` tokens of each sequence attend to each other fully, the rest are causal.
    """

    positions: Tensor
    rotary: tuple[Tensor, Tensor]
    storage: Tensor
    ends: Tensor
    block_ends: Tensor
    text_ends: Tensor
    starts: Tensor
    written: Tensor
    used: Tensor
    block_used: Tensor
    block: int

    @property
    def rows(self) -> int:
        """Sequences."""
        return self.written.shape[1]

    def store(self, qkv: Tensor, layer: int, norms: tuple[Tensor, Tensor, float] | None = None) -> Tensor:
        """Stores a layer's keys and values and returns its queries, with rotary positions applied; see `fused_ops`."""
        keys, values = self.storage[layer]
        return fused.rotate_and_store(
            qkv,
            positions=self.positions,
            rotary=self.rotary,
            keys=keys,
            values=values,
            starts=self.starts,
            written=self.written[layer],
            norms=norms,
        )

    def mix(self, query: Tensor, layer: int) -> Tensor:
        """Attention of (R * L, H, D) over a layer's keys and values, (R * L, H * D)."""
        keys, values = self.storage[layer]

        def attend(query: Tensor, ends: Tensor, used: Tensor, *, causal: bool) -> Tensor:
            return fused.attend(
                query, keys, values, ends=ends, starts=self.starts, used=used[layer], causal=causal
            ).flatten(1)

        rows, length = self.rows, query.shape[0] // self.rows
        if self.block in (0, length):
            return attend(query, self.ends, self.used, causal=self.block == 0)
        split = query.unflatten(0, (rows, length))
        block = attend(split[:, : self.block].flatten(0, 1), self.block_ends, self.block_used, causal=False)
        text = attend(split[:, self.block :].flatten(0, 1), self.text_ends, self.used, causal=True)
        return torch.cat([block.unflatten(0, (rows, -1)), text.unflatten(0, (rows, -1))], dim=1).flatten(0, 1)


def _rebind(projections: tuple[nn.Linear, ...], joined: Tensor, biases: Tensor | None) -> None:
    begin = 0
    for projection in projections:
        end = begin + projection.weight.shape[0]
        projection.weight = nn.Parameter(joined[begin:end], requires_grad=False)
        if biases is not None:
            projection.bias = nn.Parameter(biases[begin:end], requires_grad=False)
        begin = end


class JoinedAttention:
    """Queries, keys and values as one product."""

    def __init__(self, attention: SelfAttention | VisionAttention) -> None:
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        self.weight = torch.cat([part.weight.detach() for part in parts])
        has_bias = parts[0].bias is not None
        self.bias = torch.cat([part.bias.detach() for part in parts]) if has_bias else None
        _rebind(parts, self.weight, self.bias)

    def project(self, x: Tensor) -> Tensor:
        """(T, W) to (T, queries, keys and values)."""
        return functional.linear(x, self.weight, self.bias)


class JoinedFFN:
    """Gate and up as one product: their rows alternate, so that a slice of the neurons is a slice of the product."""

    def __init__(self, ffn: GatedFFN) -> None:
        self.weight = torch.stack([ffn.gate_proj.weight.detach(), ffn.up_proj.weight.detach()], dim=1).flatten(0, 1)
        gate, up = self.weight.unflatten(0, (-1, 2)).unbind(1)
        ffn.gate_proj.weight = nn.Parameter(gate, requires_grad=False)
        ffn.up_proj.weight = nn.Parameter(up, requires_grad=False)
        self._ffn = ffn

    def activations(self, x: Tensor, neurons: Neurons) -> tuple[Tensor, Tensor]:
        """Activations (T, N) of the given neurons for x (T, W), and their columns of the down projection, (W, N)."""
        down = self._ffn.down_proj.weight
        if neurons is None:
            return fused.swiglu(functional.linear(x, self.weight)), down
        if isinstance(neurons, slice):
            both = self.weight[2 * neurons.start : 2 * neurons.stop]
        else:
            both = self.weight.unflatten(0, (-1, 2))[neurons].flatten(0, 1)
        return fused.swiglu(functional.linear(x, both)), down[:, neurons]


def _norm(norm: nn.Module) -> tuple[Tensor, float]:
    assert isinstance(norm, nn.RMSNorm)
    assert norm.eps is not None
    return norm.weight, norm.eps


class FusedDecoderLayer:
    """As `DecoderLayer`."""

    def __init__(self, layer: DecoderLayer) -> None:
        self._layer = layer
        self._attention = JoinedAttention(layer.self_attn)
        self._ffn = JoinedFFN(layer.mlp)

    def update(self, x: Tensor, index: int, places: Places, neurons: Neurons) -> None:
        """Updates x (R * L, W) in place; keys and values go to layer `index` of the pool."""
        layer = self._layer
        query = places.store(self._attention.project(fused.rms_norm(x, *_norm(layer.input_layernorm))), index)
        x.addmm_(places.mix(query, index), layer.self_attn.o_proj.weight.T)
        activations, down = self._ffn.activations(fused.rms_norm(x, *_norm(layer.post_attention_layernorm)), neurons)
        x.addmm_(activations, down.T)


class FusedHeadBlock:
    """As `HeadBlock`."""

    def __init__(self, block: HeadBlock) -> None:
        self._block = block
        self._attention = JoinedAttention(block.self_attn)
        self._ffn = JoinedFFN(block.mlp)
        query, key = block.self_attn.q_norm, block.self_attn.k_norm
        self._norms = (*_norm(query)[:1], *_norm(key)) if isinstance(query, nn.RMSNorm) else None

    def update(self, x: Tensor, index: int, places: Places, modulation: Tensor | None) -> None:
        """Updates x (R * L, W) in place, modulated by (R, 6 W) or not at all; keys and values as in
        `FusedDecoderLayer`."""
        block = self._block
        parts = (None,) * 6 if modulation is None else modulation.chunk(6, dim=-1)
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = parts
        normed = fused.rms_norm(x, *_norm(block.input_layernorm), shift, scale)
        query = places.store(self._attention.project(normed), index, self._norms)
        _add(x, places.mix(query, index), block.self_attn.o_proj.weight, gate)
        normed = fused.rms_norm(x, *_norm(block.post_attention_layernorm), ffn_shift, ffn_scale)
        activations, down = self._ffn.activations(normed, None)
        _add(x, activations, down, ffn_gate)


def _add(x: Tensor, y: Tensor, weight: Tensor, gate: Tensor | None) -> None:
    if gate is None:
        x.addmm_(y, weight.T)
    else:
        fused.add_gated_(x, functional.linear(y, weight), gate)


class FusedVisionLayer:
    """As `VisionLayer`."""

    def __init__(self, layer: VisionLayer) -> None:
        self._layer = layer
        self._attention = JoinedAttention(layer.self_attn)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, N, W) to (B, N, W)."""
        layer, attention = self._layer, self._layer.self_attn
        qkv = self._attention.project(layer.layer_norm1(x)).unflatten(-1, (3, attention.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + attention.out_proj(mixed.transpose(1, 2).flatten(2))
        first, second = layer.mlp.fc1, layer.mlp.fc2
        normed = layer.layer_norm2(x).flatten(0, 1)
        # cuBLAS's own epilogue on a GPU: bias, and GELU in its tanh form.
        if x.is_cuda:
            inner = torch._addmm_activation(first.bias, normed, first.weight.T, use_gelu=True)  # noqa: SLF001
        else:
            inner = functional.gelu(first(normed), approximate="tanh")
        return x + second(inner).unflatten(0, x.shape[:2])
