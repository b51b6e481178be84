"""The command line against a registry in memory, over real HTTP on loopback."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from muniment.cli.main import main
from muniment.testing.fake_registry import FakeRegistry


@dataclass(frozen=True)
class Done:
    """What a command line left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.err.splitlines()[-1])
        return found


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and no settings."""
    for name in list(os.environ):
        if name.startswith(("MUNIMENT_", "XDG_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRegistry]:
    """A registry in memory; the environment names it."""
    with FakeRegistry().serving() as fake:
        monkeypatch.setenv("MUNIMENT_URL", fake.url)
        monkeypatch.setenv("MUNIMENT_TOKEN", "secret-token")
        yield fake


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in this process."""

    def run_line(*tokens: object) -> Done:
        capsys.readouterr()
        code = main([str(token) for token in tokens])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run_line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model."""
    root = tmp_path / "out"
    root.mkdir()
    (root / "model.bin").write_bytes(b"weights" * 100)
    (root / ".git").mkdir()
    return root


@pytest.fixture
def sent(registry: FakeRegistry) -> list[tuple[str, str, Any]]:
    """Every change that is asked for: method, path, body."""
    seen: list[tuple[str, str, Any]] = []

    def look(request: httpx2.Request) -> httpx2.Response | None:
        if request.method == "GET":
            return None
        seen.append((request.method, request.url.path.removeprefix("/api/v1"), json.loads(request.read() or b"null")))
        answer = {"id": "s-1", "kid": "ab" * 8, "token": "mun_secret", "secret": "whsec_x", "state": "paused"}
        return httpx2.Response(200, json=answer)

    registry.intercept = look
    return seen
