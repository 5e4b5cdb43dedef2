"""The two layouts of a checkpoint: which files hold which part.

The published layout is `config.json` and weights, with the backbone's configuration, the tokenizer and the autoencoder
elsewhere. The project's own is one folder with everything and a manifest, verified before use. Weights are not read
here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flashu_core.checkpoint.config_json import model_config_from_json, model_config_to_json, vae_config_from_json
from flashu_core.checkpoint.hub import locate
from flashu_core.checkpoint.weights import fingerprint, sha256
from flashu_core.config import ModelConfig, VaeConfig
from flashu_core.errors import CheckpointError, ConfigurationError
from flashu_core.text.tokenizer import Tokenizer

FORMAT = 1
_MAX_NAME = 200
MAX_KNOWN_WORDS = 2000  # a request looks its words up in them
CONFIG, MANIFEST = "config.json", "manifest.json"
CALIBRATION = "calibration.safetensors"
MODEL_WEIGHTS, VAE_WEIGHTS = "model.safetensors", "vae.safetensors"
TOKENIZER, TOKENIZER_SETTINGS = "tokenizer.json", "tokenizer_config.json"
PUBLISHED_VAE = "Wan2.1_VAE.pth"
_VAE_FILES = (PUBLISHED_VAE, VAE_WEIGHTS)

_LANGUAGE_FILES = (CONFIG, TOKENIZER, TOKENIZER_SETTINGS)
# The files that either layout may need of a repository on the hub; others are not downloaded.
SOURCE_FILES = (
    *_LANGUAGE_FILES,
    *(MANIFEST, "model*.safetensors", "model*.safetensors.index.json", VAE_WEIGHTS),
    *("pytorch_model*.bin", "pytorch_model*.bin.index.json", PUBLISHED_VAE),
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parts:
    """The parts of a checkpoint: configurations checked, files found, weights not read."""

    name: str
    model_config: ModelConfig
    model_files: Sequence[Path]
    vae_config: VaeConfig | None  # None: derived from the weights
    vae_file: Path
    tokenizer: Tokenizer
    digest: str
    known_words: tuple[str, ...] = ()


def own_parts(folder: Path, name: str) -> Parts:
    """The parts of a folder with a manifest, every listed file verified.

    Args:
        folder: has `manifest.json`.
        name: the checkpoint's name where its configuration has none.

    Raises:
        CheckpointError: a file is missing, damaged, unlisted or unusable.
    """
    digest = _verify(folder)
    path = folder / CONFIG
    raw = read_json(path)
    with blaming(path):
        model_config = model_config_from_json(raw)
        vae_config = vae_config_from_json(raw["vae"])
        known_words = _known_words(raw.get("known_words", []))
    return Parts(
        name=_name(path, raw.get("name")) or name,
        model_config=model_config,
        model_files=(folder / MODEL_WEIGHTS,),
        vae_config=vae_config,
        vae_file=folder / VAE_WEIGHTS,
        tokenizer=_read_tokenizer(folder),
        digest=digest,
        known_words=known_words,
    )


def _name(path: Path, name: object) -> str:
    """The checkpoint's name in its configuration, checked: it appears in logs, responses and file names."""
    if name is None:
        return ""
    if not isinstance(name, str) or not name.isprintable() or len(name) > _MAX_NAME:
        raise CheckpointError(f"{path} has a name that is not at most {_MAX_NAME} printable characters; change it")
    return name


def _known_words(listed: object) -> tuple[str, ...]:
    """The words that a model was trained on, checked: every server process keeps them."""
    if not isinstance(listed, list) or len(listed) > MAX_KNOWN_WORDS:
        raise ValueError(f"known_words is not a list of at most {MAX_KNOWN_WORDS} words")
    for word in listed:
        if not isinstance(word, str) or not word.isalpha() or word != word.casefold() or len(word) > _MAX_NAME:
            raise ValueError(f"known_words has {word!r:.80}; it must be a word in lower case, of letters alone")
    return tuple(listed)


def _verify(folder: Path) -> str:
    """Verifies every file that the manifest lists; returns the checkpoint's digest."""
    path = folder / MANIFEST
    manifest = read_json(path)
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {manifest.get('format')!r}; this version reads format {FORMAT}")
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        raise CheckpointError(f"{path} has no 'files' with a hash each; convert the checkpoint again")
    # The tokenizer's settings are optional, but read where they exist, so they must be listed too.
    settings = (TOKENIZER_SETTINGS,) if (folder / TOKENIZER_SETTINGS).exists() else ()
    for name in (CONFIG, MODEL_WEIGHTS, VAE_WEIGHTS, TOKENIZER, *settings):
        if name not in files:
            raise CheckpointError(f"{path} does not list {name}, so it cannot be trusted; convert the checkpoint again")
    for name, entry in files.items():
        file = _beside(path, name)
        try:
            size = file.stat().st_size
            if size != entry.get("bytes"):
                raise CheckpointError(
                    f"{file} has {size} bytes and its manifest says {entry.get('bytes')}; fetch it again"
                )
            found = sha256(file)
        except OSError as error:
            raise CheckpointError(f"{file}, which its manifest lists, cannot be read ({error.strerror})") from error
        if found != entry.get("sha256"):
            raise CheckpointError(
                f"{file} is damaged: SHA-256 {found}, its manifest says {entry.get('sha256')}; fetch it again"
            )
    return _digest(path, manifest)


