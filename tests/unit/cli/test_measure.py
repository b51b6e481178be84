"""Measuring from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from muniment.cli.commands.measure import sparkline
from muniment.testing.fake_registry import FakeRegistry
from tests.unit.cli.conftest import Run

DIVERGED = {"metric": "accuracy", "slice": "sevens", "actual": 0.5, "expected": ">= 0.88 (the baseline has 0.9)"}


@pytest.fixture
def sent(registry: FakeRegistry) -> list[tuple[str, list[Any]]]:
    """The path and rows of each batch."""
    seen: list[tuple[str, list[Any]]] = []

    def take(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            items = [
                {"number": number, "id": "sha256:ab", "value": number / 10, "source": "evaluation", "at": None}
                for number in (7, 8, 9)
            ]
            return httpx2.Response(200, json={"items": items, "next_page_token": None})
        rows = [json.loads(line) for line in request.read().splitlines()]
        seen.append((request.url.path, rows))
        answer = {"batch": "b-1", "model": "digits", "number": 3, "id": "sha256:ab", "kind": "evaluation"}
        answer |= {"count": len(rows), "repeated": False, "divergences": [DIVERGED]}
        return httpx2.Response(201, json=answer)

    registry.intercept = take
    return seen


def test_evaluate_sends_its_metrics_and_tells_what_diverged(run: Run, sent: list[tuple[str, list[Any]]]) -> None:
    line = ("evaluate", "digits/3", "--metric", "accuracy=0.5", "--slice", "sevens", "--dataset", "test")
    done = run(*line)
    assert done.code == 0, done.err
    row = {"metric": "accuracy", "value": 0.5, "slice": "sevens", "dataset": "test"}
    assert sent == [("/api/v1/models/digits/evaluations", [row])]
    assert "accuracy[sevens]: 0.5, >= 0.88 (the baseline has 0.9)" in done.out
    assert "muniment series digits accuracy" in done.err
    assert run(*line, "--json").json["divergences"] == [DIVERGED]
    assert run(*line, "-q").out == "b-1\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("points.csv", "metric,value,slice\nlatency,3,de\nlatency,4,\n"),
        ("points.jsonl", '{"metric": "latency", "value": 3, "slice": "de"}\n\n{"metric": "latency", "value": 4}\n'),
    ],
)
def test_observe_sends_a_file(
    run: Run, sent: list[tuple[str, list[Any]]], tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    done = run("observe", "digits", "--file", tmp_path / name, "--unit", "ms")
    assert done.code == 0, done.err
    rows = [
        {"unit": "ms", "metric": "latency", "value": 3, "slice": "de"},
        {"unit": "ms", "metric": "latency", "value": 4},
    ]
    assert sent == [("/api/v1/models/digits/observations", rows)]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("p.csv", "metric,value\nlatency,fast\n", "line 2"),
        ("p.csv", "metric,value\nlatency,nan\n", "line 2"),
        ("p.csv", "metric,value\nlatency,1,2\n", "line 2"),
        ("p.csv", "metric,step\nlatency,1\n", "header"),
        ("p.jsonl", '{"metric": "m", "value": 1}\n{"metric"\n', "line 2"),
        ("p.jsonl", "[1]\n", "line 1"),
    ],
)
def test_a_bad_file_is_told_by_its_line(
    run: Run, sent: list[tuple[str, list[Any]]], tmp_path: Path, name: str, text: str, told: str
) -> None:
    (tmp_path / name).write_text(text)
    done = run("evaluate", "digits", "--file", tmp_path / name)
    assert (done.code, told in done.err, sent) == (2, True, []), done.err


def test_metrics_or_a_file_not_both_and_not_neither(run: Run, sent: list[Any], tmp_path: Path) -> None:
    assert run("evaluate", "digits").code == 2
    assert run("evaluate", "digits", "--metric", "a=1", "--file", tmp_path / "p.csv").code == 2
    assert sent == []


def test_series_are_a_table_and_a_line(run: Run, sent: list[tuple[str, list[Any]]]) -> None:
    done = run("series", "digits", "accuracy")
    assert done.code == 0, done.err
    assert done.out.splitlines()[1].split() == ["digits/7", "0.7", "evaluation"]
    assert "▁▅█  0.7 to 0.9" in done.err
    assert [item["value"] for item in run("series", "digits", "accuracy", "--json").lines] == [0.7, 0.8, 0.9]


def test_a_sparkline_fits_a_line_whatever_it_is_given() -> None:
    assert sparkline([5.0, 5.0]) == "▁▁"
    assert sparkline([1.0]) == "▁"
    drawn = sparkline([float(n) for n in range(10_000)])
    assert (len(drawn), drawn[0], drawn[-1]) == (60, "▁", "█")
