"""Which task a request is: to draw, or to answer. Pure rules over what a client sent, no input or output; what people
say in which language is `server.intent.languages.european`' to know.

A text is read sentence by sentence: a sentence that begins with a question is one whatever verbs it holds, a wish
counts where a clause begins, and what stands in quotation marks is spoken of, not said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from flashu_core import Task
from server.intent.languages.european import LATIN
from server.intent.languages.others import OTHERS

Modality = Literal["text", "image"]

TASK_NAMED = "the task was named"
IMAGE_WANTED = "modalities ask for an image"
TEXT_WANTED = "modalities ask for text"
IMAGE_ALLOWED = "modalities allow an image and the text asks no question"
IMAGE_GIVEN = "an image was given"
NEW_IMAGE = "an image was given, but the text asks for a new one"
EDITS_IMAGE = "the text asks for a change of the image that was given"
ASKS_FOR_PICTURE = "the text asks for a picture"
NAMES_PICTURE = "the text names a picture"
FORBIDS_PICTURE = "the text wants no picture"
ASKS_QUESTION = "the text asks for an answer"
NOTHING = "nothing asks for a picture"

# Bounds on what is read, whatever a client sends: with them the worst text takes a few milliseconds. All are counted
# after normalising, which can make 18 characters of one.
_MAX_PART = 600  # characters at the beginning of a text, and as many at its end
_MAX_SENTENCES = 8  # likewise at the beginning and at the end
_MAX_SENTENCE = 300  # characters of a sentence or clause
_MAX_CLAUSES = 16  # in all sentences together
_SENTENCE = re.compile(r"(?<=[!?。؟।])\s*|(?<=\.)\s+|\n+")
_CLAUSE = re.compile(r"[,;:、]\s*|\s[-–—]+\s|\s(?=(?:then|but|dann|sondern|puis|luego|poi|depois|потом)\s)")
# No opening mark inside: a quotation that never ends is then read once, and not once for every mark.
_QUOTED = re.compile(r'"[^"]*"|“[^“”]*”|„[^„“”]*[“”]|«[^«»]*»|「[^「」]*」|『[^『』]*』|`[^`]*`')
_COMBINING = re.compile("[\u0300-\u036f\u064b-\u0652\u0640]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Unrouted:
    """What is known of a request before its task is.

    Attributes:
        text: the prompt or question.
        image: whether a picture came with it.
        earlier: whether a picture came before, in an earlier turn.
        task: the one the client named, or "auto".
        modalities: what the client takes as an answer; empty where it did not say.
    """

    text: str
    image: bool = False
    earlier: bool = False
    task: Task | Literal["auto"] = "auto"
    modalities: Sequence[Modality] = ()


class Route(NamedTuple):
    """A task, and a short stable phrase that says why.

    Attributes:
        refused: it is a wish that the model cannot fulfil, whatever the task; the reason says which.
        no_image: the text speaks of a picture, and none was given.
    """

    task: Task
    reason: str
    refused: bool = False
    no_image: bool = False


def classify(request: Unrouted) -> Route:
    """The task of a request; any text whatever has one."""
    signs = read_signs(request.text)
    given = request.image or request.earlier
    route = _route(request, signs)
    if route.task == "generate" and given and signs.edits and not signs.asks:
        return Route("generate", EDITS_IMAGE, refused=True)
    return route._replace(no_image=route.task == "vqa" and signs.shows and not given)


def _route(request: Unrouted, signs: Signs) -> Route:
    if request.task != "auto":
        return Route(request.task, TASK_NAMED)
    wanted = set(request.modalities)
    if wanted == {"image"}:
        return Route("generate", IMAGE_WANTED)
    if wanted == {"text"}:
        return Route("vqa", TEXT_WANTED)
    if (request.image or request.earlier) and signs.edits and not signs.asks:
        return Route("generate", EDITS_IMAGE)
    if request.image:
        if not signs.draws or signs.asks:
            return Route("vqa", IMAGE_GIVEN)
        return Route("generate", EDITS_IMAGE, refused=True) if signs.refers else Route("generate", NEW_IMAGE)
    if signs.draws:
        return Route("generate", ASKS_FOR_PICTURE)
    if request.earlier and not signs.names:
        return Route("vqa", IMAGE_GIVEN)
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
    """What a text says: it wishes for a picture, names one, forbids one, asks something, speaks of what was given (of a
    picture by that name: `shows`), wishes to have a picture changed."""

    draws: bool
    names: bool
    forbids: bool
    asks: bool
    refers: bool
    shows: bool
    edits: bool


def read_signs(text: str) -> Signs:
    """The signs in any text; of a long one its beginning and end are read."""
    plain = _plain(text)
    draws = names = asks = edits = False
    sentences = [_shortened(sentence.strip()) for sentence in _SENTENCE.split(plain)]
    if len(sentences) > 2 * _MAX_SENTENCES:
        sentences[_MAX_SENTENCES:-_MAX_SENTENCES] = []
    clauses = _Clauses()
    for number, sentence in enumerate(sentences):
        wish = _polite(sentence)
        drawn, edited = _wishes(wish)
        if drawn or edited:
            pass
        elif _ASKS.search(sentence) or _ASKS.search(wish) or sentence.endswith(("?", "؟")):
            # A question may still end in a wish: "i like cats, can you draw one?"
            if not (_ASKS.match(sentence) or _ASKS.match(wish)):
                drawn, edited = clauses.wishes(sentence)
            asks = asks or not (drawn or edited)
        elif any(later := clauses.wishes(sentence)):
            drawn, edited = later
        elif number == 0 and _NAMES.search(wish.rstrip(" .!。।")):
            names = True
        draws, edits = draws or drawn, edits or edited
    return Signs(
        draws=draws,
        names=names,
        forbids=_FORBIDS.search(plain) is not None,
        asks=asks,
        refers=_REFERS.search(plain) is not None,
        shows=_SHOWS.search(plain) is not None,
        edits=edits,
    )


class _Clauses:
    """Looks for wishes in the later clauses of sentences, and counts the clauses that it reads."""

    def __init__(self) -> None:
        self._left = _MAX_CLAUSES

    def wishes(self, sentence: str) -> tuple[bool, bool]:
        """As `_wishes`, of the first clause behind the very first that has one."""
        for found in _CLAUSE.finditer(sentence):
            if self._left == 0:
                break
            self._left -= 1
            wishes = _wishes(_polite(sentence[found.end() :]))
            if any(wishes):
                return wishes
        return False, False


def _wishes(clause: str) -> tuple[bool, bool]:
    """Whether a clause wishes for a picture, and for a change of one; "draw it in blue" may be either."""
    return _DRAWS.search(clause) is not None, _EDITS.search(clause) is not None


def _polite(clause: str) -> str:
    """The clause from where its wish begins."""
    for _ in range(4):
        found = _POLITE.match(clause)
        if found is None or found.end() == 0:
            return clause
        clause = clause[found.end() :].lstrip(" ,:!")
    return clause


def _shortened(sentence: str) -> str:
    """The beginning of a sentence, and the mark that ends it."""
    return sentence if len(sentence) <= _MAX_SENTENCE else sentence[: _MAX_SENTENCE - 1] + sentence[-1]


def _bounded(text: str) -> str:
    """The text folded (compatibility forms, case, accents); of a long one the beginning and the end."""
    if len(text) <= _MAX_PART and len(folded := _folded(text)) <= 2 * _MAX_PART:
        return folded
    # Accents count before they are folded away; twice the characters leave enough.
    return _folded(text[: 2 * _MAX_PART])[:_MAX_PART] + "\n" + _folded(text[-2 * _MAX_PART :])[-_MAX_PART:]


def _folded(text: str) -> str:
    return _without_accents(unicodedata.normalize("NFKC", text).casefold()).replace("’", "'")


def _plain(text: str) -> str:
    """What is read of a text: folded, without what is quoted and with single blanks."""
    folded = _bounded(text).strip()
    whole = _QUOTED.fullmatch(folded)
    # One quotation and nothing else is what the client wants to say.
    inner = folded[1:-1] if whole else _QUOTED.sub("_", folded)
    return re.sub(r"[^\S\n]+", " ", inner)


def _without_accents(text: str) -> str:
    return unicodedata.normalize("NFC", _COMBINING.sub("", unicodedata.normalize("NFD", text)))


_LANGUAGES = (*LATIN, *OTHERS)


class _Patterns:
    """Alternatives that are looked for at once.

    Those that begin with `^` are tried at the beginning only, and those that begin with `\\b` at the edges of words:
    as one alternation all of them would be tried at every character.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        alternatives = [_without_accents(pattern) for pattern in patterns]
        anchored = [one for one in alternatives if one.startswith("^")]
        edges = [one.removeprefix(r"\b") for one in alternatives if one.startswith(r"\b")]
        others = [one for one in alternatives if not one.startswith(("^", r"\b"))]
        self._anchored = _alternation(anchored)
        self._floating = [
            pattern for pattern in (_alternation(edges, prefix=r"\b"), _alternation(others)) if pattern is not None
        ]

    def search(self, text: str) -> re.Match[str] | None:
        """A match anywhere, not always the leftmost."""
        found = None if self._anchored is None else self._anchored.match(text)
        return found or next((match for one in self._floating if (match := one.search(text))), None)

    def match(self, text: str) -> re.Match[str] | None:
        """A match at the beginning, not always that of the first alternative."""
        found = None if self._anchored is None else self._anchored.match(text)
        return found or next((match for one in self._floating if (match := one.match(text))), None)


def _alternation(patterns: Sequence[str], prefix: str = "") -> re.Pattern[str] | None:
    return re.compile(prefix + "(?:" + "|".join(f"(?:{one})" for one in patterns) + ")") if patterns else None


_POLITE = _Patterns(pattern for language in _LANGUAGES for pattern in language.polite)
_DRAWS = _Patterns(pattern for language in _LANGUAGES for pattern in language.draws)
_NAMES = _Patterns(pattern for language in _LANGUAGES for pattern in language.phrases)
_ASKS = _Patterns(pattern for language in _LANGUAGES for pattern in language.asks)
_FORBIDS = _Patterns(pattern for language in _LANGUAGES for pattern in language.forbids)
_REFERS = _Patterns(pattern for language in _LANGUAGES for pattern in language.refers)
_SHOWS = _Patterns(pattern for language in _LANGUAGES for pattern in language.shows)
_EDITS = _Patterns(pattern for language in _LANGUAGES for pattern in language.edits)
