"""Writes checkpoints in the project's own layout, and converts published ones to it.

Such a folder is complete: configuration, weights under the published names, the autoencoder reduced to single images,
the tokenizer, and a manifest with the hash of each. `load` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers import Tokenizer as Backend
from torch import Tensor, nn

from flashu_core.checkpoint.config_json import model_config_to_json, vae_config_to_json
from flashu_core.checkpoint.layouts import (
    CONFIG,
    FORMAT,
    MANIFEST,
    MODEL_WEIGHTS,
    TOKENIZER,
    TOKENIZER_SETTINGS,
    VAE_WEIGHTS,
    dump_manifest,
)
from flashu_core.checkpoint.load import check_vocabulary, load_checkpoint
from flashu_core.checkpoint.weights import Stored, check, published_name, same_name, sha256
from flashu_core.config import ModelConfig, VaeConfig
from flashu_core.errors import CheckpointError
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vae import Vae
from flashu_core.reasons import reason_of
from flashu_core.text.tokenizer import Tokenizer


def save_checkpoint(
    folder: str | Path,
    *,
    name: str,
    model_config: ModelConfig,
    model_weights: Mapping[str, Tensor],
    vae_config: VaeConfig,
    vae_weights: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    dtype: torch.dtype,
    known_words: Sequence[str] = (),
) -> None:
    """Writes a checkpoint in the project's own layout; existing files are replaced.

    The manifest is written last, so that loading refuses an incomplete folder.

    Args:
        folder: made if missing.
        model_weights: `Showo2.state_dict()`, in this project's names; tied embeddings are stored once.
        vae_weights: `Vae.state_dict()`.
        dtype: the type on disk.
        known_words: every word of the training, in lower case, so that requests in others can be warned about.

    Raises:
        CheckpointError: the weights or the tokenizer do not fit the configurations (nothing is written then), or the
            folder cannot be written.
    """
    folder = Path(folder)
    check_vocabulary(tokenizer, model_config, folder)
    with torch.device("meta"):
        model, vae = Showo2(model_config), Vae(vae_config)
    _check(model, model_weights, "model_weights")
    _check(vae, vae_weights, "vae_weights")
    config: dict[str, object] = {
        "name": name,
        **model_config_to_json(model_config),
        "vae": vae_config_to_json(vae_config),
    }
    if known_words:
        config["known_words"] = list(known_words)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(folder / CONFIG, config)
        _write_weights(folder / MODEL_WEIGHTS, model, model_weights, published_name, dtype)
        _write_weights(folder / VAE_WEIGHTS, vae, vae_weights, same_name, dtype)
        tokenizer.save(folder)
        # tokenizer.json does not say which token ends a sequence.
        eos = Backend.from_file(str(folder / TOKENIZER)).id_to_token(tokenizer.special.eos)
        _write_json(folder / TOKENIZER_SETTINGS, {"eos_token": eos})
        written = (CONFIG, MODEL_WEIGHTS, TOKENIZER, TOKENIZER_SETTINGS, VAE_WEIGHTS)
        files = {file: {"sha256": sha256(folder / file), "bytes": (folder / file).stat().st_size} for file in written}
        (folder / MANIFEST).write_text(dump_manifest({"format": FORMAT, "files": files}), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the checkpoint cannot be written to {folder}: {reason_of(error)}") from error


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    vae: str | Path | None = None,
    tokenizer: str | Path | None = None,
    language_model: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Rewrites a checkpoint, published or the project's own, in the project's own layout.

    Args:
        source, vae, tokenizer, language_model: as for `load_checkpoint`.
        destination: a folder that is empty or does not exist.
        dtype: the type on disk; float32 keeps every value of narrower types.

    Raises:
        CheckpointError: the destination is not empty, the source cannot be loaded, or the copy cannot be written.
    """
    destination = Path(destination)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise CheckpointError(f"{destination} exists and is not an empty folder; give another destination or remove it")
    # Loading checks that every part exists and fits before anything is written.
    loaded = load_checkpoint(source, vae=vae, tokenizer=tokenizer, language_model=language_model, dtype=dtype)
    save_checkpoint(
        destination,
        name=loaded.name,
        model_config=loaded.model.config,
        model_weights=loaded.model.state_dict(),
        vae_config=loaded.vae.config,
        vae_weights=loaded.vae.state_dict(),
        tokenizer=loaded.tokenizer,
        dtype=dtype,
        known_words=loaded.known_words,
    )


def _check(module: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    check(module, {name: Stored(tensor, Path(what)) for name, tensor in weights.items()}, what, same_name)


def _write_weights(
    path: Path, module: nn.Module, weights: Mapping[str, Tensor], naming: Callable[[str], str], dtype: torch.dtype
) -> None:
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    # named_parameters gives tied parameters once.
    for name, _ in module.named_parameters():
        tensor = weights[name].detach().to("cpu", dtype).contiguous()
        storage = tensor.untyped_storage().data_ptr()
        # safetensors refuses tensors that share memory, as slices of one flat buffer do.
        tensors[naming(name)] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    save_file(tensors, path, metadata={"format": "pt"})
    # safetensors writes files that only their owner can read; a server may run as another user.
    path.chmod(0o644)


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
