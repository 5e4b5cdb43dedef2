"""Finds a checkpoint's folder: on this machine, or downloaded from the Hugging Face hub.

Downloads, progress bars, the cache and offline mode are those of `huggingface_hub`; this module adds errors with a
remedy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from flashu_core.errors import CheckpointError, CheckpointUnreachableError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def is_hub_id(source: str | Path) -> bool:
    """Whether a source has the form `owner/name` and no such path exists on this machine."""
    return _HUB_ID.fullmatch(str(source)) is not None and not Path(source).exists()


def locate(source: str | Path, what: str, patterns: Sequence[str], *, file: bool = False) -> Path:
    """Finds a part of a checkpoint, downloading it if it is on the hub.

    Args:
        source: a folder, or a hub id.
        what: name of the part in errors.
        patterns: the files to download.
        file: accept a file as well.

    Returns:
        The folder (or file) on this machine.

    Raises:
        CheckpointError: it does not exist, or access is refused.
        CheckpointUnreachableError: it could not be downloaded; a retry may succeed.
    """
    path = Path(source).expanduser()
    if path.is_dir() or (file and path.is_file()):
        return path
    if path.exists():
        raise CheckpointError(f"{path} is a file; give the {what}'s folder")
    if not is_hub_id(source):
        raise CheckpointError(f"there is no {path}; give the {what}'s folder or a hub id like owner/name")
    return Path(_download(str(source), what, patterns))


def _download(repository: str, what: str, patterns: Sequence[str]) -> str:
    # Imported here: it takes a quarter of a second, and only downloads need it.
    from huggingface_hub import constants, snapshot_download

    # Whether HTTPError is that of requests or of httpx depends on the version; this name is the one in use.
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        GatedRepoError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return snapshot_download(repository, allow_patterns=list(patterns))
    except GatedRepoError as error:
        reason = "the hub asks you to accept its terms first: do so on its page, then run `hf auth login`"
        raise CheckpointError(f"no access to {what} {repository}: {reason}") from error
    except RepositoryNotFoundError as error:
        reason = f"there is no such folder here and no such repository on {constants.ENDPOINT}; check the name, or run"
        raise CheckpointError(f"no {what} {repository}: {reason} `hf auth login` if it is private") from error
    except HFValidationError as error:
        raise CheckpointError(f"there is no folder {repository}, and as a hub id it is malformed: {error}") from error
    except (LocalEntryNotFoundError, HTTPError, OSError) as error:
        if constants.HF_HUB_OFFLINE:
            reason = "it is not (wholly) in the cache and HF_HUB_OFFLINE is set: unset it, or download it beforehand"
            raise CheckpointError(f"no {what} {repository}: {reason}") from error
        reason = f"{constants.ENDPOINT} did not deliver it ({_first_line(error)}): check the network, or give a folder"
        raise CheckpointUnreachableError(f"no {what} {repository}: {reason}") from error


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
