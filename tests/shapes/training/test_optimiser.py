from __future__ import annotations

import pytest
import torch
from torch import nn

from shapes.training.optimiser import MovingAverage, Optimiser, warm_cosine, warm_flat_fall


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 1))


def test_matrices_go_to_muon_and_the_rest_to_adam() -> None:
    optimiser = Optimiser(model(), matrix_rate=0.01, rate=0.01, plain=("1.",))
    assert optimiser.muon is not None
    assert [p.shape for p in optimiser.muon.param_groups[0]["params"]] == [(8, 8)]
    assert sorted(tuple(p.shape) for p in optimiser.adam.param_groups[0]["params"]) == [(1,), (1, 8), (8,)]


def test_both_learn_and_resume() -> None:
    net = model()
    optimiser = Optimiser(net, matrix_rate=0.02, rate=0.02, plain=("1.",))
    x, y = torch.randn(64, 8), torch.randn(64, 1)
    losses = []
    for _ in range(30):
        loss = (net(x) - y).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(1.0)
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    other = Optimiser(model(), matrix_rate=0.02, rate=0.02, plain=("1.",))
    other.load_state_dict(optimiser.state_dict())
    assert other.adam.state_dict()["state"][0]["step"] == 30


@pytest.mark.parametrize("schedule", [warm_cosine, warm_flat_fall])
def test_schedules_rise_and_fall(schedule: object) -> None:
    assert callable(schedule)
    assert schedule(0.0) == 0.0
    assert schedule(0.05) == pytest.approx(1.0, abs=0.01)
    assert schedule(1.0) <= 0.02
    assert schedule(1.5) <= 0.02


def test_the_average_follows_and_forgets_its_start() -> None:
    net = nn.Linear(1, 1, bias=False)
    average = MovingAverage(net, 0.99)
    with torch.no_grad():
        net.weight.fill_(5.0)
    for _ in range(100):
        average.update(net)
    assert average.model.weight.item() == pytest.approx(5.0, abs=0.01)
