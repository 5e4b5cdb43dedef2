"""Reads folders of golden data: weights of a small model or autoencoder and what the original code computed with them.

A folder has `meta.json`, `model.safetensors` and `expected.safetensors`; every size comes from the files. `parity`
compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flashu_core.checkpoint.config_json import model_config_from_json, vae_config_from_json
from flashu_core.checkpoint.weights import Stored, assign, published_name, read_tensors, same_name
from flashu_core.config import ModelConfig, UnderstandingBlock, VaeConfig
from flashu_core.errors import FlashUError
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vae import Vae, image_weights

META, WEIGHTS, EXPECTED = "meta.json", "model.safetensors", "expected.safetensors"


class GoldenError(Exception):
    """A folder does not have the layout, or its parts do not match."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelCase:
    """A Show-o2 and its expected tensors, all in float32.

    Attributes:
        prompts: for each picture the ids of `bos text image_start`; `uncond` is the same without text.
        pad, image_pad: ids that fill a padded sequence and the image's positions.
    """

    path: Path
    config: ModelConfig
    model: Showo2
    expected: Mapping[str, Tensor]
    meta: Mapping[str, Any]
    prompts: tuple[tuple[int, ...], ...]
    uncond: tuple[int, ...]
    pad: int
    image_pad: int

    def reading(self, name: str) -> Reading:
        """How the images of the expected tensors `name.*` are read.

        Raises:
            GoldenError: `meta.json` lacks it.
        """
        with explained(self.path):
            raw = self.meta["vqa"]
            prefix, suffix = _ids(raw["prefix"], self.config), _ids(raw["suffix"], self.config)
            start = suffix.index(int(self.meta["ids"]["boi"])) + 1
            before = (*prefix, *suffix[:start])
            trained = name != "vqa"
            offset = raw.get("trained_block_offset" if trained else "modality_offset")
            block: UnderstandingBlock = "time" if trained else "image"
            if offset is not None and self.config.time_token:
                # The time token follows the text; a block that starts there includes it.
                block = "time" if int(offset) == len(before) else "image"
            return Reading(before=before, after=suffix[start:], block=block)

    def with_block(self, block: UnderstandingBlock) -> Showo2:
        """The same weights in a model whose full-attention block starts elsewhere in understanding."""
        if block == self.config.understanding_block:
            return self.model
        with torch.device("meta"):
            model = Showo2(replace(self.config, understanding_block=block))
        model.load_state_dict(self.model.state_dict(), assign=True)
        return model.requires_grad_(False).eval()


@dataclass(frozen=True, slots=True)
class Reading:
    """Ids before an image (image_start included) and after it, and where its full-attention block starts."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    block: UnderstandingBlock


@dataclass(frozen=True, slots=True, eq=False)
class VaeCase:
    """An autoencoder and its expected tensors, all in float32."""

    path: Path
    config: VaeConfig
    vae: Vae
    expected: Mapping[str, Tensor]
    meta: Mapping[str, Any]


def find(path: Path) -> list[Path]:
    """The folder itself if it has a `meta.json`, else every sub-folder that has, sorted.

    Raises:
        GoldenError: there is none.
    """
    if (path / META).is_file():
        return [path]
    folders = sorted(found.parent for found in path.rglob(META))
    if not folders:
        raise GoldenError(f"{path} holds no {META}, and no folder in it does")
    return folders


def read(path: Path) -> ModelCase | VaeCase:
    """Reads one folder, of a model or an autoencoder according to `meta.json`.

    Raises:
        GoldenError: files are missing, damaged or do not match.
    """
    with explained(path):
        meta = json.loads((path / META).read_bytes())
        if not isinstance(meta, dict):
            raise GoldenError(f"{path / META} holds a JSON {type(meta).__name__}; it must be an object")
        expected = {name: stored.tensor for name, stored in read_tensors([path / EXPECTED]).items()}
        if "config" in meta:
            return _read_model(path, meta, expected)
        if "z_dim" in meta:
            return _read_vae(path, meta, expected)
        raise GoldenError(f"{path / META} has neither 'config' (a model) nor 'z_dim' (an autoencoder)")


def _read_model(path: Path, meta: Mapping[str, Any], expected: Mapping[str, Tensor]) -> ModelCase:
    config = model_config_from_json(meta["config"])
    ids = meta["ids"]
    bos, start, pad, image_pad = _ids([ids["bos"], ids["boi"], ids["pad"], ids["img_pad"]], config)
    prompts = tuple((bos, *_ids(prompt, config), start) for prompt in meta["prompts"])
    with torch.device("meta"):
        model = Showo2(config)
    _fill(model, read_tensors([path / WEIGHTS]), path, published=True)
    case = ModelCase(
        path=path,
        config=config,
        model=model,
        expected=expected,
        meta=meta,
        prompts=prompts,
        uncond=(bos, start),
        pad=pad,
        image_pad=image_pad,
    )
    for name, rows in (("forward.noise", len(prompts)), ("vqa.latents", 1)):
        if name in expected:
            _check_latents(case, name, rows)
    return case


def _read_vae(path: Path, meta: Mapping[str, Any], expected: Mapping[str, Tensor]) -> VaeCase:
    config = vae_config_from_json(meta)
    with torch.device("meta"):
        vae = Vae(config)
    file = path / WEIGHTS
    published = {name: stored.tensor for name, stored in read_tensors([file]).items()}
    _fill(vae, {name: Stored(tensor, file) for name, tensor in image_weights(published).items()}, path, published=False)
    return VaeCase(path=path, config=config, vae=vae, expected=expected, meta=meta)


def _fill(module: nn.Module, stored: dict[str, Stored], path: Path, *, published: bool) -> None:
    naming = published_name if published else same_name
    assign(module, stored, path, naming=naming, dtype=torch.float32, device="cpu")


def _ids(raw: Any, config: ModelConfig) -> tuple[int, ...]:
    ids = tuple(int(value) for value in raw)
    if unknown := [value for value in ids if not 0 <= value < config.backbone.vocabulary]:
        raise GoldenError(f"token {unknown[0]} is not one of the model's {config.backbone.vocabulary}")
    return ids


def _check_latents(case: ModelCase, name: str, rows: int) -> None:
    shape = tuple(case.expected[name].shape)
    config, patch = case.config, case.config.patch_size
    fits = len(shape) == 4 and shape[:2] == (rows, config.latent_channels)
    if not fits or shape[2] % patch or shape[3] % patch:
        raise GoldenError(
            f"{case.path}: {name} is {list(shape)}; it must be [{rows}, {config.latent_channels}, height, width] with "
            f"sides that are multiples of {patch}"
        )


class explained:  # noqa: N801
    """Turns errors of unusable files into a `GoldenError` that names the folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyError):
            raise GoldenError(f"{self._path} has no {error.args[0]!r}") from error
        if isinstance(error, (FlashUError, OSError, ValueError, TypeError, AttributeError)):
            raise GoldenError(f"{self._path} cannot be read: {error}") from error


def unused(expected: Mapping[str, Tensor], used: set[str]) -> Iterator[str]:
    """Names of tensors that no check has read, sorted."""
    return (name for name in sorted(expected) if name not in used)
