"""Blame agrees with a walk that looks at every step."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from muniment.registry.history.blame import Target, blame
from muniment.registry.history.fields import field_name, same, sections_of
from muniment.registry.history.graph import Graph

from .strategies import graph_of, parents_of

VALUES = st.sampled_from([0, 1, True, False, "a"])
MISSING = object()


def walked(graph: Graph, held: dict[int, dict[str, Any]], start: int, field: str, *, first_only: bool) -> int:
    """Go to the first parent that has the same value, until there is none."""
    number = start
    while True:
        for parent in graph.parents(number, first_only=first_only):
            other = held[parent].get(field, MISSING)
            if other is not MISSING and same(other, held[start][field]):
                number = parent
                break
        else:
            return number


@given(parents_of(25), st.data(), st.booleans())
def test_blame_is_the_walk(parents: dict[int, list[int]], data: st.DataObject, first_only: bool) -> None:
    graph = graph_of(parents)
    held = {
        number: data.draw(st.dictionaries(st.sampled_from(["lr", "seed", "n"]), VALUES, max_size=3))
        for number in parents
    }
    start = max(parents)
    target = Target({"params": held[start]})
    shared = {number: target.shared({"params": values}) for number, values in held.items()}
    found = blame(graph, start, shared, target.all, first_only=first_only)
    by_field = {field: number for number, fields in found.items() for field in target.names(fields)}
    assert by_field == {
        f"params.{name}": walked(graph, held, start, name, first_only=first_only) for name in held[start]
    }


def test_the_fields_of_a_manifest() -> None:
    sections = sections_of(
        {
            "model": "digits",
            "run_id": "r",
            "params": {"lr": 0.1},
            "metrics": {"accuracy": 0.9},
            "datasets": [
                {"name": "train", "digest": "d1"},
                {"name": "test", "digest": "d2", "split": "a"},
                {"name": "test", "digest": "d3", "split": "b"},
            ],
            "code": {"commit": "c0ffee"},
            "environment": {"python": "3.12", "packages": {"numpy": "2.0"}},
            "files": [{"path": "a/b.bin", "sha256": "ab", "size": 1, "format": "unknown", "role": "file"}],
        }
    )
    fields = {
        field_name(section, name): value for section, values in sections.items() for name, value in values.items()
    }
    assert fields == {
        "run_id": "r",
        "params.lr": 0.1,
        "metrics.accuracy": 0.9,
        "datasets.train.digest": "d1",
        "datasets.test[a].digest": "d2",
        "datasets.test[a].split": "a",
        "datasets.test[b].digest": "d3",
        "datasets.test[b].split": "b",
        "code.commit": "c0ffee",
        "environment.python": "3.12",
        "environment.packages.numpy": "2.0",
        "files.a/b.bin": "ab",
    }
