"""The gated feed-forward network of both decoders."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from flashu_core.model.pass_options import Neurons
from flashu_core.model.projection import Projection, project, project_columns


class GatedFFN(nn.Module):
    """SwiGLU: `ffn_size` neurons, each a row of gate and up and a column of down. Upstream: Qwen2MLP."""

    def __init__(self, width: int, ffn_size: int) -> None:
        super().__init__()
        self.gate_proj = Projection(width, ffn_size, bias=False)
        self.up_proj = Projection(width, ffn_size, bias=False)
        self.down_proj = Projection(ffn_size, width, bias=False)

    def activations(self, x: Tensor, neurons: Neurons = None) -> Tensor:
        """Activations of the given neurons, (..., neurons), for x (..., width)."""
        if neurons is None:
            return functional.silu(self.gate_proj(x)) * self.up_proj(x)
        gate, up = self.gate_proj.weight[neurons], self.up_proj.weight[neurons]
        return functional.silu(project(x, gate)) * project(x, up)

    def forward(self, x: Tensor, neurons: Neurons = None) -> Tensor:
        """x (..., width) through the given neurons, (..., width)."""
        activations = self.activations(x, neurons)
        if neurons is None:
            # Calls the module, not its weight: calibration has a forward hook on it.
            return self.down_proj(activations)
        return project_columns(activations, self.down_proj.weight, neurons)
