"""What a cache keeps, overwrites and copies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flashu_core.model.kv_cache import KeyValueCache

LAYERS, HEADS, SIZE = 2, 3, 4


def empty(rows: int = 1, capacity: int = 10) -> KeyValueCache:
    return KeyValueCache.empty(
        layers=LAYERS,
        rows=rows,
        heads=HEADS,
        capacity=capacity,
        head_size=SIZE,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )


def write(cache: KeyValueCache, positions: int) -> list[tuple[Tensor, Tensor]]:
    """Random keys and values into every layer; what each layer then attends to."""
    return [cache.extend(layer, *torch.randn(2, cache.rows, HEADS, positions, SIZE)) for layer in range(LAYERS)]


def test_a_new_cache_is_empty() -> None:
    cache = empty(rows=2)
    assert (cache.rows, cache.capacity, cache.length) == (2, 10, 0)


def test_written_positions_follow_the_kept_ones() -> None:
    cache = empty()
    first = torch.randn(2, 1, HEADS, 3, SIZE)
    cache.extend(0, *first)
    cache.keep(3)
    second = torch.randn(2, 1, HEADS, 2, SIZE)
    keys, values = cache.extend(0, *second)
    assert torch.equal(keys, torch.cat([first[0], second[0]], dim=2))
    assert torch.equal(values, torch.cat([first[1], second[1]], dim=2))


def test_what_is_not_kept_is_overwritten() -> None:
    cache = empty()
    write(cache, 3)
    cache.keep(3)
    write(cache, 4)
    again = torch.randn(2, 1, HEADS, 4, SIZE)
    keys, _ = cache.extend(1, *again)
    assert keys.shape[2] == 7
    assert torch.equal(keys[:, :, 3:], again[0])
    assert cache.length == 3


def test_layers_do_not_share() -> None:
    cache = empty()
    (first, _), (second, _) = write(cache, 5)
    assert not torch.equal(first, second)


def test_a_fork_repeats_the_row_and_has_free_positions() -> None:
    cache = empty(capacity=4)
    seen = write(cache, 4)
    cache.keep(4)
    copy = cache.fork(rows=3, capacity=9)
    assert (copy.rows, copy.capacity, copy.length) == (3, 9, 4)
    for layer, (keys, values) in enumerate(seen):
        assert torch.equal(copy.keys[layer][:, :, :4], keys.expand(3, -1, -1, -1))
        assert torch.equal(copy.values[layer][:, :, :4], values.expand(3, -1, -1, -1))


def test_a_fork_and_its_origin_do_not_touch_each_other() -> None:
    cache = empty(capacity=4)
    write(cache, 4)
    cache.keep(4)
    before = torch.stack(cache.keys)
    copy = cache.fork(rows=2, capacity=6)
    kept = torch.stack(copy.keys)[:, :, :, :4]
    write(copy, 2)
    copy.keep(2)
    assert cache.length == 4
    assert torch.equal(torch.stack(cache.keys), before)
    for keys in cache.keys:
        keys.zero_()
    assert torch.equal(torch.stack(copy.keys)[:, :, :, :4], kept)


def test_writing_beyond_the_capacity_fails() -> None:
    cache = empty(capacity=4)
    write(cache, 3)
    cache.keep(3)
    with pytest.raises(RuntimeError):
        write(cache, 2)


def test_layers_behind_a_drop_hold_less() -> None:
    cache = KeyValueCache.empty(
        layers=2, rows=1, heads=HEADS, capacity=(9, 7), head_size=SIZE, dtype=torch.float32, device=torch.device("cpu")
    )
    first, second = torch.randn(2, 1, HEADS, 6, SIZE), torch.randn(2, 1, HEADS, 4, SIZE)
    cache.extend(0, *first)
    cache.extend(1, *second)
    cache.drop(1, 2)
    cache.keep(6)
    assert (cache.length, cache.dropped) == (6, [0, 2])
    more = torch.randn(2, 1, HEADS, 3, SIZE)
    assert torch.equal(cache.extend(0, *more)[0], torch.cat([first[0], more[0]], dim=2))
    assert torch.equal(cache.extend(1, *more)[1], torch.cat([second[1], more[1]], dim=2))
