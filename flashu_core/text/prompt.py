"""How token ids and image blocks become sequences: Show-o2's two templates.

Pure functions from text to ids. An image block (the time token and the image tokens) stands between the parts given
here; embedding it is the pathways' work.
"""

from __future__ import annotations

from flashu_core.errors import InvalidRequestError, PromptTooLongError
from flashu_core.text.tokenizer import Tokenizer

_SYSTEM = "system\nYou are a helpful assistant.<|im_end|>"
_USER = "\n<|im_start|>user\n"
_ASSISTANT = "\n<|im_start|>assistant\n"
_PIECE = 4  # characters for each token that is allowed: about what a token of English stands for
_SMALLEST_PIECE = 256


def generation_prefix(tokenizer: Tokenizer, text: str, *, limit: int, parameter: str = "prompt") -> list[int]:
    """`bos text image_start`: what precedes the image block. Empty text gives guidance's unconditional prompt.

    Raises:
        PromptTooLongError: the text has more than `limit` tokens.
    """
    special = tokenizer.special
    return [special.bos, *_encode(tokenizer, text, limit, parameter), special.image_start]


def understanding_prefix(tokenizer: Tokenizer) -> list[int]:
    """`bos system user image_start`: the same for every question."""
    return [*question_prefix(tokenizer), tokenizer.special.image_start]


def understanding_suffix(tokenizer: Tokenizer, question: str, *, limit: int) -> list[int]:
    """`image_end question assistant`: what follows the image block.

    Raises:
        PromptTooLongError: the question has more than `limit` tokens.
    """
    return [tokenizer.special.image_end, *question_suffix(tokenizer, question, limit=limit)]


def question_prefix(tokenizer: Tokenizer) -> list[int]:
    """`bos system user`: what precedes a question without a picture."""
    system, user = tokenizer.encode_template(_SYSTEM), tokenizer.encode_template(_USER)
    return [tokenizer.special.bos, *system, *user]


def question_suffix(tokenizer: Tokenizer, question: str, *, limit: int) -> list[int]:
    """`question assistant`.

    Raises:
        PromptTooLongError: the question has more than `limit` tokens.
    """
    return [*_encode(tokenizer, question, limit, "question"), *tokenizer.encode_template(_ASSISTANT)]


def _encode(tokenizer: Tokenizer, text: str, limit: int, parameter: str) -> list[int]:
    # A token stands for at most some tens of bytes: text far beyond the limit is refused without encoding it.
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
    """Refuses a text that is clearly too long after encoding as little of it as shows that: what a refusal costs must
    not grow with what is sent. Tokens may join where pieces meet, so only twice the limit, and more, is clear.

    Raises:
        PromptTooLongError: it is.
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
