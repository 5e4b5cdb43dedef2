"""Muon on the hidden matrices, AdamW on everything else, one schedule for both, and the moving average that ships."""

from __future__ import annotations

import copy
import math
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from shapes.training.muon import Muon


class Optimiser:
    """Both optimisers as one.

    Args:
        model: what is trained; 2-D weights of its blocks go to Muon, the rest (embeddings, norms, biases, convolutions,
            first and last layers named in `plain`) to AdamW.
        matrix_rate: Muon's peak learning rate.
        rate: AdamW's peak learning rate.
        plain: substrings of names whose matrices AdamW takes.
    """

    def __init__(
        self, model: nn.Module, *, matrix_rate: float, rate: float, plain: tuple[str, ...], decay: float = 0.01
    ) -> None:
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            is_matrix = parameter.dim() == 2 and not any(part in name for part in plain)
            (matrices if is_matrix else others).append(parameter)
        self.adam = torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=decay)
        self.muon = Muon(matrices, lr=matrix_rate, weight_decay=decay) if matrices else None
        self.peaks = (matrix_rate, rate)

    def step(self, scale: float) -> None:
        """One update at `scale` times the peak rates; clears the gradients."""
        for optimiser, peak in ((self.muon, self.peaks[0]), (self.adam, self.peaks[1])):
            if optimiser is None:
                continue
            for group in optimiser.param_groups:
                group["lr"] = peak * scale
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """For resuming."""
        return {"adam": self.adam.state_dict(), "muon": self.muon.state_dict() if self.muon else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The counterpart of `state_dict`."""
        self.adam.load_state_dict(state["adam"])
        if self.muon is not None:
            self.muon.load_state_dict(state["muon"])


def warm_cosine(done: float, *, warm: float = 0.02, floor: float = 0.02) -> float:
    """Learning-rate scale after the share `done` of the run: a linear rise, then half a cosine down to `floor`."""
    if done < warm:
        return done / warm
    share = min((done - warm) / (1 - warm), 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


def warm_flat_fall(done: float, *, warm: float = 0.01, fall: float = 0.45) -> float:
    """Learning-rate scale that rises, stays, and falls over the last share `fall` of the run.

    It falls as 1 - sqrt (Hägele et al., 2024), fast at first: what the noise of a high rate hides, such as which place
    belongs to which thing, is learned at the low ones.
    """
    if done < warm:
        return done / warm
    return 1.0 - math.sqrt(min(max(done - (1 - fall), 0.0) / fall, 1.0))


M = TypeVar("M", bound=nn.Module)


class MovingAverage(Generic[M]):
    """An exponential moving average of a model's weights, in float32."""

    def __init__(self, model: M, decay: float) -> None:
        self.decay = decay
        self.model: M = copy.deepcopy(model).requires_grad_(False).eval()
        self.updates = 0

    @torch.no_grad()
    def update(self, model: M) -> None:
        """Moves towards `model`; early updates move faster so that the start is forgotten."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        theirs: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(list(self.model.parameters()), theirs, 1 - decay)
