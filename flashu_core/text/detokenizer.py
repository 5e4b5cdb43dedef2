"""Text of an answer as its tokens come, without decoding it anew for each."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer as Backend
from tokenizers.decoders import DecodeStream


class Detokenizer:
    """Decodes one sequence token by token; a character whose bytes are spread over several tokens comes with the last.

    Args:
        backend: the vocabulary.

    Attributes:
        text: of all tokens whose text is complete.
        ends: for each of these tokens, in order, how far `text` reaches with it.
    """

    __slots__ = ("_backend", "_stream", "_waiting", "ends", "text")

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._stream = DecodeStream(skip_special_tokens=True)
        self._waiting = 0  # tokens whose text is not complete
        self.text = ""
        self.ends: list[int] = []

    def add(self, token: int) -> None:
        """Appends a token."""
        self._waiting += 1
        piece = self._stream.step(self._backend, token)
        if piece is not None:
            self._extend(piece)

    def finish(self, tokens: Sequence[int]) -> None:
        """No token follows: bytes that are not valid UTF-8 by themselves become replacement characters.

        Args:
            tokens: all that were added.
        """
        if self._waiting:
            self._extend(self._backend.decode(list(tokens), skip_special_tokens=True)[len(self.text) :])

    def _extend(self, piece: str) -> None:
        self.text += piece
        self.ends += [len(self.text)] * self._waiting
        self._waiting = 0
