"""Scrubbers of further processes, and what is done to bytes behind the registry's back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from muniment.ports.blobs import Location
from muniment.ports.clock import SystemClock
from muniment.registry.scrubbing.wiring import Scrubbing, scrubbing
from muniment.runtime.metrics import Metrics
from muniment.runtime.service import Deps
from muniment.runtime.settings import Settings

from .conftest import Registry

GOOD = b"weights that production runs"


@pytest.fixture
def replica(registry: Registry, settings: Settings) -> Callable[..., Scrubbing]:
    """Makes the scrubbers of further processes; `scrub` are settings."""

    def make(**scrub: Any) -> Scrubbing:
        given = settings.model_copy(
            update={
                "registry": settings.registry.model_copy(
                    update={"scrub": settings.registry.scrub.model_copy(update=scrub)}
                )
            }
        )
        metrics = Metrics(CollectorRegistry())
        deps = Deps(
            given,
            registry.pool,
            registry.transactions,
            registry.blobs,
            None,  # type: ignore[arg-type]  # reason: the scrubber asks no identities
            SystemClock(),
            metrics,
        )
        return scrubbing(deps)

    return make


def place(file: dict[str, Any]) -> Location:
    where = file["location"]
    return Location(where["bucket"], where["key"], where["version_id"])


async def lose(registry: Registry, at: Location) -> None:
    """Take a locked version out of the store, as no client can."""
    versions = registry.blobs._objects.bucket(at.bucket).keys[at.key]
    versions[:] = [one for one in versions if one.location.version_id != at.version_id]


async def scrub(registry: Registry, one: Scrubbing, model: str | None = None) -> dict[str, Any]:
    """A whole pass, by one process."""
    run = await registry.post("/scrub/runs", status=202, **({"model": model} if model else {}))
    for _ in range(100):
        await one.scrubber.step()
        now = await registry.get(f"/scrub/runs/{run['id']}")
        if now["finished_at"]:
            return dict(now)
        # Time pays the debt of the pace; the test does.
        await registry.pool.execute("UPDATE scrub_pace SET debt = 0")
    raise AssertionError(f"the pass does not end: {now}")
