"""Each service runs by itself; any one of them may be away and come back at any point of a publication's way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from muniment.contracts import topics
from muniment.server.endpoints import endpoints_of
from muniment.server.parts import Parts
from muniment.server.stack import Endpoints, Running, running_stack
from muniment.server.wiring import NAMES, chosen
from tests.conftest import new_database

from .conftest import Outside, outside, stack_settings


class Fleet:
    """Five services, each in a stack of its own as `muniment run NAME` makes it, that can be stopped and started."""

    def __init__(self, settings: Any, endpoints: Endpoints) -> None:
        self.settings = settings
        self.endpoints = endpoints
        self.running: dict[str, Running] = {}
        self._stacks: dict[str, AsyncExitStack] = {}
        self._ports: dict[str, int] = {}

    async def start(self, name: str) -> None:
        stack = AsyncExitStack()
        http = self.settings.http.model_copy(update={"port": self._ports.get(name, 0)})
        settings = self.settings.model_copy(update={"http": http})
        context = running_stack(settings, self.endpoints, chosen((name,)), lambda _: None)
        self.running[name] = await stack.enter_async_context(context)
        self._ports[name] = int(self.running[name].url.rsplit(":", 1)[1])
        self._stacks[name] = stack

    async def stop(self, name: str) -> None:
        await self._stacks.pop(name).aclose()

    async def close(self) -> None:
        await asyncio.gather(*map(self.stop, [*self._stacks]))


@pytest.fixture(scope="module")
async def fleet(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    settings = stack_settings(tmp_path_factory.mktemp("fleet"))
    endpoints = endpoints_of(parts)
    fields = {name: getattr(endpoints, name) for name in endpoints.__dataclass_fields__}
    fleet = Fleet(settings, Endpoints(**{**fields, "postgres_dsn": await new_database(parts)}))
    await asyncio.gather(*map(fleet.start, NAMES))
    yield fleet
    await fleet.close()


@pytest.fixture(scope="module")
async def seen(fleet: Fleet) -> AsyncIterator[Outside]:
    async with outside(fleet.settings, fleet.endpoints, fleet.running["registry"].url) as client:
        yield client


@pytest.mark.parametrize("name", NAMES)
async def test_a_publication_waits_for_the_service_that_is_away(fleet: Fleet, seen: Outside, name: str) -> None:
    await fleet.stop(name)
    good = await seen.land("model.bin", f"while {name} is away".encode())
    bad = {**await seen.land("bad.bin", b"bad"), "sha256": "0" * 64}
    flows = []
    for run, files in (("good", [good]), ("bad", [bad])):
        record, flow = seen.event(f"away-{name}", files, run_id=run)
        await seen.send(record)
        flows.append(flow)
    await _as_far_as_it_gets(seen, name, flows[0])
    await fleet.start(name)
    await _ended_once(seen, flows[0], flows[1])


@pytest.mark.parametrize("name", NAMES)
async def test_a_service_is_restarted_while_publications_are_on_their_way(
    fleet: Fleet, seen: Outside, name: str
) -> None:
    flows = []
    for number in range(30):
        file = await seen.land("model.bin", f"{name} {number}".encode())
        record, flow = seen.event(f"under-way-{name}", [file], run_id=f"run-{number}")
        await seen.send(record)
        flows.append(flow)
        if number == 10:
            await fleet.stop(name)
        if number == 20:
            await fleet.start(name)
    numbers = [(await seen.until_seen(topics.VERSION_AVAILABLE, flow))["number"] for flow in flows]
    assert sorted(numbers) == list(range(1, 31))
    await _nothing_twice(seen, f"under-way-{name}", flows)


async def _as_far_as_it_gets(seen: Outside, away: str, flow: str) -> None:
    """Wait for the last event that can come while a service is away, so that it is missed for certain."""
    last = {
        topics.INGEST: None,
        topics.VALIDATOR: topics.MODEL_TRAINED,
        topics.REGISTRY: topics.MODEL_VALIDATED,
        topics.AUDIT: topics.VERSION_AVAILABLE,
        topics.NOTIFIER: topics.VERSION_AVAILABLE,
    }[away]
    if last is not None:
        await seen.until_seen(last, flow)


async def _ended_once(seen: Outside, good: str, bad: str) -> None:
    version = await seen.until_seen(topics.VERSION_AVAILABLE, good)
    rejected = await seen.until_seen(topics.MODEL_REJECTED, bad)
    assert rejected["code"] == "digest_mismatch"
    await seen.until_audited(f"models/{version['model']}/versions/{version['number']}", "version.committed")
    await seen.until_audited(f"publications/{bad}", "validation.rejected")
    await _nothing_twice(seen, version["model"], [good, bad])


async def _nothing_twice(seen: Outside, model: str, flows: list[str]) -> None:
    for topic in (topics.VERSION_AVAILABLE, topics.MODEL_REJECTED):
        ids = [json.loads(record.value)["publication_id"] for record in seen.records(topic)]
        assert len([i for i in ids if i in flows]) == len({i for i in ids if i in flows})
    # Every operation has its entry, and only one.
    entries = [json.loads(record.value)["entry"] for record in seen.records(topics.AUDIT_LOG)]
    commits = [entry["resource"] for entry in entries if entry["action"] == "version.committed"]
    assert len(commits) == len(set(commits))
    versions = [v async for v in seen.client.versions(model)]
    assert len({v.number for v in versions}) == len(versions) == len({v.id for v in versions})
