from __future__ import annotations

import torch
from torch import Tensor

from flashu_core.model.cuda_graphs import Buffers, Calls, Captures

CPU = torch.device("cpu")


def test_a_buffer_stays_where_it_is() -> None:
    buffers = Buffers(CPU)
    first = buffers.get("x", (2, 3), torch.float32)
    assert not bool(first.any())
    assert buffers.like("x", torch.ones(2, 3)).data_ptr() == first.data_ptr()
    assert bool(first.all())
    assert buffers.get("x", (3, 2), torch.float32).data_ptr() != first.data_ptr()
    assert buffers.get("y", (2, 3), torch.float32).data_ptr() != first.data_ptr()


def test_a_call_s_inputs_and_results_stay_where_they_are() -> None:
    calls, seen = Calls(Captures(CPU), Buffers(CPU)), set()

    def double(x: Tensor) -> tuple[Tensor]:
        seen.add(x.data_ptr())
        return (2 * x,)

    found = [calls("double", double, torch.full((4,), float(value)))[0] for value in (1, 2)]
    assert found[0] is found[1]
    assert found[1].tolist() == [4.0] * 4
    assert len(seen) == 1
    calls("double", double, torch.ones(5))
    assert len(seen) == 2


def test_where_nothing_is_captured_work_just_runs() -> None:
    captures, runs = Captures(CPU), []

    def work() -> int:
        runs.append(1)
        return len(runs)

    assert [captures.run("one", work) for _ in range(3)] == [1, 2, 3]
    assert len(captures) == 0
