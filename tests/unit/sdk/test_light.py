"""Importing the SDK costs a training script next to nothing, and brings no server in."""

from __future__ import annotations

import subprocess
import sys

import pytest

import muniment.sdk

SERVER = {"fastapi", "faststream", "aiokafka", "asyncpg", "minio", "structlog", "uvicorn", "starlette"}


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing() -> None:
    loaded = loaded_by("import muniment.sdk")
    assert not loaded & (SERVER | {"httpx2", "pydantic", "cryptography", "asyncio", "muniment.contracts.errors"})


@pytest.mark.parametrize("name", ["Client", "AsyncClient", "capture"])
def test_the_clients_load_no_library_before_they_need_it(name: str) -> None:
    loaded = loaded_by(f"from muniment.sdk import {name}")
    assert not loaded & (SERVER | {"pydantic", "httpx2", "cryptography", "rich", "sqlite3"})


def test_every_exported_name_is_there() -> None:
    for name in muniment.sdk.__all__:
        assert getattr(muniment.sdk, name).__name__ == name
    assert set(muniment.sdk.__all__) == set(muniment.sdk._HOME) == set(dir(muniment.sdk))
    with pytest.raises(AttributeError):
        muniment.sdk.nothing  # noqa: B018  # reason: the access is what is tested
