"""Show-o2's two prompt templates, as pure functions from text to token ids.

An image block (the time token and the image tokens) goes between a prefix and a suffix; the pathways embed it.
"""

from __future__ import annotations

from flashu_core.errors import InvalidRequestError, PromptTooLongError
from flashu_core.text.tokenizer import Tokenizer

_SYSTEM = "system\nYou are a helpful assistant.<|im_end|>"
_USER = "\n<|im_start|>user\n"
_ASSISTANT = "\n<|im_start|>assistant\n"
_PIECE = 4  # characters per token of the limit: about the average of English
_SMALLEST_PIECE = 256


def generation_prefix(tokenizer: Tokenizer, text: str, *, limit: int, parameter: str = "prompt") -> list[int]:
    """`bos text image_start`, before the image block. Empty text gives guidance's unconditional prompt.

    Raises:
        PromptTooLongError: the text has more than `limit` tokens.
    """
    special = tokenizer.special
    return [special.bos, *_encode(tokenizer, text, limit, parameter), special.image_start]


def understanding_prefix(tokenizer: Tokenizer) -> list[int]:
    """`bos system user image_start`: the same for every question."""
    return [*question_prefix(tokenizer), tokenizer.special.image_start]


def understanding_suffix(tokenizer: Tokenizer, question: str, *, limit: int) -> list[int]:
    """`image_end question assistant`, after the image block.

    Raises:
        PromptTooLongError: the question has more than `limit` tokens.
    """
    return [tokenizer.special.image_end, *question_suffix(tokenizer, question, limit=limit)]


def question_prefix(tokenizer: Tokenizer) -> list[int]:
    """`bos system user`, before a question without a picture."""
    system, user = tokenizer.encode_template(_SYSTEM), tokenizer.encode_template(_USER)
    return [tokenizer.special.bos, *system, *user]


def question_suffix(tokenizer: Tokenizer, question: str, *, limit: int) -> list[int]:
    """`question assistant`.

    Raises:
        PromptTooLongError: the question has more than `limit` tokens.
    """
    return [*_encode(tokenizer, question, limit, "question"), *tokenizer.encode_template(_ASSISTANT)]


def _encode(tokenizer: Tokenizer, text: str, limit: int, parameter: str) -> list[int]:
    # A token has at most some tens of bytes: text far beyond the limit is refused without encoding it.
    if len(text) > limit * 64:
        raise PromptTooLongError(
            f"the {parameter} has {len(text)} characters; at most {limit} tokens are allowed: shorten it",
            parameter=parameter,
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"the {parameter} holds a lone surrogate at character {error.start}; send valid Unicode",
            parameter=parameter,
        ) from error
    _check_by_pieces(tokenizer, text, limit, parameter)
    ids = tokenizer.encode(text)
    if len(ids) > limit:
        raise PromptTooLongError(
            f"the {parameter} has {len(ids)} tokens; at most {limit} are allowed: shorten it", parameter=parameter
        )
    return ids


def _check_by_pieces(tokenizer: Tokenizer, text: str, limit: int, parameter: str) -> None:
    """Refuses a text that is clearly too long after encoding only as much as proves it, so that the cost of a refusal
    does not grow with the text. Tokens may merge across pieces, so the bound is twice the limit.

    Raises:
        PromptTooLongError: the text is clearly too long.
    """
    size = max(limit * _PIECE, _SMALLEST_PIECE)
    if len(text) <= size:
        return
    tokens = 0
    for piece, start in enumerate(range(0, len(text), size), start=1):
        tokens += len(tokenizer.encode(text[start : start + size]))
        if tokens > 2 * (limit + piece):
            raise PromptTooLongError(
                f"the {parameter} has more than {tokens // 2} tokens; at most {limit} are allowed: shorten it",
                parameter=parameter,
            )
