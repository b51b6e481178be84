"""The drawing of a graph: what it looks like, and that every edge can be followed in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muniment.cli.graph import Line, draw


def drawn(rows: list[tuple[int, list[int]]]) -> list[str]:
    return [line.lanes if line.key is None else f"{line.lanes} {line.key}" for line in draw(rows)]


def test_a_line() -> None:
    assert drawn([(3, [2]), (2, [1]), (1, [])]) == ["* 3", "* 2", "* 1"]


def test_a_branch() -> None:
    assert drawn([(4, [2]), (3, [2]), (2, [1]), (1, [])]) == ["* 4", "| * 3", "|/", "* 2", "* 1"]


def test_a_merge() -> None:
    assert drawn([(4, [2, 3]), (3, [1]), (2, [1]), (1, [])]) == ["* 4", "|\\", "| * 3", "* | 2", "|/", "* 1"]


def test_several_roots_do_not_look_like_one_line() -> None:
    assert drawn([(3, [1]), (2, []), (1, [])]) == ["* 3", "| * 2", "|", "* 1"]
    assert drawn([(2, []), (1, [])]) == ["* 2", "", "* 1"]


@st.composite
def histories(draw_: st.DrawFn) -> list[tuple[int, list[int]]]:
    count = draw_(st.integers(1, 15))
    parents = {
        number: draw_(st.lists(st.integers(max(1, number - 5), number - 1), max_size=3, unique=True))
        if number > 1
        else []
        for number in range(1, count + 1)
    }
    return [(number, parents[number]) for number in range(count, 0, -1)]


@given(histories())
def test_every_edge_can_be_followed_with_a_finger_and_no_other(rows: list[tuple[int, list[int]]]) -> None:
    wanted = {(number, parent) for number, parents in rows for parent in parents}
    assert followed(list(draw(rows))) == wanted


def followed(lines: list[Line]) -> set[tuple[int, int]]:
    """Follow the characters alone: `|` goes down, `/` to the left, `\\` to the right, `_` on to the next `_`."""
    edges: set[tuple[int, int]] = set()
    lanes: dict[int, set[int]] = {}
    for line in lines:
        text = line.lanes
        now: dict[int, set[int]] = {}

        def at(place: int, text: str = text) -> str:
            return text[place] if 0 <= place < len(text) else " "

        if line.key is not None:
            star = text.index("*")
            assert all(at(place) in "|*" for place in lanes), "no open lane is dropped"
            edges |= {(source, int(str(line.key))) for source in lanes.get(star, ())}
            lanes = {**lanes, star: {int(str(line.key))}}
            continue
        for place, sources in lanes.items():
            goals = []
            if at(place) == "|":
                goals.append(place)
            if at(place + 1) == "\\":
                goals.append(place + 2)
            if at(place) == " " and at(place - 1) == "/":
                goal = place - 2
                while at(goal - 1) == "_":
                    goal -= 2
                goals.append(goal)
            for goal in goals:
                now.setdefault(goal, set()).update(sources)
        lanes = now
    return edges
