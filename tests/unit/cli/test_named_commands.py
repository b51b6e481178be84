"""Every command line that an error, a next step, a help or a page names is one that `muniment` takes.

What is read: the string literals of the sources (an f-string's fields count as one value each), and the pages in
Markdown. A mention is followed as the program itself would: its words must be commands, and what comes after them
must parse, the required options included. Prose may follow: `muniment token ls shows them` is `muniment token ls`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from muniment.cli.arguments import Command
from muniment.cli.failures import Usage
from muniment.cli.main import COMMANDS, load

ROOT = Path(__file__).parents[3]
FIELD = "\x00"
"""Stands for whatever an f-string puts there."""
NO_COMMANDS = {"proof of misbehaviour", "roles'"}
"""A line of a file format, and the name of a lock."""
MENTION = re.compile(r"(?<![\w./@:'-])muniment (?=[a-z])((?:(?!(?<![\w./@:'-])muniment )[^`\n])*)")
TICKED = re.compile(r"`([a-z-]+ [^`\n]+)`")
PROSE = {"is", "was", "writes", "shows", "takes"}
"""What a sentence goes on with where a command is its subject."""
OPTION = re.compile(r"--[a-z][a-z-]*")
LOOSE_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
QUOTED = re.compile(r"""(?<=[\s=])(?:"[^"]*"|'[^']*')""")
END = re.compile(r"[,;:)](?=\s|$)|\)|(?:^|\s)\(|\s#|\s?\.\.\.|\s[|<>&]|\. |\.$|\s(?:or|and)\s|\s--\s| *\\$|$")


@dataclass(frozen=True)
class Mention:
    place: str
    text: str
    is_whole: bool = True
    """Whether it is a line to type; in a page's prose `publish --wait` names the option alone."""

    def __str__(self) -> str:
        return f"{self.place}: muniment {self.text.replace(FIELD, '{}')}"


