"""The words of `docs/style.md`, and where files use those that it rules out."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "style.md"
CHECKED = ("flashu_core", "server", "shapes", "load_tests", "benchmarks", "deploy", "docker", "tests", "docs")
SKIPPED = ("benchmarks/results/", "tests/data/", "docs/style.md", "tests/test_style.py", "tests/clients/")
QUOTED = re.compile(r"`[^`\n]*`|\"[^\"\n]*\"|(?<!\w)'[^'\n]*'|\{[^{}\n]*\}|<[^<>\n]*>|\]\([^()\n]*\)")
FENCED = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
WORDS = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*")


@dataclass(frozen=True, slots=True)
class Rule:
    say: str
    names: frozenset[str]
    text: re.Pattern[str] | None
    except_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Use:
    path: str
    line: int
    word: str
    say: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word!r}; say: {self.say}"


def rules(table: str) -> list[Rule]:
    found = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) != 4 or cells[0] == "say" or set(cells[0]) <= set("- "):
            continue
        say, names, text, places = (cell.replace("\\|", "|") for cell in cells)
        patterns = re.findall(r"`([^`]+)`", text)
        pattern = re.compile(rf"\b(?:{'|'.join(patterns)})\b", re.I) if patterns else None
        found.append(
            Rule(say, frozenset(re.findall(r"`([^`]+)`", names)), pattern, tuple(re.findall(r"`([^`]+)`", places)))
        )
    return found


@cache
def _in_name(rule: Rule, name: str) -> bool:
    words = [word.lower() for word in WORDS.findall(name)]
    for banned in rule.names:
        parts = banned.lower().split("_")
        if any(words[at : at + len(parts)] == parts for at in range(len(words))):
            return True
    return False


def _uses_in_text(path: str, first: int, text: str, rules: Iterable[Rule]) -> Iterator[Use]:
    for number, line in enumerate(text.splitlines(), first):
        for rule in rules:
            if rule.text is not None and (found := rule.text.search(line)):
                yield Use(path, number, found[0], rule.say)


def _blanked(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


def uses(path: str, source: str, rules: list[Rule]) -> list[Use]:
    """Uses in a Python file's names, comments and strings, or in a Markdown file's text, in their order."""
    applied = [
        rule
        for rule in rules
        if not any(path.startswith((place + "/", place + ".", f"tests/{place}/")) for place in rule.except_in)
    ]
    if path.endswith(".md"):
        text = QUOTED.sub(_blanked, FENCED.sub(_blanked, source))
        return list(_uses_in_text(path, 1, text, applied))
    found = [Use(path, 1, Path(path).stem, rule.say) for rule in applied if _in_name(rule, Path(path).stem)]
    plain = _names_of_others(source)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.string not in plain:
            found += [
                Use(path, token.start[0], token.string, rule.say) for rule in applied if _in_name(rule, token.string)
            ]
        elif token.type == tokenize.COMMENT or (token.type == tokenize.STRING and " " in token.string):
            # The quotes around a string are not quotes in it.
            body = re.sub(r"^[a-zA-Z]*(\"{3}|'{3}|\"|')|(\"{3}|'{3}|\"|')$", " ", token.string)
            found += _uses_in_text(path, token.start[0], QUOTED.sub(_blanked, body), applied)
    return found


def _names_of_others(source: str) -> frozenset[str]:
    """Names of parameters, fields and imports that are others': keywords and fields of what is written as JSON."""
    marked = re.findall(r"(\w+).*# (?:a public field|others' name)\b", source)
    return frozenset([*marked, "draw"] if "from hypothesis import" in source else marked)


def files(places: Iterable[str] = CHECKED) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", *places],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [path for path in listed if path.endswith((".py", ".md")) and not path.startswith(SKIPPED)]


def main() -> None:
    """`python tests/support/words.py [PLACE ...]` prints every use."""
    known = rules(TABLE.read_text())
    for path in files(sys.argv[1:]) if sys.argv[1:] else files():
        if sys.argv[1:] and not path.startswith(tuple(sys.argv[1:])):
            continue
        for use in uses(path, (ROOT / path).read_text(), known):
            print(use)


if __name__ == "__main__":
    main()
