"""Draws a graph of versions in lanes, as `git log --graph` does. Pure: rows in, lines out, one row at a time."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

Key = Hashable


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the drawing; `key` is the row that stands on it, None where edges alone do."""

    lanes: str
    key: Key | None = None


def draw(rows: Iterable[tuple[Key, Sequence[Key]]]) -> Iterator[Line]:
    """The lines of rows `(key, parents)`, children before their parents. Needs memory for the open lanes alone.

    A lane is the key it waits for. A parent that never comes leaves its lane open to the end, as on a page that ends
    before the history does.
    """
    lanes: list[Key] = []
    ended: Line | None = None
    for key, parents in rows:
        if ended is not None:
            yield ended
        if key not in lanes:
            lanes.append(key)
        at = lanes.index(key)
        yield from _join(lanes, key, at)
        yield Line(" ".join("*" if place == at else "|" for place in range(len(lanes))), key)
        # A root with nothing below it: without a line between, the next row would look like its parent.
        ended = None if parents else _end(lanes, at)
        yield from _leave(lanes, at, list(dict.fromkeys(parents)))


def _join(lanes: list[Key], key: Key, at: int) -> Iterator[Line]:
    """Lanes that wait for the same row come together in the first of them, the last one first."""
    while (last := len(lanes) - 1 - lanes[::-1].index(key)) != at:
        yield from _walk(lanes, last, at)


def _walk(lanes: list[Key], lane: int, to: int) -> Iterator[Line]:
    """One lane goes left, under those between it and its goal, and ends there; those on its right move up by one."""
    row = list(" ".join(["|"] * lane)) + [" "] * (2 * (len(lanes) - lane))
    for place in range(2 * to + 1, 2 * lane - 1, 2):
        row[place] = "_"
    for other in range(lane, len(lanes)):
        row[2 * other - 1] = "/"
    del lanes[lane]
    yield _line(row)


def _leave(lanes: list[Key], at: int, parents: list[Key]) -> Iterator[Line]:
    """The first parent goes on in the row's lane, each further one in a lane of its own right beside it."""
    lanes[at : at + 1] = parents[:1]
    for parent in reversed(parents[1:]):
        row = list(" ".join(["|"] * (at + 1))) + [" "] * (2 * (len(lanes) - at))
        for other in range(at, len(lanes)):
            row[2 * other + 1] = "\\"
        lanes.insert(at + 1, parent)
        yield _line(row)


def _end(lanes: list[Key], at: int) -> Line:
    """The line below a root: its lane is gone, those on its right move up by one."""
    row = list(" ".join(["|"] * at)) + [" "] * (2 * (len(lanes) - at) + 1)
    for other in range(at + 1, len(lanes)):
        row[2 * other - 1] = "/"
    return _line(row)


def _line(row: list[str]) -> Line:
    return Line("".join(row).rstrip())
