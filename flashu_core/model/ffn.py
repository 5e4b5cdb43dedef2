"""The gated feed-forward network of both decoders."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class GatedFFN(nn.Module):
    """SwiGLU: `ffn_size` neurons, each a row of gate and up and a column of down. Upstream: Qwen2MLP."""

    def __init__(self, width: int, ffn_size: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, ffn_size, bias=False)
        self.up_proj = nn.Linear(width, ffn_size, bias=False)
        self.down_proj = nn.Linear(ffn_size, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
