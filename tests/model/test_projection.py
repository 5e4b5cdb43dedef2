"""Few rows or many, whole weights or slices: always what torch's own linear map gives."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from flashu_core.model.projection import FEW_ROWS, Projection, project, project_columns
from flashu_core.model.sampler import noise


@pytest.mark.parametrize("shape", [(32,), (1, 32), (1, 1, 32), (2, 3, 32), (FEW_ROWS, 1, 32), (FEW_ROWS + 1, 32)])
@pytest.mark.parametrize("size", [16, 48, 50])
@pytest.mark.parametrize("biased", [False, True])
def test_it_is_the_linear_map(shape: tuple[int, ...], size: int, biased: bool) -> None:
    x, weight = noise(1, shape), noise(2, (size, 32))
    bias = noise(3, (size,)) if biased else None
    found = project(x, weight, bias)
    torch.testing.assert_close(found, functional.linear(x, weight, bias), atol=1e-5, rtol=1e-5)
    assert found.shape == (*shape[:-1], size)


def test_rows_of_the_weights_may_be_a_view() -> None:
    x, weight = noise(1, (3, 32)), noise(2, (96, 32))[16:80]
    torch.testing.assert_close(project(x, weight), functional.linear(x, weight), atol=1e-5, rtol=1e-5)


def test_what_is_not_contiguous_is_mapped_too() -> None:
    x = noise(1, (32, 4)).T
    weight = noise(2, (48, 64))[:, ::2]
    torch.testing.assert_close(project(x, weight), functional.linear(x, weight), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 3, FEW_ROWS + 1])
@pytest.mark.parametrize("columns", [slice(8, 40), slice(0, 64), slice(24, 64), torch.tensor([3, 5, 60, 7])])
def test_some_columns_are_mapped_alone(rows: int, columns: slice | torch.Tensor) -> None:
    weight = noise(2, (48, 64))
    x = noise(1, (rows, 1, weight[:, columns].shape[1]))
    found = project_columns(x, weight, columns)
    torch.testing.assert_close(found, functional.linear(x, weight[:, columns]), atol=1e-5, rtol=1e-5)


def test_other_types_keep_their_type() -> None:
    layer = Projection(32, 16).bfloat16()
    assert layer(torch.ones(1, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert layer.to("meta")(torch.ones(1, 32, device="meta", dtype=torch.bfloat16)).shape == (1, 16)


def test_gradients_flow_through_few_rows() -> None:
    layer, x = Projection(32, 16), noise(1, (2, 32)).requires_grad_()
    layer(x).square().sum().backward()
    own = x.grad
    assert own is not None
    x.grad = None
    functional.linear(x, layer.weight, layer.bias).square().sum().backward()
    torch.testing.assert_close(own, x.grad, atol=1e-5, rtol=1e-5)
