"""How a command line becomes a function's arguments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from muniment.cli.arguments import Command, Option
from muniment.cli.failures import Usage


@dataclass(frozen=True)
class Shared:
    loud: Annotated[bool, Option("Shout.", ("--loud", "-l"))] = False
    name: str | None = None


@pytest.fixture
def calls() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def command(calls: list[dict[str, Any]]) -> Command:
    app = Command("muniment try", "Try 100%.", example="muniment try a")

    @app.default
    def run(
        *source: Path,
        size: int,
        ratio: float = 0.5,
        tag: Annotated[tuple[str, ...], Option("NAME=TEXT")] = (),
        kind: Literal["big", "small"] = "big",
        after_index: int | None = None,
        force: bool = False,
        shared: Shared = Shared(),  # reason: frozen
    ) -> int:
        calls.append({name: value for name, value in locals().items() if name != "calls"})
        return 3

    return app


def test_what_is_left_out_is_the_default(command: Command, calls: list[dict[str, Any]]) -> None:
    assert command(["--size", "4"]) == 3
    assert calls == [
        {
            "source": (),
            "size": 4,
            "ratio": 0.5,
            "tag": (),
            "kind": "big",
            "after_index": None,
            "force": False,
            "shared": Shared(),
        }
    ]


def test_arguments_and_options_come_in_any_order(command: Command, calls: list[dict[str, Any]]) -> None:
    words = "a --size=4 b --tag x=1 --force c --tag y=2 --after-index -1 -l --name n --kind small --ratio 2"
    command(words.split())
    (call,) = calls
    assert call["source"] == (Path("a"), Path("b"), Path("c"))
    assert (call["tag"], call["force"], call["after_index"]) == (("x=1", "y=2"), True, -1)
    assert (call["kind"], call["ratio"], call["shared"]) == ("small", 2.0, Shared(loud=True, name="n"))


def test_after_two_dashes_nothing_is_an_option(command: Command, calls: list[dict[str, Any]]) -> None:
    command(["--size", "4", "--", "--help"])
    assert calls[0]["source"] == (Path("--help"),)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "--size"),
        ("--size four", "'four'"),
        ("--size 4 --kind middle", "'middle'"),
        ("--size 4 --siz 5", "--siz"),
        ("--size", "--size"),
        ("--size 4 --loud=no", "loud"),
    ],
)
def test_what_is_not_understood_is_named(command: Command, calls: list[Any], words: str, said: str) -> None:
    with pytest.raises(Usage, match=said) as refused:
        command(words.split())
    assert refused.value.hint == "muniment try --help"
    assert calls == []


def test_help_shows_every_option_and_runs_nothing(
    command: Command, calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["a", "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Usage: muniment try [SOURCE ...] --size SIZE [OPTIONS]\n\nTry 100%.\n")
    for name in ("--size", "--ratio", "--tag", "--kind {big,small}", "--after-index", "--force", "--loud, -l"):
        assert f"\n  {name}" in out
    assert "Example: muniment try a" in out
    assert calls == []


def test_a_noun_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    noun = Command("muniment things", "Things.")
    ran: list[str] = []

    @noun.command("show")
    def show(thing: str, /) -> None:
        """Show a thing."""
        ran.append(thing)

    assert noun([]) == noun(["-h"]) == 0
    assert "  show         Show a thing.\n" in capsys.readouterr().out
    assert noun(["show", "x"]) == 0
    assert ran == ["x"]
    with pytest.raises(Usage, match="THING"):
        noun(["show"])
    with pytest.raises(Usage) as refused:
        noun(["shwo", "x"])
    assert refused.value.hint == "did you mean `muniment things show`?"
