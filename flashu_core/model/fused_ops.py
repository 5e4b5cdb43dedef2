"""Chains of pointwise operations as single kernels, and attention over ranges of a pool.

On a GPU each is a Triton kernel or one of torch's; elsewhere it is plain torch operations, which the kernels are tested
against. Everything is computed in float32 and rounded once.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional


def _kernels_compile() -> bool:
    """Whether Triton is installed, and with it what compiles its launchers: a C compiler and Python's headers."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return find_spec("triton") is not None and compiler is not None and headers.exists()


HAS_KERNELS = _kernels_compile()
_SWIGLU_BLOCK = 1024
_MAX_KEYS = 1 << 20  # of a sequence; an upper bound that no kernel's launch depends on


def _runs_kernels(x: Tensor) -> bool:
    return x.is_cuda


def _block(size: int) -> int:
    return 1 << max(size - 1, 1).bit_length()


def _modulation(x: Tensor, modulation: Tensor) -> Tensor:
    """(R, W) for the tokens of x (R * L, W), in float32."""
    return modulation.float().repeat_interleave(x.shape[0] // modulation.shape[0], dim=0)


def rms_norm(x: Tensor, weight: Tensor, eps: float, shift: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
    """RMS norm of x (R * L, W), then `* (1 + scale) + shift` where those (R, W) are given."""
    if not _runs_kernels(x):
        found = functional.rms_norm(x.float(), (x.shape[-1],), weight.float(), eps)
        if shift is not None and scale is not None:
            found = found * (1 + _modulation(x, scale)) + _modulation(x, shift)
        return found.to(x.dtype)
    from flashu_core.model import triton_kernels

    tokens, width = x.shape
    found = torch.empty_like(x)
    modulated = shift is not None and scale is not None
    triton_kernels.rms_norm[(tokens,)](
        x,
        found,
        weight,
        shift if shift is not None else weight,
        scale if scale is not None else weight,
        width,
        tokens // shift.shape[0] if shift is not None else 1,
        shift.stride(0) if shift is not None else 0,
        eps,
        MODULATED=modulated,
        BLOCK=_block(width),
    )
    return found


def add_gated_(x: Tensor, y: Tensor, gate: Tensor) -> None:
    """`x += gate * y` for x and y (R * L, W), gate (R, W)."""
    if not _runs_kernels(x):
        x.copy_(x.float() + _modulation(x, gate) * y.float())
        return
    from flashu_core.model import triton_kernels

    tokens, width = x.shape
    triton_kernels.add_gated[(tokens,)](x, y, gate, width, tokens // gate.shape[0], gate.stride(0), BLOCK=_block(width))


def swiglu(x: Tensor) -> Tensor:
    """`silu(gate) * up` for x (T, 2 N), whose columns alternate between gate and up of each neuron: (T, N)."""
    tokens, neurons = x.shape[0], x.shape[1] // 2
    if not _runs_kernels(x):
        gate, up = x.float().unflatten(-1, (neurons, 2)).unbind(-1)
        activations: Tensor = functional.silu(gate) * up
        return activations.to(x.dtype)
    from flashu_core.model import triton_kernels

    found = torch.empty(tokens, neurons, dtype=x.dtype, device=x.device)
    triton_kernels.swiglu[(tokens, -(-neurons // _SWIGLU_BLOCK))](x, found, neurons, BLOCK=_SWIGLU_BLOCK)
    return found


def rotate_and_store(
    qkv: Tensor,
    *,
    positions: Tensor,
    rotary: tuple[Tensor, Tensor],
    keys: Tensor,
    values: Tensor,
    starts: Tensor,
    written: Tensor,
    norms: tuple[Tensor, Tensor, float] | None,
) -> Tensor:
    """Applies rotary positions to queries and keys, and stores keys and values in their sequences' ranges.

    Args:
        qkv: (R * L, (H + 2 K) * D), queries, keys and values of each token; the queries are rotated in place.
        positions: (R * L,) int32, rows of the tables `rotary`, cosines and sines (P, D / 2) in float32.
        keys, values: (S, K, D), the pool's positions of one layer.
        starts, written: (R,) int32, each row's first position in the pool, and how many positions it holds.
        norms: weights (D,) of the RMS norms of queries and of keys, and their epsilon; None for no norms.

    Returns:
        The queries, (R * L, H, D), a view of `qkv`.
    """
    shared, size = keys.shape[1:]
    tokens, rows = qkv.shape[0], written.shape[0]
    length, heads = tokens // rows, qkv.shape[1] // size - 2 * shared
    split = qkv.view(tokens, heads + 2 * shared, size)
    queries = split[:, :heads]
    if _runs_kernels(qkv):
        from flashu_core.model import triton_kernels

        triton_kernels.rotate_and_store[(tokens,)](
            qkv,
            positions,
            *rotary,
            keys,
            values,
            starts,
            written,
            norms[0] if norms else qkv,
            norms[1] if norms else qkv,
            length,
            norms[2] if norms else 0.0,
            HEADS=heads,
            SHARED=shared,
            HALF=size // 2,
            NORMED=norms is not None,
            BLOCK_HEADS=_block(heads + shared),
            BLOCK_SHARED=_block(shared),
            BLOCK_HALF=_block(size // 2),
        )
        return queries
    slots = (starts[:rows] + written)[:, None] + torch.arange(length, dtype=torch.int32)
    both = split[:, : heads + shared].float()
    if norms is not None:
        query_weight, key_weight, eps = norms
        weights = torch.cat([query_weight.expand(heads, size), key_weight.expand(shared, size)]).float()
        both = functional.rms_norm(both, (size,), eps=eps) * weights
    cosine, sine = (table[positions.long()][:, None] for table in rotary)
    first, second = both.chunk(2, dim=-1)
    turned = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1).to(qkv.dtype)
    queries.copy_(turned[:, :heads])
    keys.index_copy_(0, slots.flatten().long(), turned[:, heads:])
    values.index_copy_(0, slots.flatten().long(), split[:, heads + shared :])
    return queries


def attend(
    query: Tensor, keys: Tensor, values: Tensor, *, ends: Tensor, starts: Tensor, used: Tensor, causal: bool
) -> Tensor:
    """Attention of several sequences of equal length over their ranges of a pool.

    Args:
        query: (R * L, H, D).
        keys, values: (S, K, D).
        ends: (R + 1,) int32, where each sequence's queries begin, and where the last one's end.
        starts, used: (R + 1,) and (R,) int32, where each sequence's keys begin in the pool, and how many there are.
        causal: the last query of a sequence attends to all its keys, each one before it to one key less.

    Returns:
        (R * L, H, D)
    """
    rows = used.shape[0]
    length = query.shape[0] // rows
    if query.is_cuda:
        # Not `torch.nn.attention.varlen`: it lacks `seqused_k` in older versions. Keys need not be packed: with
        # `seqused_k` the kernel reads a sequence's own start and nothing else of the list.
        mixed: Tensor = torch.ops.aten._flash_attention_forward(  # noqa: SLF001
            query, keys, values, ends, starts, length, _MAX_KEYS, 0.0, causal, False, seqused_k=used
        )[0]
        return mixed
    found = []
    for row, (start, count) in enumerate(zip(starts.tolist(), used.tolist(), strict=False)):
        own = query[row * length : (row + 1) * length].transpose(0, 1)[None]
        key, value = (pool[start : start + count].transpose(0, 1)[None] for pool in (keys, values))
        seen = torch.ones(length, count, dtype=torch.bool).tril(count - length) if causal else None
        mixed = functional.scaled_dot_product_attention(own, key, value, attn_mask=seen, enable_gqa=True)
        found.append(mixed[0].transpose(0, 1))
    return torch.cat(found)


def channel_norm_silu(x: Tensor, gamma: Tensor, factor: float) -> Tensor:
    """`silu(x / |x| * factor * gamma)`, where |x| is the norm over each pixel's channels; x (B, C, H, W), channels-last
    on a GPU, gamma (C,)."""
    if not _runs_kernels(x):
        return functional.silu(functional.normalize(x, dim=1) * (factor * gamma.view(-1, 1, 1)))
    from flashu_core.model import triton_kernels

    x = x.contiguous(memory_format=torch.channels_last)
    found = torch.empty_like(x)
    pixels, channels, rows = x.numel() // x.shape[1], x.shape[1], 8
    triton_kernels.channel_norm_silu[(-(-pixels // rows),)](
        x, found, gamma, pixels, channels, factor, ROWS=rows, BLOCK=_block(channels)
    )
    return found
