"""Attention over cached prefixes: one `attend()` over several kernels, and rotary positions.

No kernel needs a mask over an image block: its tokens attend to the whole prefix and the whole block. Only the text
after it is causal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional

from flashu_core.config import AttentionName, RopeScaling
from flashu_core.errors import KernelUnavailableError

# (query (R, L, H, D), keys, values, causal) -> (R, L, H, D), keys and values as `attend` takes them; causal queries are
# aligned so that the last one attends to every key.
Kernel = Callable[[Tensor, Sequence[Tensor], Sequence[Tensor], bool], Tensor]


def attend(query: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], *, block: int, kernel: Kernel) -> Tensor:
    """Attention of several rows over keys of different lengths.

    Args:
        query: (R, L, H, D), the last L positions of each row.
        keys, values: for each group of consecutive rows that share a length, (rows, K, S, D), own positions included.
        block: the first `block` of the L positions attend to each other fully; those after them are causal.
        kernel: the attention kernel.

    Returns:
        (R, L, H, D)
    """
    after = query.shape[1] - block
    if after <= 0:
        return kernel(query, keys, values, False)
    text = kernel(query[:, block:], keys, values, True)
    if block == 0:
        return text
    keys, values = [key[:, :, :-after] for key in keys], [value[:, :, :-after] for value in values]
    return torch.cat([kernel(query[:, :block], keys, values, False), text], dim=1)


def sdpa(query: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], causal: bool) -> Tensor:
    """torch's scaled dot-product attention, once for each group of rows."""
    parts = query.split([key.shape[0] for key in keys])
    mixed = [_sdpa_group(*group, causal) for group in zip(parts, keys, values, strict=True)]
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


def _sdpa_group(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    """Folds the query heads that share a key-value head into the query's length, so that grouped heads need no copies
    of keys: without a mask every query is independent of the others."""
    rows, length, heads, size = query.shape
    shared, total = key.shape[1], key.shape[2]
    groups = heads // shared
    folded = query.view(rows, length, shared, groups, size).permute(0, 2, 3, 1, 4).reshape(rows, shared, -1, size)
    mask = None
    if causal and length > 1:
        seen = torch.ones(length, total, dtype=torch.bool, device=query.device).tril(total - length)
        mask = seen.repeat(groups, 1)
    mixed = functional.scaled_dot_product_attention(folded, key, value, attn_mask=mask)
    return mixed.view(rows, shared, groups, length, size).permute(0, 3, 1, 2, 4).reshape(rows, length, heads, size)


def _load_flash_attention() -> Kernel:
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError as error:
        raise KernelUnavailableError(
            "attention 'flash-attn' needs the package flash-attn (pip install 'flashu-server[flash]'); use 'sdpa'"
        ) from error

    def flash(query: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], causal: bool) -> Tensor:
        """All rows in one call, packed one after the other, of any lengths."""
        rows, length = query.shape[:2]
        totals = [key.shape[2] for key in keys for _ in range(key.shape[0])]
        packed: Tensor = flash_attn_varlen_func(
            query.flatten(0, 1),
            torch.cat([key.transpose(1, 2).flatten(0, 1) for key in keys]),
            torch.cat([value.transpose(1, 2).flatten(0, 1) for value in values]),
            torch.arange(0, (rows + 1) * length, length, dtype=torch.int32, device=query.device),
            torch.tensor([0, *accumulate(totals)], dtype=torch.int32, device=query.device),
            length,
            max(totals),
            causal=causal,
        )
        return packed.view(rows, length, *packed.shape[1:])

    return flash


def load_kernel(name: AttentionName) -> Kernel:
    """The kernel of that name.

    Raises:
        KernelUnavailableError: its package is missing, or there is no such kernel.
    """
    if name == "sdpa":
        return sdpa
    if name == "flash-attn":
        return _load_flash_attention()
    raise KernelUnavailableError(f"there is no attention kernel {name!r}; use 'sdpa' or 'flash-attn'")


def rotary(
    positions: Tensor, head_size: int, theta: float, scaling: RopeScaling | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions.

    Args:
        positions: (R, L) integers.
        head_size: width of an attention head.
        theta: base of the frequencies.
        scaling: Llama 3's frequency scaling, or None.
        dtype: of the result; angles are computed in float32.

    Returns:
        Two tensors (R, L, 1, head_size / 2).
    """
    exponents = torch.arange(0, head_size, 2, dtype=torch.float32, device=positions.device) / head_size
    frequencies = theta**-exponents
    if scaling is not None:
        frequencies = _stretched(frequencies, scaling)
    angles = positions.float()[..., None, None] * frequencies
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _stretched(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    wavelengths = 2 * math.pi / frequencies
    turns = scaling.original_positions / wavelengths
    smooth = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    smooth = smooth.clamp(0, 1)
    return frequencies * (smooth + (1 - smooth) / scaling.factor)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Applies rotary positions to queries or keys (R, L, heads, D); the two halves of D are rotated as pairs."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
