"""What `release` and `tracks` send and say."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from muniment.testing.fake_registry import FakeRegistry
from tests.unit.cli.conftest import Run

RELEASE = {
    "model": "digits",
    "semver": "1.2.0",
    "id": "sha256:" + "ab" * 32,
    "prerelease": False,
    "source": {"number": 3, "id": "sha256:" + "cd" * 32},
    "track": "edge",
    "copy": "physical",
    "released_at": "2026-01-02T03:04:05Z",
}
TRACK = {"name": "edge", "lock_mode": "COMPLIANCE", "retention_s": 7_776_000, "bucket": "edge-models"}


@pytest.fixture
def sent(registry: FakeRegistry) -> list[tuple[str, str, Any]]:
    seen: list[tuple[str, str, Any]] = []

    def look(request: httpx2.Request) -> httpx2.Response | None:
        path = request.url.path.removeprefix("/api/v1")
        if request.method == "GET":
            return None
        seen.append((request.method, path, json.loads(request.read())))
        return httpx2.Response(200, json=TRACK if path.startswith("/tracks") else RELEASE)

    registry.intercept = look
    return seen


def test_a_release_is_made(run: Run, sent: list[Any]) -> None:
    options = ["--from", "digits/3", "--track", "edge", "--copy", "physical", "--notes", "x"]
    line = ["release", "create", "digits", "1.2.0", *options]
    done = run(*line)
    body = {"version": "1.2.0", "ref": "digits/3", "track": "edge", "copy": "physical", "notes": "x"}
    assert sent == [("POST", "/models/digits/releases", body)]
    assert "digits@1.2.0" in done.out
    assert "muniment download digits@1.2.0 DIR" in done.err
    assert run(*line, "--json").json == RELEASE
    assert run(*line, "-q").out == "digits@1.2.0\n"


def test_a_version_that_is_none_is_told_what_semver_wants(run: Run, sent: list[Any]) -> None:
    done = run("release", "create", "digits", "v1.2", "--from", "digits/3")
    assert done.code != 0
    assert sent == []
    for words in ("MAJOR.MINOR.PATCH", "without a v", "v1.2", "write 1.2.0"):
        assert words in done.err


def test_releases_are_listed(run: Run, registry: FakeRegistry) -> None:
    registry.lists["models/digits/releases"] = [RELEASE]
    assert "digits@1.2.0  sha256:abababababab  3" in run("release", "ls", "digits").out
    assert run("release", "ls", "digits", "--json").lines == [RELEASE]


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ("--retention 90d", {"retention_s": 7_776_000}),
        ("--format onnx --format gguf --check fair", {"formats": ["onnx", "gguf"], "checks": ["fair"]}),
        ("--any-format --no-checks", {"formats": None, "checks": []}),
        ("--lock COMPLIANCE --bucket edge-models", {"lock_mode": "COMPLIANCE", "bucket": "edge-models"}),
        ("--bucket=", {"bucket": None}),
    ],
)
def test_a_track_is_set(run: Run, sent: list[Any], options: str, body: dict[str, Any]) -> None:
    done = run("tracks", "set", "edge", *options.split())
    assert sent == [("PUT", "/tracks/edge", body)]
    assert "retention  90d" in done.out


@pytest.mark.parametrize("options", ["", "--retention 90", "--retention 0d", "--format a --any-format"])
def test_what_sets_nothing_is_a_mistake(run: Run, sent: list[Any], options: str) -> None:
    assert run("tracks", "set", "edge", *options.split()).code == 2
    assert sent == []