def python_files() -> Iterator[Path]:
    for source in ("services", "shared", "examples"):
        yield from sorted((ROOT / source).rglob("*.py"))


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each string literal and its line; those in an f-string's fields as well."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else FIELD for part in node.values]
            yield node.lineno, "".join(map(str, parts))
            waiting += [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        else:
            waiting += ast.iter_child_nodes(node)


@cache
def mentions() -> tuple[Mention, ...]:
    found: list[Mention] = []
    for file in python_files():
        name = str(file.relative_to(ROOT))
        for line, text in strings(ast.parse(file.read_text("utf-8"))):
            found += _mentions(f"{name}:{line}", " ".join(text.split()))
    for page in sorted(ROOT.glob("**/*.md")):
        name = page.relative_to(ROOT)
        if any(part.startswith(".") for part in name.parts) or name.parts[0] in {"tests", "CHANGELOG.md"}:
            continue
        for line, text in enumerate(page.read_text("utf-8").splitlines(), 1):
            found += _mentions(f"{name}:{line}", text, is_whole=text.startswith(("$ ", "muniment ")))
    return tuple(one for one in found if not one.text.startswith(tuple(NO_COMMANDS)))


def _mentions(place: str, text: str, *, is_whole: bool = True) -> Iterator[Mention]:
    text = QUOTED.sub(FIELD, text)
    yield from (Mention(place, match[1].strip(), is_whole) for match in MENTION.finditer(text))
    for match in TICKED.finditer(text):
        first, _, rest = match[1].partition(" ")
        if first in COMMANDS and re.match(r"--|[a-z|-]+(\s|$)|[A-Z]{3}", rest):
            yield Mention(place, match[1], is_whole=False)


def wrong(text: str, *, is_whole: bool = True) -> str | None:
    """Why the program would not take it, or None."""
    first, _, rest = text.partition(" ")
    head = re.split(r"[,;:.)]", first)[0]
    complaints = [_wrong(name, rest if head == first else "", is_whole) for name in head.split("|")]
    return next((one for one in complaints if one), None)


def _wrong(name: str, rest: str, is_whole: bool) -> str | None:
    if name not in COMMANDS:
        return f"there is no command {name!r}"
    command = load(name)
    rest = rest.strip()
    while command.parts and rest:
        word = re.split(r"[\s,;:)]", rest)[0]
        if not re.fullmatch(r"[a-z][a-z-]*(\|[a-z-]+)*", word) or (word not in command.parts and _can_run(command)):
            break
        if unknown := [one for one in word.split("|") if one not in command.parts]:
            return f"{command.name} has no command {unknown[0]!r}"
        if "|" in word:
            return None
        command, rest = command.parts[word], rest[len(word) :].lstrip()
    end = END.search(rest)
    assert end  # it ends at the end at the latest
    tokens = rest[: end.start()].split()
    if not any(token.startswith("--") or _is_value(token) for token in tokens):
        return None  # the command alone: its name is meant, not a line to type
    if unknown := [one for token in tokens for one in OPTION.findall(token)[:1] if one not in known(command)]:
        return f"{command.name} has no option {unknown[0]}"
    if not is_whole or "..." in end[0] or tokens[0] in PROSE:
        return None  # the options are meant, not a line to type
    last = max(place for place, token in enumerate(tokens) if token.startswith("--") or _is_value(token))
    complaint = None
    for length in range(len(tokens), last, -1):
        complaint = _refused(command, [_filled(token) for token in tokens[:length]])
        if complaint is None:
            return None
    return complaint


def known(command: Command) -> set[str]:
    return {*command.options(), "--help"}


def _can_run(command: Command) -> bool:
    return bool(command.options())


def _is_value(token: str) -> bool:
    """Whether it is a placeholder or a value, and not a word of prose."""
    return FIELD in token or token.isupper() or any(character in token for character in "/@=*^")


def _filled(token: str) -> str:
    return token.replace(FIELD, "1").strip("'\"").replace("INDEX", "1").replace("SECONDS", "1")


def _refused(command: Command, tokens: list[str]) -> str | None:
    """What parsing complains of; nothing is run."""
    if "--help" in tokens:
        return None
    try:
        command.parse(tokens)
    except Usage as error:
        is_field = "invalid choice: '1'" in error.message  # whatever is put there
        return None if is_field else error.message
    return None


def test_there_are_mentions_to_look_at() -> None:
    places = {one.place.partition(":")[0].partition("/")[0] for one in mentions()}
    assert places >= {"services", "shared", "docs", "README.md"}
    assert len(mentions()) > 300


def test_every_named_command_line_is_one_that_the_program_takes() -> None:
    complaints = [f"{one}\n    {reason}" for one in mentions() if (reason := wrong(one.text, is_whole=one.is_whole))]
    assert not complaints, "\n".join(complaints)


def test_every_option_that_an_error_names_is_one_of_some_command() -> None:
    every: set[str] = {"--help", "--version"}
    waiting = [load(name) for name in COMMANDS]
    while waiting:
        command = waiting.pop()
        every |= set(command.options())
        waiting += command.parts.values()
    strange: list[str] = []
    for file in python_files():
        for call in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            told: list[Any] = [one.value for one in call.keywords if one.arg in {"hint", "expected", "message"}]
            if isinstance(call.func, ast.Attribute) and call.func.attr in {"say", "next"}:
                told += call.args
            for argument in told:
                for line, text in strings(argument):
                    strange += [
                        f"{file.relative_to(ROOT)}:{line}: {option}"
                        for option in LOOSE_OPTION.findall(QUOTED.sub(FIELD, text))
                        if option not in every
                    ]
    assert not strange, "\n".join(strange)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("promotion ls", "no command 'promotion'"),
        ("versions lst MODEL", "no command 'lst'"),
        ("versions ls|lst", "no command 'lst'"),
        ("promote REF", "reason"),
        ("promote REF --because TEXT", "no option --because"),
        (f"release create {FIELD} 1.0.0 --source REF", "no option --source"),
        ("token create NAME --role root/all, or another", "invalid choice"),
        ("log A B", "unrecognized"),
        ("up was given with --data-folder", "no option --data-folder"),
    ],
)
def test_a_wrong_mention_is_seen(text: str, complaint: str) -> None:
    assert complaint in (wrong(text) or "")


@pytest.mark.parametrize(
    "text",
    [
        "token ls shows them",
        "promote",
        "promote REF --reason TEXT",
        f"versions delete {FIELD} --reason TEXT deletes the version it is a copy of; the release stays",
        "bisect --good digits/1 --bad digits@main --metric accuracy --drop 0.02",
        "bisect run -- python check.py",
        "up was given with --data-dir",
        "versions ls|show",
    ],
)
def test_a_right_mention_is_not_complained_of(text: str) -> None:
    assert wrong(text) is None
