"""Loads a checkpoint: a model, an autoencoder and a tokenizer, checked and ready to serve.

`layouts` finds and verifies the parts, `weights` reads, checks, casts and assigns the tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from flashu_core.checkpoint.hub import is_hub_id, locate
from flashu_core.checkpoint.layouts import CONFIG, MANIFEST, SOURCE_FILES, blaming, own_parts, published_parts
from flashu_core.checkpoint.weights import Stored, assign, published_name, read_tensors, same_name
from flashu_core.config import WAN_VAE, DtypeName, EngineConfig, ModelConfig, VaeConfig
from flashu_core.errors import CheckpointError, ConfigurationError
from flashu_core.model.attention import Kernel, load_kernel, sdpa
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vae import Vae, image_weights
from flashu_core.text.tokenizer import Tokenizer

EMBEDDED = Path(__file__).parents[1] / "assets" / "shapes-64"
_CPU_BF16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # the last two are ARM's
_DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        name: from its configuration, else the folder's or the repository's name.
        digest: SHA-256 in hexadecimal that identifies the checkpoint. In the project's layout it is that of the
            manifest, which holds the hash of every file. In the published layout it covers both configurations and
            `weights.fingerprint` of each file (size, first and last MiB): it identifies files but does not verify them.
        folder: its folder, where it was read from files.
        known_words: every word of its training, in lower case, where it lists them; empty for models of any words.
    """

    name: str
    model: Showo2
    vae: Vae
    tokenizer: Tokenizer
    digest: str
    folder: Path | None = None
    known_words: tuple[str, ...] = ()


def choose_dtype(name: DtypeName, device: str | torch.device) -> torch.dtype:
    """The weights' type for a setting.

    Args:
        name: "auto" is bfloat16 on CUDA and on CPUs with bfloat16 matrix instructions, else float32.
        device: where the model will run.

    Raises:
        ConfigurationError: the name is unknown.
    """
    if name != "auto":
        if name not in _DTYPES:
            raise ConfigurationError(f"dtype is {name!r}; use 'auto' or one of {', '.join(_DTYPES)}")
        return _DTYPES[name]
    kind = torch.device(device).type
    if kind == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return torch.bfloat16 if any(capabilities.get(flag) for flag in _CPU_BF16) else torch.float32
    return torch.bfloat16 if kind == "cuda" else torch.float32


def load_checkpoint(
    source: str | Path,
    *,
    vae: str | Path | None = None,
    tokenizer: str | Path | None = None,
    language_model: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    kernel: Kernel = sdpa,
    check: Callable[[ModelConfig], object] = lambda _: None,
) -> Checkpoint:
    """Loads a checkpoint of either layout.

    Args:
        source: a folder or a hub id (`owner/name`). A folder with `manifest.json` has the project's own layout, needs
            nothing else and is verified first; any other has the published layout.
        vae: published layout: the autoencoder's file, or a folder or hub id with `Wan2.1_VAE.pth`; by default that file
            beside the model.
        tokenizer: published layout: folder or hub id with `tokenizer.json`; by default the source's own, else the
            language model's.
        language_model: published layout: folder or hub id with the backbone's `config.json`; by default what
            `llm_model_path` in the source's configuration names.
        dtype: type of all weights.
        device: of all weights.
        kernel: the model's attention kernel.
        check: raises `ConfigurationError` for a configuration that the caller cannot use, before weights are read.

    Raises:
        CheckpointError: a part is missing, damaged, of other shapes or unreachable; names the file and the tensors.
    """
    folder = locate(source, "checkpoint", SOURCE_FILES)
    name = str(source).rpartition("/")[2] if is_hub_id(source) else folder.resolve().name
    if (folder / MANIFEST).exists():
        given = {"vae": vae, "tokenizer": tokenizer, "language_model": language_model}
        if surplus := [key for key, value in given.items() if value is not None]:
            raise CheckpointError(f"{folder} contains all parts; do not give {', '.join(surplus)}")
        parts = own_parts(folder, name)
    else:
        parts = published_parts(folder, name, vae, tokenizer, language_model)
    name = "".join(letter if letter.isprintable() else "?" for letter in parts.name)  # a folder's name is arbitrary
    with blaming(folder / CONFIG):
        check(parts.model_config)
    check_vocabulary(parts.tokenizer, parts.model_config, folder)

    # The autoencoder first: it is small, and its errors show before the large part is copied.
    stored = _image_tensors(parts.vae_file)
    vae_config = parts.vae_config or _wan_config(stored, parts.vae_file)
    if vae_config.latent_channels != parts.model_config.latent_channels:
        raise CheckpointError(
            f"{folder}: the model's latents have {parts.model_config.latent_channels} channels and the autoencoder's "
            f"{vae_config.latent_channels}; use the autoencoder the model was trained with"
        )
    with torch.device("meta"):
        autoencoder = Vae(vae_config)
        model = Showo2(parts.model_config, kernel)
    assign(autoencoder, stored, parts.vae_file, naming=same_name, dtype=dtype, device=device)

    stored = read_tensors(parts.model_files)
    place = parts.model_files[0] if len(parts.model_files) == 1 else folder
    assign(model, stored, place, naming=published_name, dtype=dtype, device=device)
    return Checkpoint(
        name=name,
        model=model,
        vae=autoencoder,
        tokenizer=parts.tokenizer,
        digest=parts.digest,
        folder=folder,
        known_words=parts.known_words,
    )


