"""The kernels, by Triton's interpreter on a CPU, against the same in torch's operations."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flashu_core.model import fused_ops as fused

pytest.importorskip("triton", reason="kernels run on Linux only, where triton is")


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Tensor]], None]:
    """Compares what a call returns by kernels and without."""

    def compare(call: Callable[[], Tensor]) -> None:
        wanted = call()
        with monkeypatch.context() as patch:
            patch.setattr(fused, "_runs_kernels", lambda _: True)
            found = call()
        assert found.dtype == wanted.dtype
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)

    return compare


def test_rms_norm(both: Callable[[Callable[[], Tensor]], None]) -> None:
    x, weight = torch.randn(10, 48) * 3, torch.randn(48)
    both(lambda: fused.rms_norm(x, weight, 1e-6))
    modulation = torch.randn(2, 6 * 48)
    shift, scale = modulation.chunk(6, dim=-1)[1:3]
    both(lambda: fused.rms_norm(x, weight, 1e-6, shift, scale))


def test_add_gated(both: Callable[[Callable[[], Tensor]], None]) -> None:
    x, y, gate = torch.randn(10, 48), torch.randn(10, 48), torch.randn(2, 6 * 48).chunk(6, dim=-1)[4]

    def call() -> Tensor:
        own = x.clone()
        fused.add_gated_(own, y, gate)
        return own

    both(call)


@pytest.mark.parametrize("neurons", [100, 1024, 1500])
def test_swiglu(both: Callable[[Callable[[], Tensor]], None], neurons: int) -> None:
    x = torch.randn(3, 2 * neurons)
    both(lambda: fused.swiglu(x))


@pytest.mark.parametrize("normed", [False, True], ids=["plain", "normed"])
@pytest.mark.parametrize(("heads", "shared", "size"), [(4, 2, 16), (3, 1, 24), (12, 2, 128)])
def test_rotate_and_store(
    both: Callable[[Callable[[], Tensor]], None], heads: int, shared: int, size: int, normed: bool
) -> None:
    rows, length = 2, 5
    qkv = torch.randn(rows * length, (heads + 2 * shared) * size)
    angles = torch.rand(64, size // 2)
    norms = (torch.randn(size), torch.randn(size), 1e-6) if normed else None

    def call() -> Tensor:
        own, pool = qkv.clone(), torch.zeros(2, 40, shared, size)
        queries = fused.rotate_and_store(
            own,
            positions=torch.arange(10, dtype=torch.int32),
            rotary=(angles.cos(), angles.sin()),
            keys=pool[0],
            values=pool[1],
            starts=torch.tensor([20, 0, 0], dtype=torch.int32),
            written=torch.tensor([3, 7], dtype=torch.int32),
            norms=norms,
        )
        assert bool(pool[:, 23:28].any()) and bool(pool[:, 7:12].any()) and not bool(pool[:, 12:23].any())
        return torch.cat([queries.flatten(), pool.flatten()])

    both(call)


@pytest.mark.parametrize("channels", [96, 20])
def test_channel_norm_silu(both: Callable[[Callable[[], Tensor]], None], channels: int) -> None:
    x, gamma = torch.randn(2, channels, 3, 5), torch.randn(channels)
    both(lambda: fused.channel_norm_silu(x, gamma, channels**0.5))


def test_attention_is_that_of_each_sequence_alone() -> None:
    keys, values = torch.randn(2, 50, 2, 8)
    query = torch.randn(2 * 3, 4, 8)
    ends, starts, used = (torch.tensor(one, dtype=torch.int32) for one in ([0, 3, 6], [30, 2, 0], [7, 20]))
    found = fused.attend(query, keys, values, ends=ends, starts=starts, used=used, causal=True)
    for row, (start, count) in enumerate(((30, 7), (2, 20))):
        for place in range(3):
            seen = count - 2 + place
            key, value = (pool[start : start + seen].repeat_interleave(2, dim=1) for pool in (keys, values))
            weights = torch.einsum("hd,shd->hs", query[row * 3 + place], key).mul(8**-0.5).softmax(dim=-1)
            wanted = torch.einsum("hs,shd->hd", weights, value)
            torch.testing.assert_close(found[row * 3 + place], wanted, atol=1e-5, rtol=1e-5)
