"""Modules with random weights, made on their device, without a file or a copy elsewhere.

Their standard deviations keep activations of a deep network in range, so that two implementations can be compared. Such
a model generates noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def on_meta(build: Callable[[], Module], dtype: torch.dtype) -> Module:
    """A module on the meta device, for counting or as a placeholder."""
    with torch.device("meta"):
        module = build()
    return module.to(dtype).requires_grad_(False).eval()


def random_module(
    build: Callable[[], Module], *, dtype: torch.dtype, device: torch.device | str = "cpu", seed: int = 0
) -> Module:
    """A module with random weights, ready for inference.

    Args:
        build: makes it; runs on the meta device.
        dtype, device: of its weights.
        seed: the same weights for the same seed, device type and dtype.
    """
    module = on_meta(build, dtype)
    generator = torch.Generator(device).manual_seed(seed)
    made: dict[nn.Parameter, nn.Parameter] = {}
    state: dict[str, torch.Tensor] = {}
    for name, placeholder in module.named_parameters(remove_duplicate=False):
        if placeholder not in made:  # a tied parameter has several names and stays one
            tensor = torch.empty(placeholder.shape, dtype=dtype, device=device)
            made[placeholder] = nn.Parameter(_fill(tensor, name, generator), requires_grad=False)
        state[name] = made[placeholder]
    module.load_state_dict(state, strict=True, assign=True)
    return module


def _fill(tensor: torch.Tensor, name: str, generator: torch.Generator) -> torch.Tensor:
    last = name.rpartition(".")[2]
    if last == "bias":
        return tensor.normal_(0.0, 0.02, generator=generator)
    if last == "gamma" or tensor.dim() == 1:  # the scales of norms
        return tensor.normal_(1.0, 0.1, generator=generator)
    if "embed_tokens" in name or "position_embedding" in name:
        return tensor.normal_(0.0, tensor.shape[-1] ** -0.5, generator=generator)
    return tensor.normal_(0.0, (tensor.numel() // tensor.shape[0]) ** -0.5, generator=generator)
