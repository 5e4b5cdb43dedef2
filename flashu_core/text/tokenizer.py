"""Text to token ids and back, with Show-o2's special tokens.

Users' text never becomes a special token: a token's name in it is encoded as plain characters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from flashu_core.errors import CheckpointError
from flashu_core.text.detokenizer import Detokenizer

# Tokens that Show-o2 adds to Qwen2.5's vocabulary, in this order, unless the tokenizer has them.
ADDED_TOKENS = ("[PAD]", "<image>", "<|vid_start|>", "<|vid_end|>")


def _byte_characters() -> dict[str, int]:
    """The byte of each character of byte-level BPE: bytes that are visible in Latin-1 stand for themselves, the others,
    in order, for the characters from 256."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + index): byte for index, byte in enumerate(others)}


_BYTES = _byte_characters()


@dataclass(frozen=True, kw_only=True, slots=True)
class SpecialTokens:
    """Ids of the special tokens."""

    bos: int
    eos: int
    image_start: int
    image_end: int
    image_pad: int
    pad: int


class Tokenizer:
    """A byte-level BPE with Show-o2's special tokens.

    Args:
        backend: the vocabulary and merges; missing special tokens are added to it.
        eos: name of the end-of-sequence token.

    Raises:
        CheckpointError: a token that Show-o2 needs is not in the vocabulary.
    """

    def __init__(self, backend: Backend, *, eos: str = "<|im_end|>") -> None:
        backend.add_special_tokens([AddedToken(token, special=True) for token in ADDED_TOKENS])
        # Users' text goes through a backend that encodes special tokens as plain characters.
        backend.encode_special_tokens = True
        self._plain = backend
        trusted = Backend.from_str(backend.to_str())
        trusted.encode_special_tokens = False
        self._trusted = trusted

        def identity(token: str) -> int:
            found = backend.token_to_id(token)
            if found is None:
                raise CheckpointError(f"the tokenizer has no token {token!r}; use the one the checkpoint came with")
            return int(found)

        self.special = SpecialTokens(
            bos=identity("<|im_start|>"),
            eos=identity(eos),
            image_start=identity("<|vision_start|>"),
            image_end=identity("<|vision_end|>"),
            image_pad=identity("<|image_pad|>"),
            pad=identity("[PAD]"),
        )

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer:
        """Reads `tokenizer.json`, and `tokenizer_config.json` for the name of the end token where there is one."""
        path = folder / "tokenizer.json"
        if not path.exists():
            raise CheckpointError(f"{folder} has no tokenizer.json")
        try:
            backend = Backend.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for a damaged file
            raise CheckpointError(f"{path} is not a tokenizer: {error}") from error
        settings = folder / "tokenizer_config.json"
        eos = json.loads(settings.read_text()).get("eos_token") if settings.exists() else None
        if isinstance(eos, dict):
            eos = eos["content"]
        return cls(backend, eos=eos or "<|im_end|>")

    def __len__(self) -> int:
        return int(self._plain.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str) -> list[int]:
        """Ids of a user's text; names of special tokens in it stay plain text."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def encode_template(self, text: str) -> list[int]:
        """Ids of a trusted template; names of special tokens in it become those tokens."""
        return list(self._trusted.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Ids to text without special tokens; bytes that are not valid UTF-8 become replacement characters."""
        return str(self._plain.decode(list(ids), skip_special_tokens=True))

    def detokenizer(self) -> Detokenizer:
        """Decodes a new sequence token by token, to what `decode` gives of all its tokens."""
        return Detokenizer(self._plain)

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a token; of a special token, those of its name. Empty for an id beyond the vocabulary, as the
        last rows of padded embeddings are."""
        name = self._plain.id_to_token(token)
        if name is None:
            return b""
        try:
            return bytes(_BYTES[character] for character in name)
        except KeyError:  # a token that was added as plain text
            return str(name).encode()

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json`."""
        self._trusted.save(str(folder / "tokenizer.json"))
