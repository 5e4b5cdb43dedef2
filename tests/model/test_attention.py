"""Attention over cached keys against the plain masked formula, and the kernels against each other."""

from __future__ import annotations

import importlib.util
import math
import sys
from types import ModuleType
from typing import cast

import pytest
import torch
from torch import Tensor

from flashu_core.config import AttentionName, RopeScaling
from flashu_core.errors import KernelUnavailableError
from flashu_core.model.attention import attend, load_kernel, rotary, rotate, sdpa

SIZE = 8


def naive(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    """Position by position: a query sees the prefix, all of the block where it is in it, and itself and before."""
    rows, length, heads, size = query.shape
    groups, total = heads // key.shape[1], key.shape[2]
    start = total - length
    mixed = torch.zeros_like(query)
    for row in range(rows):
        for head in range(heads):
            keys, values = key[row, head // groups], value[row, head // groups]
            for position in range(length):
                seen = start + max(position + 1, block if position < block else 0)
                scores = keys[:seen] @ query[row, position, head] / math.sqrt(size)
                mixed[row, position, head] = scores.softmax(0) @ values[:seen]
    return mixed


def random_group(rows: int, length: int, prefix: int, *, heads: int, shared: int, seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(rows, length, heads, SIZE, generator=generator)
    key, value = torch.randn(2, rows, shared, prefix + length, SIZE, generator=generator)
    return query, key, value


@pytest.mark.parametrize("block", [0, 1, 4, 6, 7])
@pytest.mark.parametrize(("heads", "shared"), [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize("prefix", [0, 5])
def test_attention_is_the_masked_formula(block: int, heads: int, shared: int, prefix: int) -> None:
    query, key, value = random_group(2, 7, prefix, heads=heads, shared=shared, seed=1)
    found = attend(query, [key], [value], block=block, kernel=sdpa)
    torch.testing.assert_close(found, naive(query, key, value, block), atol=1e-5, rtol=0)


@pytest.mark.parametrize("block", [0, 3, 6])
def test_groups_of_rows_have_lengths_of_their_own(block: int) -> None:
    groups = [
        random_group(rows, 6, prefix, heads=4, shared=2, seed=prefix) for rows, prefix in ((1, 3), (2, 0), (1, 9))
    ]
    queries, keys, values = zip(*groups, strict=True)
    found = attend(torch.cat(queries), keys, values, block=block, kernel=sdpa)
    expected = torch.cat([naive(*group, block) for group in groups])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_decoded_token_sees_everything() -> None:
    query, key, value = random_group(3, 1, 11, heads=4, shared=2, seed=2)
    found = attend(query, [key], [value], block=0, kernel=sdpa)
    torch.testing.assert_close(found, naive(query, key, value, 1), atol=1e-5, rtol=0)


def test_keys_may_be_views_of_a_larger_buffer() -> None:
    query, key, value = random_group(2, 5, 4, heads=4, shared=2, seed=3)
    buffers = [torch.full((2, 2, 20, SIZE), torch.nan) for _ in range(2)]
    for buffer, content in zip(buffers, (key, value), strict=True):
        buffer[:, :, :9] = content
    views = [buffer[:, :, :9] for buffer in buffers]
    found = attend(query, views[:1], views[1:], block=5, kernel=sdpa)
    torch.testing.assert_close(found, naive(query, key, value, 5), atol=1e-5, rtol=0)


def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_starts: Tensor,
    key_starts: Tensor,
    longest_query: int,
    longest_key: int,
    *,
    causal: bool,
) -> Tensor:
    """What flash-attn's varlen function computes, as its documentation defines it, one sequence after the other."""
    assert query_starts.dtype == key_starts.dtype == torch.int32
    mixed = []
    for row in range(len(query_starts) - 1):
        q = query[query_starts[row] : query_starts[row + 1]]
        k, v = (tensor[key_starts[row] : key_starts[row + 1]] for tensor in (key, value))
        assert len(q) <= longest_query
        assert len(k) <= longest_key
        one = naive(q[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None], 0 if causal else len(q))
        mixed.append(one[0])
    return torch.cat(mixed)


@pytest.mark.parametrize("block", [0, 3, 6])
def test_rows_are_packed_for_flash_attention(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is missing, its documented function stands in: what is tested is the packing."""
    module = ModuleType("flash_attn")
    module.flash_attn_varlen_func = packed_attention  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    groups = [
        random_group(rows, 6, prefix, heads=4, shared=2, seed=prefix) for rows, prefix in ((1, 3), (2, 0), (1, 9))
    ]
    queries, keys, values = zip(*groups, strict=True)
    found = attend(torch.cat(queries), keys, values, block=block, kernel=load_kernel("flash-attn"))
    expected = attend(torch.cat(queries), keys, values, block=block, kernel=sdpa)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(KernelUnavailableError, match="no attention kernel 'magic'"):
        load_kernel(cast(AttentionName, "magic"))
    assert load_kernel("sdpa") is sdpa


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is not None, reason="flash-attn is installed")
def test_a_kernel_whose_package_is_missing_says_how_to_get_it() -> None:
    with pytest.raises(KernelUnavailableError, match=r"flashu-server\[flash\]"):
        load_kernel("flash-attn")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is None, reason="needs flash-attn")
@pytest.mark.parametrize("block", [0, 40, 100])
@pytest.mark.parametrize("prefix", [0, 33])
def test_kernels_agree(block: int, prefix: int) -> None:
    generator = torch.Generator("cuda").manual_seed(4)
    query = torch.randn(2, 100, 8, 64, device="cuda", generator=generator).bfloat16()
    key, value = torch.randn(2, 2, 2, prefix + 100, 64, device="cuda", generator=generator).bfloat16()
    flash, plain = (
        attend(query, [key], [value], block=block, kernel=load_kernel(name)) for name in ("flash-attn", "sdpa")
    )
    torch.testing.assert_close(flash, plain, atol=2e-2, rtol=0)


def test_rotations_depend_on_distance_only() -> None:
    query, key = torch.randn(2, 1, 1, 1, 16)

    def score(first: int, second: int) -> float:
        turned = [
            rotate(x, *rotary(torch.tensor([[at]]), 16, 1e4, None, torch.float32))
            for x, at in ((query, first), (key, second))
        ]
        return float((turned[0] * turned[1]).sum())

    assert score(5, 2) == pytest.approx(score(105, 102), abs=1e-4)
    assert score(5, 2) != pytest.approx(score(5, 3), abs=1e-3)


def test_a_rotation_turns_the_halves_against_each_other() -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    found = rotate(x, *rotary(torch.tensor([[1]]), 4, 100.0, None, torch.float32)).flatten()
    slow = 0.1  # 100 ** -(2 / 4)
    expected = [
        math.cos(1) - 3 * math.sin(1),
        2 * math.cos(slow) - 4 * math.sin(slow),
        3 * math.cos(1) + math.sin(1),
        4 * math.cos(slow) + 2 * math.sin(slow),
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_low_frequencies_are_stretched_and_high_ones_kept() -> None:
    scaling = RopeScaling(factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_positions=64)
    positions = torch.tensor([[1]])
    plain = torch.atan2(*reversed(rotary(positions, 32, 1e4, None, torch.float64))).flatten()
    found = torch.atan2(*reversed(rotary(positions, 32, 1e4, scaling, torch.float64))).flatten()
    turns = 64 * plain / (2 * math.pi)
    torch.testing.assert_close(found[turns > 4], plain[turns > 4])
    torch.testing.assert_close(found[turns < 1], plain[turns < 1] / 32)
    between = (turns > 1) & (turns < 4)
    assert between.any()
    assert ((found < plain) & (found > plain / 32))[between].all()
