"""`muniment promote --dry-run`: what it says, and how it ends."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from muniment.testing.fake_registry import FakeRegistry

from .conftest import Run

OPEN = {"name": "freeze", "passed": True, "expected": "not frozen", "actual": "not frozen"}
SHUT = {
    "name": "check bias",
    "passed": False,
    "expected": "passed",
    "actual": "not reported",
    "hint": "muniment check digits/3 bias --passed",
}


@pytest.mark.parametrize(
    ("gates", "code", "word", "then"),
    [
        ([OPEN], 0, "would be promoted", "muniment promote digits/3 --reason TEXT"),
        ([OPEN, SHUT], 6, "would be refused", "muniment check digits/3 bias --passed"),
    ],
)
def test_a_dry_run_tells_what_would_come_of_it(
    run: Run, registry: FakeRegistry, gates: list[dict[str, Any]], code: int, word: str, then: str
) -> None:
    found = {
        "changed": False,
        "line": "forward",
        "baseline": {"model": "digits", "number": 3, "id": "sha256:" + "a" * 64},
        "previous": None,
        "gates": gates,
        "undone": [],
    }
    registry.intercept = lambda request: (
        httpx2.Response(200, json=found) if request.url.path.endswith("/promote") else None
    )
    done = run("promote", "digits/3", "--reason", "x", "--dry-run")
    assert (done.code, done.out.split("  ")[0]) == (code, word)
    assert f"next: {then}" in done.err
    assert run("promote", "digits/3", "--reason", "x", "--dry-run", "--json").code == code
