"""A registry in memory, a client for it, a folder to publish, and a machine that remembers nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment.sdk import Client
from muniment.sdk.transfer import pool
from muniment.testing.fake_registry import FakeRegistry


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, no settings, and no waiting between tries."""
    for name in list(os.environ):
        if name.startswith(("MUNIMENT_", "XDG_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    monkeypatch.setattr(pool, "_PAUSES", (0.0,) * 5)
    return home


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry().serving() as fake:
        yield fake


@pytest.fixture
def client(registry: FakeRegistry) -> Iterator[Client]:
    with Client(registry.url, "secret-token") as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model: two files, one of them in a directory."""
    root = tmp_path / "out"
    (root / "weights").mkdir(parents=True)
    (root / "weights" / "model.bin").write_bytes(bytes(range(256)) * 16)
    (root / "config.json").write_text('{"layers": 2}')
    return root
