from __future__ import annotations

import gc

import pytest
import torch

from flashu_core.model.kv_pool import PADDING, KeyValuePool, PooledCache


@pytest.fixture
def pool() -> KeyValuePool:
    return KeyValuePool(
        positions=10 * (PADDING + 8), layers=2, heads=2, head_size=4, dtype=torch.float32, device=torch.device("cpu")
    )


def test_caches_have_ranges_of_their_own_and_give_them_back(pool: KeyValuePool) -> None:
    caches = [pool.cache(2, 8) for _ in range(5)]
    assert all(isinstance(cache, PooledCache) for cache in caches)
    starts = [start for cache in caches if isinstance(cache, PooledCache) for start in cache.starts]
    assert sorted(starts) == [row * (PADDING + 8) for row in range(10)]
    assert not isinstance(pool.cache(1, 8), PooledCache)
    del caches[1:3]
    gc.collect()
    assert isinstance(pool.cache(4, 8), PooledCache)  # two neighbours' ranges are one again


def test_what_is_written_lies_where_the_pool_says(pool: KeyValuePool) -> None:
    cache = pool.cache(2, 8)
    assert isinstance(cache, PooledCache)
    keys, values = torch.randn(2, 2, 3, 4), torch.randn(2, 2, 3, 4)
    cache.extend(1, keys, values)
    for row, start in enumerate(cache.starts):
        assert torch.equal(pool.storage[1, 0, start : start + 3], keys[row].transpose(0, 1))
        assert torch.equal(pool.storage[1, 1, start : start + 3], values[row].transpose(0, 1))


def test_a_fork_holds_what_its_prefix_held(pool: KeyValuePool) -> None:
    cache = pool.cache(1, 8)
    for layer in range(2):
        cache.extend(layer, torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4))
    cache.keep(5)
    fork = cache.fork(rows=3, capacity=8)
    assert isinstance(fork, PooledCache)
    assert (fork.rows, fork.length) == (3, 5)
    for layer in range(2):
        for row in range(3):
            assert torch.equal(fork.keys[layer][row, :, :5], cache.keys[layer][0, :, :5])
            assert torch.equal(fork.values[layer][row, :, :5], cache.values[layer][0, :, :5])
