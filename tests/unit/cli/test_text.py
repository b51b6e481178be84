from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.cli.text import cell, columns, duration, moment, pairs, printable, short, size, styled


@given(st.text())
def test_nothing_printed_can_steer_a_terminal(text: str) -> None:
    for character in printable(text):
        assert character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cf", "Cs"}


def test_escapes_are_shown_as_damage() -> None:
    assert printable("a\x1b[2Jb\u202ec") == "a\ufffd[2Jb\ufffdc"


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (327155712, "312.0 MiB"), (2**40 * 5000, "5000.0 TiB")],
)
def test_sizes(count: int, expected: str) -> None:
    assert size(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.71, "0.7s"), (42, "42s"), (59.7, "1m00s"), (185, "3m05s"), (7440, "2h04m")]
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_digests_are_short_and_still_references() -> None:
    assert short("sha256:" + "ab" * 32) == "sha256:abababababab"
    assert short(None) == ""


def test_moments() -> None:
    assert moment("2026-11-23T18:40:05.123456Z") == "2026-11-23 18:40:05Z"
    assert moment(None) == ""


def test_tables_line_up_and_keep_to_their_lines() -> None:
    assert columns(["A", "LONG"], [["x\ny", "1"], ["zzzz", "2"]]) == ["A     LONG", "x y   1", "zzzz  2"]


def test_pairs_leave_out_what_is_empty() -> None:
    assert pairs([("a", None), ("bb", {"x": True}), ("c", [1, 2]), ("d", "")]) == ["bb  x=yes", "c   1, 2"]
    assert cell(0) == "0"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert styled("x", "red", io.StringIO()) == "x"
    assert styled("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("x", "red", Terminal()) == "x"
