"""The arithmetic that training runs in: bfloat16 where the device multiplies it fast, else float32."""

from __future__ import annotations

import torch

from flashu_core.checkpoint.load import choose_dtype


def mixed(device: torch.device) -> torch.autocast:
    """Mixed precision where it pays: a CPU without bfloat16 instructions takes 70 times as long over such a product."""
    return torch.autocast(device.type, torch.bfloat16, enabled=choose_dtype("auto", device) is torch.bfloat16)
