"""The event feed: one order, nothing lost, and waiting that ends when something comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent
from muniment.contracts.errors import Rejected
from muniment.contracts.events import RegistryChanged
from muniment.notifier import feed as feed_module
from muniment.notifier.domain import glob_matches
from muniment.notifier.feed import CursorGone, Feed, like_pattern
from muniment.notifier.prune import Pruner
from muniment.ports.clock import SystemClock

from .conftest import Notifier, Running, available, eventually, incoming


@pytest.fixture
async def running(notifier: Notifier) -> AsyncIterator[Running]:
    async with notifier.running(deliver=False) as made:
        yield made


def created(model: str) -> CloudEvent:
    payload = RegistryChanged(kind="model-created", model=model, operator="muniment|ada")
    return CloudEvent(
        id=f"created-{model}",
        source="/muniment/registry",
        type=topics.REGISTRY_CHANGED.type,
        data=payload.model_dump_json(exclude_none=True).encode(),
    )


async def test_events_are_read_in_order_from_a_cursor(running: Running) -> None:
    await running.tell(created("digits"), *(available(number) for number in range(1, 6)))
    first = await running.feed.read(0, limit=2)
    rest = await running.feed.read(first.cursor, limit=100)
    assert [item.event["id"] for item in (*first.items, *rest.items)] == ["created-digits"] + [
        f"digits-{number}" for number in range(1, 6)
    ]
    assert rest.items[0].event["data"]["number"] == 2
    assert (await running.feed.read(rest.cursor, limit=100)).items == ()
    assert (await running.feed.read(None, limit=100)).cursor == rest.cursor


async def test_the_same_event_again_changes_nothing(running: Running, notifier: Notifier) -> None:
    await notifier.subscribe("http://127.0.0.1:9/")
    await running.tell(available(1))
    await running.tell(available(1), available(2))
    await running.tell(available(2), available(1))
    page = await running.feed.read(0, limit=10)
    assert [item.event["id"] for item in page.items] == ["digits-1", "digits-2"]
    assert await notifier.states() == ["pending", "pending"]


async def test_a_later_batch_cannot_become_visible_before_an_earlier_one(running: Running, notifier: Notifier) -> None:
    topic = topics.VERSION_AVAILABLE
    handler = running.handlers[topic.type]
    async with running.transactions.begin() as tx:
        await handler.apply(tx, incoming(topic, [available(1)]))
        later = asyncio.create_task(running.tell(available(2)))

        async def blocked() -> bool:
            return bool(await notifier.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await eventually(blocked)
        assert (await running.feed.read(0, limit=10)).items == ()
    await later
    page = await running.feed.read(0, limit=10)
    assert [item.event["id"] for item in page.items] == ["digits-1", "digits-2"]


async def test_a_batch_that_rolls_back_leaves_no_event_and_stops_nobody(running: Running, notifier: Notifier) -> None:
    topic = topics.VERSION_AVAILABLE
    await notifier.subscribe("http://127.0.0.1:9/")

    async def fail_before_the_commit() -> None:
        async with running.transactions.begin() as tx:
            await running.handlers[topic.type].apply(tx, incoming(topic, [available(1)]))
            raise RuntimeError("the process fails here")

    with pytest.raises(RuntimeError):
        await fail_before_the_commit()
    assert await notifier.states() == []
    await running.tell(available(2))
    assert [item.event["id"] for item in (await running.feed.read(0, limit=9)).items] == ["digits-2"]


async def test_a_reader_beside_many_writers_misses_nothing(running: Running) -> None:
    total = 200

    async def write(writer: int) -> None:
        for number in range(1, total // 4 + 1):
            await running.tell(available(number, model=f"m{writer}"))

    async def read() -> list[int]:
        seen: list[int] = []
        ids: set[str] = set()
        cursor = 0
        while len(ids) < total:
            page = await running.feed.read(cursor, limit=7, wait_s=20)
            seen.extend(item.cursor for item in page.items)
            ids.update(item.event["id"] for item in page.items)
            cursor = page.cursor
        return seen

    async with asyncio.timeout(30):
        reading = asyncio.create_task(read())
        await asyncio.gather(*(write(writer) for writer in range(4)))
        seen = await reading
    assert len(seen) == total
    assert seen == sorted(seen)


async def test_waiting_ends_with_the_next_event(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_POLL_S", 60.0)  # only the wake-up can end the wait in time
    waiting = asyncio.create_task(running.feed.read(None, limit=10, wait_s=30))
    filtered = asyncio.create_task(
        running.feed.read(0, limit=10, wait_s=30, model="other", event_type="version-available")
    )
    await eventually(lambda: is_waiting(running.feed, 2))
    await running.tell(available(1))
    async with asyncio.timeout(10):
        assert [item.event["id"] for item in (await waiting).items] == ["digits-1"]
        assert not filtered.done()
        await running.tell(available(1, model="Other"))
        assert [item.event["id"] for item in (await filtered).items] == ["Other-1"]


async def is_waiting(feed: Feed, count: int) -> bool:
    return feed._waiting == count


async def test_events_of_another_process_are_found_by_looking(
    running: Running, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "_POLL_S", 0.05)
    elsewhere = Feed(notifier.pool)
    waiting = asyncio.create_task(elsewhere.read(0, limit=10, wait_s=30))
    await eventually(lambda: is_waiting(elsewhere, 1))
    await running.tell(available(1))
    assert len((await asyncio.wait_for(waiting, 10)).items) == 1


async def test_waiting_ends_empty_when_nothing_comes(running: Running) -> None:
    page = await running.feed.read(0, limit=10, wait_s=0.05)
    assert (page.items, page.cursor) == ((), 0)


async def test_the_cursor_passes_what_the_filter_leaves_out(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_SCAN_ROWS", 3)
    monkeypatch.setattr(feed_module, "_SCANS", 2)
    await running.tell(*(available(number, model="other") for number in range(1, 8)), available(9))
    head = (await running.feed.read(None, limit=1)).cursor
    page = await running.feed.read(0, limit=10, model="digits", wait_s=20)
    assert page.items == ()  # it looked at as much as one answer may
    assert 0 < page.cursor < head
    page = await running.feed.read(page.cursor, limit=10, model="digits")
    assert ([item.event["id"] for item in page.items], page.cursor) == (["digits-9"], head)


async def test_a_page_is_bounded_in_bytes(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    await running.tell(*(available(number, description="x" * 10_000) for number in range(1, 7)))
    monkeypatch.setattr(feed_module, "_PAGE_BYTES", 25_000)
    sizes = []
    cursor = 0
    while (page := await running.feed.read(cursor, limit=100)).items:
        sizes.append(len(page.items))
        cursor = page.cursor
    assert sizes == [3, 3]
    monkeypatch.setattr(feed_module, "_PAGE_BYTES", 1)
    assert len((await running.feed.read(0, limit=100)).items) == 1  # a large one still gets through


async def test_types_are_told_by_name_or_in_full(running: Running) -> None:
    await running.tell(created("digits"), available(1))
    for name in ("version-available", "muniment.version-available.v1"):
        page = await running.feed.read(0, limit=10, event_type=name)
        assert [item.event["id"] for item in page.items] == ["digits-1"]
    with pytest.raises(Rejected, match="event type is not known"):
        await running.feed.read(0, limit=10, event_type="audit-log")


async def test_cursors_that_would_skip_or_wait_for_ever_are_refused(running: Running, notifier: Notifier) -> None:
    class Later:
        def now(self) -> datetime:
            return datetime.now(UTC) + timedelta(days=40)

    await running.tell(*(available(number) for number in range(1, 4)))
    kept = (await running.feed.read(0, limit=1)).cursor
    with pytest.raises(Rejected) as caught:
        await running.feed.read(10**9, limit=1)
    assert caught.value.code == "cursor_unknown"
    await Pruner(notifier.pool, Later(), 30).prune()
    with pytest.raises(CursorGone) as gone:
        await running.feed.read(kept, limit=1)
    assert (gone.value.http_status, gone.value.code) == (410, "cursor_gone")
    await running.tell(available(9))
    page = await running.feed.read(0, limit=10)
    assert [item.event["id"] for item in page.items] == ["digits-9"]
    assert (await running.feed.read(page.cursor, limit=10)).items == ()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="aB*?_%\\.", max_size=8), st.text(alphabet="aB_%\\.", max_size=8))
def test_patterns_mean_the_same_in_sql(glob: str, text: str) -> None:
    """LIKE's rules written out: the feed's SQL and the filters must agree on every name."""
    pattern = like_pattern(glob)
    assert like_matches(pattern, text) == glob_matches(glob, text)


def like_matches(pattern: str, text: str) -> bool:
    """Postgres' LIKE with its default escape, by recursion."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(like_matches(pattern[1:], text[start:]) for start in range(len(text) + 1))
    if not text:
        return False
    if pattern[0] == "\\":
        return pattern[1] == text[0] and like_matches(pattern[2:], text[1:])
    return pattern[0] in ("_", text[0]) and like_matches(pattern[1:], text[1:])


async def test_postgres_reads_the_patterns_as_meant(notifier: Notifier) -> None:
    cases = [("a_c", "abc"), ("a_c", "a_c"), ("a%", "abc"), ("a*", "abc"), ("a?c", "abc"), ("a\\*", "a\\x"), ("*", "")]
    for glob, text in cases:
        found = await notifier.pool.fetchval("SELECT $1::text LIKE $2::text", text, like_pattern(glob))
        assert found == glob_matches(glob, text), (glob, text)


async def test_what_is_stored_is_the_body_that_is_sent(running: Running) -> None:
    await running.tell(available(1))
    [row] = await running.pool.fetch("SELECT * FROM event_feed")
    assert (row["type"], row["model"]) == ("version-available", "digits")
    assert json.loads(row["body"])["id"] == "digits-1"
    assert SystemClock().now() - row["recorded_at"] < timedelta(minutes=5)
