"""A step may be counted: a process ends at the n-th time it comes by, not before."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from muniment.runtime import stop_point


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    signals: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _pid, number: signals.append(number))
    yield signals
    stop_point.configure(None)


def test_it_ends_the_nth_time(killed: list[int]) -> None:
    stop_point.configure("a.b#3")
    for _ in range(2):
        stop_point.reached("a.b")
        stop_point.reached("a.c")
    assert killed == []
    stop_point.reached("a.b")
    assert killed == [signal.SIGKILL]


def test_without_a_count_the_first_time_ends_it(killed: list[int]) -> None:
    stop_point.configure("a.b")
    stop_point.reached("a.b")
    assert killed == [signal.SIGKILL]


@pytest.mark.parametrize("name", ["a.b#0", "a.b#x", "a.b#"])
def test_a_count_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError):  # reason: int's own words for two of them
        stop_point.configure(name)
