"""Weights: reads tensor files, checks them against a module, casts and assigns them."""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from flashu_core.errors import CheckpointError

# Prefixes of our modules and of the published names, the longer of two nested ones first; time_embed* are equal.
_PREFIXES = (
    ("backbone.lm_head.", "showo.lm_head."),
    ("backbone.", "showo.model."),
    ("vision.layers.", "und_trans.layers."),
    ("vision.", ""),
    ("head.diff_proj.", "diff_proj."),
    ("head.blocks.", "diffusion_head_a."),
    ("head.final.", "diffusion_head_b."),
)
# Tables derived from the configuration, which older versions of the upstream code stored beside the weights.
_DERIVED = re.compile(r"(^|\.)(rotary_emb\.inv_freq|position_ids|image_position_ids)$")
_NAMED = 3
_CHUNK = 1 << 20
# What torch's readers raise for damaged files, found by feeding them some.
_DAMAGED = (
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    struct.error,
)


class Stored(NamedTuple):
    """A tensor and the file it came from."""

    tensor: Tensor
    path: Path


def published_name(name: str) -> str:
    """The name on disk of one of `Showo2`'s parameters."""
    for own, published in _PREFIXES:
        if name.startswith(own):
            return published + name.removeprefix(own)
    return name


def same_name(name: str) -> str:
    """The naming of files whose tensors have the names of their module's parameters."""
    return name


def read_tensors(paths: Sequence[Path]) -> dict[str, Stored]:
    """Maps tensor files into memory; pages are read when a tensor is used.

    Args:
        paths: `.safetensors` files, or torch's own with a plain state dict. No code in them is run.

    Raises:
        CheckpointError: a file is missing or damaged, holds anything but tensors, or repeats another file's tensor.
    """
    tensors: dict[str, Stored] = {}
    for path in paths:
        found = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
        for name, tensor in found.items():
            if name in tensors:
                raise CheckpointError(f"{path} and {tensors[name].path} both hold {name!r}; remove the stale file")
            tensors[name] = Stored(tensor, path)
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    except (SafetensorError, *_DAMAGED) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file ({error}); fetch it again") from error


def _read_pickled(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
        # Files from before torch 1.6 are not zip archives and cannot be mapped.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        # Without torch's own message, which advises to switch the protection off.
        raise CheckpointError(
            f"{path} is refused: it is damaged, or holds objects besides tensors, whose loading could run code; "
            "use a file with a plain state dict"
        ) from error
    except _DAMAGED as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} is not a readable torch file ({reason}); fetch it again") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; it must be a plain state dict")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"{path} holds a {type(tensor).__name__} under {name!r}; it must be a plain state dict of tensors"
            )
        if tensor.layout is not torch.strided or tensor.is_meta:
            raise CheckpointError(f"{path} holds {name!r} without its values or as {tensor.layout}; store it densely")
    return dict(content)


def check(module: nn.Module, stored: Mapping[str, Stored], where: object, naming: Callable[[str], str]) -> None:
    """Compares names and shapes of tensors with a module's parameters, before anything is copied.

    Args:
        module: usually on the meta device.
        stored: the files' tensors. A tied parameter may be stored under all its names; the first one counts.
        where: name of the checkpoint in errors.
        naming: maps a parameter's name to its name on disk.

    Raises:
        CheckpointError: tensors are missing, unexpected, or of another shape or type; names the first few of each.
    """
    required = {naming(name): parameter for name, parameter in module.named_parameters()}
    known = {naming(name): parameter for name, parameter in module.named_parameters(remove_duplicate=False)}
    problems = []
    if missing := [name for name in required if name not in stored]:
        problems.append(f"missing {_some(missing)}")
    if unexpected := [name for name in stored if name not in known and not _DERIVED.search(name)]:
        problems.append(f"not part of this model: {_some(unexpected)}")
    unfit = [
        f"{name} in {stored[name].path.name} is {_describe(stored[name].tensor)} instead of {list(parameter.shape)}"
        for name, parameter in known.items()
        if name in stored and not _fits(stored[name].tensor, parameter)
    ]
    if unfit:
        problems.append(_some(unfit))
    if problems:
        raise CheckpointError(f"the weights in {where} do not fit the configuration: {'; '.join(problems)}")


def _fits(tensor: Tensor, parameter: Tensor) -> bool:
    return tensor.shape == parameter.shape and tensor.is_floating_point()


def _describe(tensor: Tensor) -> str:
    return f"{list(tensor.shape)}" if tensor.is_floating_point() else f"{list(tensor.shape)} of {tensor.dtype}"


def _some(names: Iterable[str]) -> str:
    every = list(names)
    rest = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + rest


def assign(
    module: nn.Module,
    stored: dict[str, Stored],
    where: object,
    *,
    naming: Callable[[str], str],
    dtype: torch.dtype,
    device: str | torch.device,
) -> None:
    """Assigns weights to a module on the meta device, for inference: without gradients, in `eval` mode.

    Tied parameters stay one `Parameter`. Tensors are copied and cast one at a time and their sources released, so that
    memory holds one copy besides the files' pages, which the system may drop. Later changes of the files do not affect
    the model.

    Args:
        stored: emptied as its tensors are used.
        where, naming: as for `check`, which runs first.

    Raises:
        CheckpointError: as `check`.
    """
    check(module, stored, where, naming)
    made: dict[nn.Parameter, nn.Parameter] = {}
    state: dict[str, Tensor] = {}
    for name, placeholder in module.named_parameters(remove_duplicate=False):
        tensor = stored.pop(naming(name), None)
        if placeholder not in made:
            # `check` made sure that a parameter's first name is stored.
            assert tensor is not None, name
            copied = torch.empty(placeholder.shape, dtype=dtype, device=device).copy_(tensor.tensor)
            made[placeholder] = nn.Parameter(copied, requires_grad=False)
        state[name] = made[placeholder]
    # load_state_dict takes a Parameter as it is, so that tied names keep one object.
    module.load_state_dict(state, strict=True, assign=True)
    module.requires_grad_(False).eval()
    stored.clear()


def sha256(path: Path) -> str:
    """SHA-256 of a whole file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(path: Path) -> str:
    """Identifies a file without reading all of it: a hash of its size, its first and its last MiB.

    torch's zip files end with a directory that has the CRC-32 of every tensor, so a change of any weight changes it; a
    change in the middle of a safetensors file does not. It does not protect against tampering.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_CHUNK))
        file.seek(max(size - _CHUNK, 0))
        digest.update(file.read(_CHUNK))
    return digest.hexdigest()