def _digest(path: Path, manifest: Mapping[str, Any]) -> str:
    """The manifest's hash without its calibration: a calibration is measured later, and names this hash."""
    if CALIBRATION not in manifest["files"]:
        return sha256(path)
    files = {name: entry for name, entry in manifest["files"].items() if name != CALIBRATION}
    return hashlib.sha256(dump_manifest({**manifest, "files": files}).encode()).hexdigest()


def dump_manifest(manifest: Mapping[str, Any]) -> str:
    """The text of a manifest, the same for the same content."""
    return json.dumps(manifest, indent=2) + "\n"


def list_calibration(file: Path) -> None:
    """Adds a calibration to the manifest beside it, where there is one, so that loading verifies it too."""
    path = file.with_name(MANIFEST)
    if file.name != CALIBRATION or not path.exists():
        return
    manifest = read_json(path)
    manifest["files"][CALIBRATION] = {"sha256": sha256(file), "bytes": file.stat().st_size}
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(dump_manifest(manifest), encoding="utf-8")
    partial.replace(path)


def published_parts(
    folder: Path,
    name: str,
    vae: str | Path | None,
    tokenizer: str | Path | None,
    language_model: str | Path | None,
) -> Parts:
    """The parts of a checkpoint as published; the arguments are those of `load_checkpoint`.

    Raises:
        CheckpointError: a part is missing, unusable or out of reach.
    """
    path = folder / CONFIG
    raw = read_json(path)
    model_files = _weight_files(folder)
    vae_file = _vae_file(folder, vae)
    reference = language_model or raw.get("llm_model_path")
    if reference and not isinstance(reference, str | Path):
        raise CheckpointError(f"{path} has llm_model_path {reference!r}; it must be a folder or a hub id")

    backbone = None
    if not raw.get("llm_config"):
        if not reference:
            raise CheckpointError(f"{path} names no language model; give language_model, a folder or a hub id")
        backbone = read_json(locate(reference, "language model", _LANGUAGE_FILES) / CONFIG)
    with blaming(path):
        model_config = model_config_from_json(raw, backbone)

    if tokenizer is None and not (folder / TOKENIZER).exists():
        tokenizer = reference
        if not tokenizer:
            raise CheckpointError(f"{folder} has no {TOKENIZER}; give tokenizer, a folder or a hub id")
    tokenizer_folder = folder if tokenizer is None else locate(tokenizer, "tokenizer", _LANGUAGE_FILES)
    words = _read_tokenizer(tokenizer_folder)
    try:
        identity = {
            "config": raw,
            "model": model_config_to_json(model_config),
            "files": [
                [file.name, fingerprint(file)] for file in (*model_files, vae_file, tokenizer_folder / TOKENIZER)
            ],
            "eos": words.special.eos,
        }
    except OSError as error:
        raise CheckpointError(f"{error.filename} cannot be read ({error.strerror})") from error
    return Parts(
        name=name,
        model_config=model_config,
        model_files=model_files,
        vae_config=None,
        vae_file=vae_file,
        tokenizer=words,
        digest=hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
    )


def _weight_files(folder: Path) -> list[Path]:
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        index = folder / f"{stem}{suffix}.index.json"
        if index.exists():
            shards = read_json(index).get("weight_map")
            if not isinstance(shards, dict) or not shards:
                raise CheckpointError(f"{index} has no weight_map; fetch it again")
            files = [_beside(index, name) for name in sorted({str(shard) for shard in shards.values()})]
            if absent := [file.name for file in files if not file.exists()]:
                raise CheckpointError(
                    f"{index} lists {', '.join(absent[:3])}, not in {folder}; fetch the checkpoint again"
                )
            return files
        single = folder / f"{stem}{suffix}"
        if single.exists():
            return [single]
        # Shards without an index: a missing one shows by its tensors.
        if files := sorted(folder.glob(f"{stem}-*{suffix}")):
            return files
    raise CheckpointError(f"{folder} has no weights (model*.safetensors or pytorch_model*.bin)")


def _vae_file(folder: Path, vae: str | Path | None) -> Path:
    path = folder if vae is None else locate(vae, "autoencoder", _VAE_FILES, file=True)
    if not path.is_dir():
        return path
    for name in _VAE_FILES:
        if (path / name).exists():
            return path / name
    raise CheckpointError(f"{path} has no {' or '.join(_VAE_FILES)}; give vae, the autoencoder's file")


def _read_tokenizer(folder: Path) -> Tokenizer:
    with blaming(folder / TOKENIZER_SETTINGS):
        return Tokenizer.from_folder(folder)


def _beside(path: Path, name: str) -> Path:
    """The path of a file that `path` lists; it must be in the same folder."""
    if name in ("", ".", "..") or "\0" in name or Path(name).name != name:
        raise CheckpointError(f"{path} lists {name!r}; files must be in the same folder")
    return path.parent / name


def read_json(path: Path) -> dict[str, Any]:
    """A file with one JSON object.

    Raises:
        CheckpointError: it is missing, or holds something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); is this a checkpoint's folder?") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a JSON {type(content).__name__}; it must be an object")
    return content


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Turns errors about values of a file into a `CheckpointError` that names the file."""
    try:
        yield
    except KeyError as error:
        raise CheckpointError(f"{path} has no {error.args[0]!r}") from error
    except (ConfigurationError, OSError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(f"{path} cannot be used: {error}") from error
