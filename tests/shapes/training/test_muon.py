from __future__ import annotations

import pytest
import torch
from torch import nn

from shapes.training.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 48, 16), (4, 16, 64)])
def test_singular_values_come_near_one(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = torch.linalg.svdvals(orthogonalised(matrices))
    assert found.min() > 0.3
    assert found.max() < 1.3
    assert torch.linalg.svdvals(matrices).max() > 3


def test_it_agrees_with_torchs_own_up_to_bfloat16() -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(24, 16)) for _ in range(2)]
    theirs = [nn.Parameter(matrix.detach().clone()) for matrix in ours]
    steps = Muon(ours, lr=0.02, weight_decay=0.01), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.01)
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimiser in steps:
            optimiser.step()  # type: ignore[no-untyped-call]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=0)


def test_a_matrix_without_a_gradient_stays() -> None:
    still, moved = nn.Parameter(torch.ones(8, 8)), nn.Parameter(torch.ones(8, 8))
    moved.grad = torch.eye(8)
    Muon([still, moved], lr=0.1).step()
    assert torch.equal(still, torch.ones(8, 8))
    assert not torch.equal(moved, torch.ones(8, 8))
