"""Muon (Jordan et al., 2024) for the matrices of a model: momentum whose update is made nearly orthogonal.

Matrices of one shape are orthogonalised together and in the gradients' own type. Torch's Muon takes them one by one in
bfloat16, which is some 70 times slower on a CPU without bfloat16 instructions.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

# The quintic's coefficients and the number of its rounds are those of Muon's publication.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ROUNDS = 5


def orthogonalised(matrices: Tensor) -> Tensor:
    """Matrices (K, rows, columns) with all singular values brought near 1 (0.7 to 1.2), by Newton-Schulz rounds."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, with decoupled weight decay.

    Args:
        parameters: matrices only.
        lr: the rate; a matrix taller than wide moves by sqrt(rows / columns) of it.
        weight_decay: share of the weights, times the rate, that each step takes away.
        momentum: of the gradient's moving average.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes[matrix.shape].append(matrix)
            for shape, matrices in shapes.items():
                buffers = [self._buffer(matrix) for matrix in matrices]
                gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
                torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
                gradient, average = torch.stack(gradients), torch.stack(buffers)
                update = orthogonalised(gradient.lerp(average, group["momentum"]))
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                rate = group["lr"] * math.sqrt(max(1.0, shape[0] / shape[1]))
                torch._foreach_add_(matrices, list(update.unbind()), alpha=-rate)
        return loss

    def _buffer(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        buffer: Tensor = state["momentum_buffer"]
        return buffer
