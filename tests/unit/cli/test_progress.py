from __future__ import annotations

import io

from muniment.cli.progress import ProgressLine
from muniment.sdk import Progress

MIB = 1024 * 1024


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def play(stream: io.StringIO) -> str:
    clock = Clock()
    with ProgressLine(stream, clock=clock) as line:
        for stage in ("hash", "upload"):
            for done in range(5):
                line(Progress("hash" if stage == "hash" else "upload", done * MIB, 4 * MIB, "model.bin"))
                clock.now += 0.5
            clock.now += 60
    return stream.getvalue()


def test_elsewhere_each_stage_is_one_line() -> None:
    assert play(io.StringIO()) == "hash      4.0 MiB in 2.0s (2.0 MiB/s)\nupload    4.0 MiB in 2.0s (2.0 MiB/s)\n"


def test_on_a_terminal_the_line_is_drawn_in_place() -> None:
    drawn = play(Terminal())
    assert "upload     2.0 MiB / 4.0 MiB  50%  2.0 MiB/s  ETA 1.0s  model.bin" in drawn
    assert drawn.count("\n") == 2
    assert drawn.endswith("upload    4.0 MiB in 2.0s (2.0 MiB/s)\n")


def test_drawing_is_bounded_in_time() -> None:
    stream, clock = Terminal(), Clock()
    with ProgressLine(stream, clock=clock) as line:
        for done in range(1000):
            clock.now += 0.001
            line(Progress("upload", done, 1000))
    assert stream.getvalue().count("\r") <= 12


def test_a_stage_that_was_cut_off_says_how_far_it_came() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressLine(stream, clock=clock) as line:
        line(Progress("upload", 0, 4 * MIB))
        clock.now += 1
        line(Progress("upload", MIB, 4 * MIB))
    assert stream.getvalue() == "upload    1.0 MiB of 4.0 MiB in 1.0s\n"


def test_nothing_moved_says_nothing() -> None:
    stream = io.StringIO()
    with ProgressLine(stream):
        pass
    assert stream.getvalue() == ""


def test_an_empty_file_does_not_divide_by_zero() -> None:
    stream = Terminal()
    with ProgressLine(stream, clock=Clock()) as line:
        line(Progress("hash", 0, 0))
    assert "0 B" in stream.getvalue()


def test_a_file_name_cannot_steer_the_terminal() -> None:
    stream = Terminal()
    with ProgressLine(stream, clock=Clock()) as line:
        line(Progress("hash", 0, 1, "a\x1b]0;x\x07b"))
    assert "\x1b]" not in stream.getvalue()
