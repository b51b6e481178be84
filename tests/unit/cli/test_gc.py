"""`muniment gc`: what it asks for, page by page, and what it prints."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from muniment.testing.fake_registry import FakeRegistry
from tests.unit.cli.conftest import Run


def page(prefix: str, leftovers: int, token: str | None, bucket: str = "models") -> dict[str, Any]:
    return {
        "dry_run": True,
        "place": {"bucket": bucket, "prefix": prefix},
        "looked_at": 10,
        "leftovers": leftovers,
        "size": leftovers * 1024,
        "kept": 0,
        "digest": "0" * 64,
        "older_than": "2026-01-02T03:04:05Z",
        "items": [],
        "next_page_token": token,
    }


@pytest.fixture
def asked(registry: FakeRegistry) -> list[tuple[str, str | None, Any]]:
    """Requests for leftovers: path, page token, body; each service has two pages."""
    seen: list[tuple[str, str | None, Any]] = []
    pages = {
        ("/sweep", None): page("blobs/sha256/", 2, "a"),
        ("/sweep", "a"): page("blobs/sha256/", 0, None),
        ("/gc/leftovers", None): page("blobs/sha256/", 1, "b"),
        ("/gc/leftovers", "b"): {**page("releases/", 4, None, "edge"), "locked": 3, "locked_size": 4096},
    }

    def answer(request: httpx2.Request) -> httpx2.Response:
        path, token = request.url.path.removeprefix("/api/v1"), request.url.params.get("page_token")
        seen.append((path, token, json.loads(request.read())))
        return httpx2.Response(200, json=pages[path, token])

    registry.intercept = answer
    return seen


def test_leftovers_are_told_by_place_and_nothing_is_freed_without_yes(run: Run, asked: list[Any]) -> None:
    done = run("gc", "--leftovers", "--dry-run", "--json")
    assert done.code == 0
    assert asked == [
        (path, token, {"dry_run": True})
        for path, token in (("/sweep", None), ("/sweep", "a"), ("/gc/leftovers", None), ("/gc/leftovers", "b"))
    ]
    assert done.json == {
        "dry_run": True,
        "looked_at": 40,
        "leftovers": 7,
        "size": 7 * 1024,
        "kept": 0,
        "locked": 3,
        "locked_size": 4096,
        "places": [
            {"bucket": "edge", "prefix": "releases/", "leftovers": 4, "size": 4096},
            {"bucket": "models", "prefix": "blobs/sha256/", "leftovers": 3, "size": 3072},
        ],
    }
    asked.clear()
    told = run("gc", "--leftovers")
    assert "edge/releases/" in told.out
    assert "3, 4.0 KiB: freed when their locks have ended" in told.out
    assert "7 of 40 would be freed" in told.out
    assert "muniment gc --leftovers --yes" in told.err
    assert all(body == {"dry_run": True} for _, _, body in asked)


def test_yes_frees_them(run: Run, asked: list[Any]) -> None:
    done = run("gc", "--leftovers", "--yes")
    assert (done.code, "7 of 40 freed" in done.out) == (0, True)
    assert all(body == {"dry_run": False} for _, _, body in asked)
    asked.clear()
    assert (run("gc", "--leftovers", "--yes", "--dry-run").code, asked) == (2, [])
