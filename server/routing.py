"""Which task a request is: to draw, or to answer. Pure rules over what a client sent, no input or output; what people
say in which language is `server.languages`' to know.

A text is read sentence by sentence: a sentence that begins with a question is one whatever verbs it holds, a wish
counts where a clause begins, and what stands in quotation marks is spoken of, not said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from flashu_core import Task
from server.languages import LATIN
from server.more_languages import OTHERS

Modality = Literal["text", "image"]

TASK_NAMED = "the task was named"
IMAGE_WANTED = "modalities ask for an image"
TEXT_WANTED = "modalities ask for text"
IMAGE_ALLOWED = "modalities allow an image and the text asks no question"
IMAGE_GIVEN = "an image was given"
NEW_IMAGE = "an image was given, but the text asks for a new one"
ASKS_FOR_PICTURE = "the text asks for a picture"
NAMES_PICTURE = "the text names a picture"
FORBIDS_PICTURE = "the text wants no picture"
ASKS_QUESTION = "the text asks for an answer"
NOTHING = "nothing asks for a picture"

_MOST_CHARACTERS = 2_000
_MOST_SENTENCES = 16  # at the beginning, and as many at the end
_MOST_CLAUSES = 16
_SENTENCE = re.compile(r"(?<=[!?。؟।])\s*|(?<=\.)\s+|\n+")
_CLAUSE = re.compile(r"[,;:、]\s*|\s[-–—]+\s|\s(?=(?:then|but|dann|sondern|puis|luego|poi|depois|потом)\s)")
_QUOTED = re.compile(r'"[^"]*"|“[^”]*”|„[^“”]*[“”]|«[^»]*»|「[^」]*」|『[^』]*』|`[^`]*`')
_COMBINING = re.compile("[\u0300-\u036f\u064b-\u0652\u0640]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Unrouted:
    """What is known of a request before its task is.

    Attributes:
        text: the prompt or question.
        image: whether a picture came with it.
        task: the one the client named, or "auto".
        modalities: what the client takes as an answer; empty where it did not say.
    """

    text: str
    image: bool = False
    task: Task | Literal["auto"] = "auto"
    modalities: Sequence[Modality] = ()


class Route(NamedTuple):
    """A task, and a short stable phrase that says why."""

    task: Task
    reason: str


def classify(request: Unrouted) -> Route:
    """The task of a request; any text whatever has one."""
    if request.task != "auto":
        return Route(request.task, TASK_NAMED)
    wanted = set(request.modalities)
    if wanted == {"image"}:
        return Route("generate", IMAGE_WANTED)
    if wanted == {"text"}:
        return Route("vqa", TEXT_WANTED)
    signs = read_signs(request.text)
    if request.image:
        new = signs.draws and not signs.asks and not signs.refers
        return Route("generate", NEW_IMAGE) if new else Route("vqa", IMAGE_GIVEN)
    if signs.draws:
        return Route("generate", ASKS_FOR_PICTURE)
    if signs.forbids:
        return Route("vqa", FORBIDS_PICTURE)
    if signs.asks:
        return Route("vqa", ASKS_QUESTION)
    if signs.names:
        return Route("generate", NAMES_PICTURE)
    if "image" in wanted:
        return Route("generate", IMAGE_ALLOWED)
    return Route("vqa", NOTHING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signs:
    """What a text says: it wishes for a picture, names one, forbids one, asks something, speaks of the one given."""

    draws: bool
    names: bool
    forbids: bool
    asks: bool
    refers: bool


def read_signs(text: str) -> Signs:
    """The signs in any text; of a long one its beginning and end are read."""
    if len(text) > _MOST_CHARACTERS:
        text = text[: _MOST_CHARACTERS // 2] + "\n" + text[-_MOST_CHARACTERS // 2 :]
    plain = _plain(text)
    draws = names = asks = False
    sentences = [sentence.strip() for sentence in _SENTENCE.split(plain)]
    if len(sentences) > 2 * _MOST_SENTENCES:
        sentences[_MOST_SENTENCES:-_MOST_SENTENCES] = []
    for number, sentence in enumerate(sentences):
        wish = _polite(sentence)
        if _DRAWS.search(wish):
            draws = True
        elif _ASKS.search(sentence) or _ASKS.search(wish) or sentence.endswith(("?", "؟")):
            # A question may still end in a wish: "i like cats, can you draw one?"
            later = not (_ASKS.match(sentence) or _ASKS.match(wish)) and _draws_later(sentence)
            draws, asks = draws or later, asks or not later
        elif _draws_later(sentence):
            draws = True
        elif number == 0 and _NAMES.search(wish.rstrip(" .!。।")):
            names = True
    return Signs(
        draws=draws,
        names=names,
        forbids=_FORBIDS.search(plain) is not None,
        asks=asks,
        refers=_REFERS.search(plain) is not None,
    )


def _draws_later(sentence: str) -> bool:
    return any(_DRAWS.search(_polite(clause)) for clause in _later_clauses(sentence))


def _later_clauses(sentence: str) -> Iterator[str]:
    for number, found in enumerate(_CLAUSE.finditer(sentence)):
        if number == _MOST_CLAUSES:
            return
        yield sentence[found.end() :]


def _polite(clause: str) -> str:
    """The clause from where its wish begins."""
    for _ in range(4):
        found = _POLITE.match(clause)
        if found is None or found.end() == 0:
            return clause
        clause = clause[found.end() :].lstrip(" ,:!")
    return clause


def _plain(text: str) -> str:
    folded = _without_accents(unicodedata.normalize("NFKC", text).casefold()).replace("’", "'").strip()
    whole = _QUOTED.fullmatch(folded)
    # One quotation and nothing else is what the client wants to say.
    inner = folded[1:-1] if whole else _QUOTED.sub("_", folded)
    return re.sub(r"[^\S\n]+", " ", inner)


def _without_accents(text: str) -> str:
    return unicodedata.normalize("NFC", _COMBINING.sub("", unicodedata.normalize("NFD", text)))


_LANGUAGES = (*LATIN, *OTHERS)


def _any(patterns: Iterator[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{_without_accents(pattern)})" for pattern in patterns))


_POLITE = _any(pattern for language in _LANGUAGES for pattern in language.polite)
_DRAWS = _any(pattern for language in _LANGUAGES for pattern in language.draws)
_NAMES = _any(pattern for language in _LANGUAGES for pattern in language.phrases)
_ASKS = _any(pattern for language in _LANGUAGES for pattern in language.asks)
_FORBIDS = _any(pattern for language in _LANGUAGES for pattern in language.forbids)
_REFERS = _any(pattern for language in _LANGUAGES for pattern in language.refers)