def load_configured(
    source: str | Path | None, config: EngineConfig, *, check: Callable[[ModelConfig], object] = lambda _: None
) -> Checkpoint:
    """Loads a folder, a hub id, or with None the embedded model, with the configuration's device, type and kernel.

    Raises:
        CheckpointError: as `load_checkpoint`.
        ConfigurationError: this machine has no such device.
        KernelUnavailableError: this machine cannot run the attention kernel.
    """
    device = _choose_device(config.device)
    return load_checkpoint(
        EMBEDDED if source is None else source,
        dtype=choose_dtype(config.dtype, device),
        device=device,
        kernel=load_kernel(config.attention),
        check=check,
    )


def check_vocabulary(tokenizer: Tokenizer, config: ModelConfig, where: object) -> None:
    """Checks that the model has an embedding for every id of the tokenizer.

    Raises:
        CheckpointError: the tokenizer has more ids.
    """
    special = tokenizer.special
    ids = (special.bos, special.eos, special.image_start, special.image_end, special.image_pad, special.pad)
    tokens = max(len(tokenizer), 1 + max(ids))
    if tokens > config.backbone.vocabulary:
        raise CheckpointError(
            f"{where}: the tokenizer has {tokens} tokens and the model embeddings for {config.backbone.vocabulary}; "
            "use the tokenizer the model was trained with"
        )


def _choose_device(name: str) -> torch.device:
    """The device of a setting, checked to exist.

    Raises:
        ConfigurationError: this machine has no such device, or torch was built without it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigurationError(f"device is {name!r}; use auto, cpu, cuda, or cuda:1 for the second GPU") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            built = "finds no GPU" if torch.backends.cuda.is_built() else "was built without CUDA"
            raise ConfigurationError(f"device is {name!r}, and torch {torch.__version__} {built}; use auto or cpu")
        count = torch.cuda.device_count()
        if device.index is not None and device.index >= count:
            raise ConfigurationError(f"device is {name!r}, and there are {count} GPUs, from cuda:0 on; use one of them")
        return device
    try:
        torch.zeros(1, device=device).tolist()
    except (RuntimeError, NotImplementedError, AssertionError):
        raise ConfigurationError(f"device is {name!r}, which torch cannot use here; use auto, cpu or cuda") from None
    return device


def _image_tensors(path: Path) -> dict[str, Stored]:
    tensors = {name: stored.tensor for name, stored in read_tensors([path]).items()}
    with blaming(path):
        return {name: Stored(tensor, path) for name, tensor in image_weights(tensors).items()}


def _wan_config(stored: Mapping[str, Stored], path: Path) -> VaeConfig:
    # A plain state dict has no configuration: the width is that of its first convolution, the statistics are Wan's.
    first = stored.get("encoder.conv1.weight")
    if first is None or first.tensor.dim() != 4:
        return WAN_VAE
    with blaming(path):
        return replace(WAN_VAE, width=first.tensor.shape[0])
