"""Whether a loaded checkpoint runs as CUDA graphs of fused layers, and with how much memory for keys and values."""

from __future__ import annotations

import logging

import torch

from flashu_core.checkpoint.load import Checkpoint
from flashu_core.model import fused_ops as fused
from flashu_core.model import graphed, vae

_log = logging.getLogger(__name__)
_MAX_SHARE_OF_FREE = 0.5  # the rest is for what passes compute
_PADDED = 1.1  # a range of the pool is that much longer than what a request holds of it


def use_graphs(checkpoint: Checkpoint, cache_bytes: int) -> bool:
    """Has model and autoencoder run as graphs, where that is possible; returns whether they do.

    It takes a GPU, half precision (which torch's flash attention is for), and a C compiler with Python's headers, which
    Triton needs. Keys and values beyond the pool's room still run, without graphs.

    Args:
        cache_bytes: of keys and values of all requests that run at once; at most half of the free memory is taken.
    """
    model = checkpoint.model
    if model.device.type != "cuda" or model.dtype not in (torch.bfloat16, torch.float16):
        return False
    if not fused.HAS_KERNELS:
        _log.warning(
            "no CUDA graphs and no fused kernels, which cost two thirds of the time: Triton needs a C compiler and "
            "Python's headers; install gcc and python3-dev"
        )
        return False
    free, _ = torch.cuda.mem_get_info(model.device)
    graphed.use_graphs(model, int(min(cache_bytes * _PADDED, free * _MAX_SHARE_OF_FREE)))
    vae.use_graphs(checkpoint.vae)
    return True
