"""Comparing from the command line: what is asked, and the tables."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from muniment.testing.fake_registry import FakeRegistry
from tests.unit.cli.conftest import Run

FILE = {"sha256": "ab" * 32, "size": 2048, "format": "safetensors"}
SIDE = {"file": "m.safetensors", "dtype": "F32", "shape": [2, 3]}
NOTHING = {"change_norm": None, "relative_change": None, "cosine": None, "max_change": None}
ANSWER: dict[str, Any] = {
    "versions": [{"model": "digits", "number": 1, "deleted": True}, {"model": "digits", "number": 2}],
    "sections": {
        "metrics": [
            {
                "name": "acc|x",
                "values": [0.5, 0.75],
                "present": [True, True],
                "deltas": [0.0, 0.25],
                "changes": [None, "better"],
            }
        ],
        "params": [{"name": "lr", "values": [None, None], "present": [True, False]}],
        "packages": [],
        "files": [{"name": "m.safetensors", "values": [FILE, None], "present": [True, False]}],
    },
    "cut": {"params": 1200},
    "tensors": {
        "counts": {"changed": 1, "added": 1, "unchanged": 7},
        "same_files": 2,
        "bytes_read": 4096,
        "rows": [
            {
                "name": "w",
                "status": "changed",
                "from": SIDE,
                "to": {**SIDE, "dtype": "BF16"},
                "change_norm": 5.0,
                "relative_change": 0.5,
                "cosine": 0.875,
                "max_change": 3.0,
                "flags": ["dtype_changed"],
            },
            {"name": "b\x1b[2J", "status": "added", "from": None, "to": SIDE, **NOTHING, "flags": []},
        ],
        "cut": None,
    },
}


@pytest.fixture
def asked(registry: FakeRegistry) -> list[str]:
    """The targets of the requests."""
    seen: list[str] = []

    def take(request: httpx2.Request) -> httpx2.Response:
        seen.append(f"{request.url.path}?{request.url.query.decode()}")
        return httpx2.Response(200, json=ANSWER)

    registry.intercept = take
    return seen


def test_diff_shows_a_table_for_each_section(run: Run, asked: list[str]) -> None:
    done = run("diff", "digits/1", "digits@exp/a")
    assert done.code == 0, done.err
    assert asked == ["/api/v1/diff?from=digits%2F1&to=digits%40exp%2Fa&tensors=true&only_changed=true"]
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "NAME digits/1 (deleted) digits/2" in lines
    assert "acc|x 0.5 0.75 (+0.25, better)" in lines
    assert "lr null -" in lines
    assert "the first 1 of 1200 are shown" in lines
    assert "m.safetensors abababababab, 2.0 KiB -" in lines
    assert "w changed F32 to BF16 [2, 3] 5 0.5 0.875 3 dtype changed" in lines
    assert "1 added, 1 changed, 7 unchanged; 2 files are the same; 4.0 KiB read" in lines
    assert "packages" not in lines
    assert "\x1b" not in done.out
    assert "muniment log digits@exp/a" in done.err


def test_markdown_json_and_names(run: Run, asked: list[str]) -> None:
    text = run("diff", "digits/1", "digits/2", "--markdown").out
    assert "| acc\\|x | 0.5 | 0.75 (+0.25, better) |" in text
    assert "### tensors\n\n| TENSOR | STATUS | DTYPE |" in text
    assert run("diff", "digits/1", "digits/2", "--json").json == ANSWER
    assert run("diff", "digits/1", "digits/2", "-q").out.split("\n")[:2] == ["metrics/acc|x", "params/lr"]


def test_options_reach_the_server(run: Run, asked: list[str]) -> None:
    run("diff", "digits/1", "digits/2", "--all", "--no-tensors")
    run("compare", "digits/1", "digits/2", "digits/3", "--all")
    assert asked == [
        "/api/v1/diff?from=digits%2F1&to=digits%2F2&tensors=false&only_changed=false",
        "/api/v1/compare?ref=digits%2F1&ref=digits%2F2&ref=digits%2F3&only_changed=false",
    ]


def test_nothing_differs(run: Run, registry: FakeRegistry) -> None:
    nothing = {**ANSWER, "sections": {"metrics": []}, "tensors": None, "cut": {}}
    registry.intercept = lambda request: httpx2.Response(200, json=nothing)
    assert run("compare", "digits/1", "digits/2").out == "nothing differs\n"
