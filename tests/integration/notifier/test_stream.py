"""The event stream on a real Postgres behind a real HTTP server: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from muniment.contracts.errors import Gone, Rejected, Transient, Unauthenticated
from muniment.contracts.event_filter import Filter, filter_of
from muniment.notifier import stream_http
from muniment.notifier.broadcast import Broadcast, Stretch
from muniment.notifier.prune import Pruner
from muniment.notifier.stream_http import with_stream
from muniment.runtime.http.routes import Routes
from muniment.runtime.metrics import Metrics
from muniment.sdk import AsyncClient, Client, Event
from muniment.sdk.sse import Sent, SseParser
from muniment.server.web import serving

from .conftest import Notifier, Running, available, eventually
from .http_bench import Tokens


@dataclass
class Server:
    """One process of the service: its HTTP server, and the streams it has."""

    url: str
    streams: Broadcast


@dataclass
class Bench:
    """The notifier, and HTTP servers that come and go at one address."""

    running: Running
    notifier: Notifier
    port: int

    @asynccontextmanager
    async def serving(self, *, limit: int = 50, stretch: Stretch | None = None) -> AsyncIterator[Server]:
        streams = Broadcast(self.running.pool, self.running.feed, limit, stretch=stretch)
        routes = with_stream(Routes(), streams, self.running.feed)
        listener = socket.create_server(("127.0.0.1", self.port))
        async with serving(listener, [routes], Tokens(), {}, {}, Metrics(CollectorRegistry())):
            yield Server(f"http://127.0.0.1:{self.port}", streams)

    async def client(self, stack: AsyncExitStack, token: str = "reader") -> AsyncClient:
        client = AsyncClient(f"http://127.0.0.1:{self.port}", token)
        stack.push_async_callback(client.aclose)
        return client


@pytest.fixture
async def bench(notifier: Notifier) -> AsyncIterator[Bench]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with notifier.running(deliver=False) as running:
        yield Bench(running, notifier, port)


def ids(*numbers: int) -> list[str]:
    return [f"digits-{number}" for number in numbers]


async def taken(events: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(20):
        return [await anext(events) for _ in range(count)]


async def test_what_is_committed_reaches_who_listens(bench: Bench) -> None:
    async with bench.serving() as server, AsyncExitStack() as stack:
        client = await bench.client(stack)
        heard: list[Event] = []

        async def listen() -> None:
            async for event in client.events(over="http", limit=2):
                heard.append(event)

        await bench.running.tell(available(1))  # before: not asked for
        listening = asyncio.create_task(listen())
        await eventually(lambda: placed(server, 1))
        await bench.running.tell(available(2))
        await bench.running.tell(available(3))
        async with asyncio.timeout(20):
            await listening
        assert [event.id for event in heard] == ids(2, 3)
        assert (heard[0].kind, heard[0].model, heard[0].data["number"]) == ("version-available", "digits", 2)
        assert heard[0].cloudevent["source"] == "/muniment/registry"
        assert heard[0].payload.stability == "stable"  # type: ignore[attr-defined]  # reason: it is a VersionAvailable
        await eventually(lambda: placed(server, 0))
        assert server.streams._reader is None, "nobody listens, and the feed is read all the same"


async def placed(server: Server, count: int) -> bool:
    """Whether so many streams are there and have caught up."""
    return len(server.streams._places) == count and (count == 0 or server.streams._stretch.start is not None)


async def test_a_blocking_client_hears_the_same(bench: Bench) -> None:
    await bench.running.tell(*(available(number) for number in range(1, 4)))
    async with bench.serving():
        with Client(f"http://127.0.0.1:{bench.port}", "reader") as client:

            def read() -> list[str]:
                return [event.id for event in client.events("beginning", follow=False, model="dig*")]

            assert await asyncio.to_thread(read) == ids(1, 2, 3)


async def test_restarts_of_the_server_lose_nothing_and_repeat_nothing(bench: Bench) -> None:
    """Killed at any place of the stream: the server stops, events go on, another one starts at its address."""
    async with AsyncExitStack() as stack:
        client = await bench.client(stack)
        events = client.events("beginning", over="http")
        heard: list[Event] = []
        told = 0
        for round_ in range(3):
            async with bench.serving():
                for _ in range(5):
                    told += 1
                    await bench.running.tell(available(told))
                heard += await taken(events, 5 if round_ == 0 else 6)
            told += 1
            await bench.running.tell(available(told))  # while no server is there
        async with bench.serving():
            heard += await taken(events, 1)
        await events.aclose()  # type: ignore[attr-defined]  # reason: it is a generator
        assert [event.id for event in heard] == ids(*range(1, told + 1))


async def test_a_restarted_listener_repeats_the_one_it_had_not_finished_and_no_other(
    bench: Bench, tmp_path: Path
) -> None:
    place = tmp_path / "cursor"
    await bench.running.tell(*(available(number) for number in range(1, 6)))
    async with bench.serving():
        for dies_at, expected in ((3, ids(1, 2, 3)), (4, ids(3, 4)), (9, ids(4, 5))):
            async with AsyncExitStack() as stack:
                client = await bench.client(stack)
                heard = []
                async for event in client.events("beginning", cursor=place, follow=False, over="http"):
                    heard.append(event.id)
                    if event.data["number"] == dies_at:
                        break  # it dies while it handles this one
                assert heard == expected
        async with AsyncExitStack() as stack:
            client = await bench.client(stack)
            assert [one async for one in client.events(cursor=place, follow=False, over="http")] == []


async def test_each_filter_word_is_heard_as_subscriptions_mean_it(bench: Bench) -> None:
    await bench.running.tell(
        available(1, model="digits-small", branch="exp/a", tags={"env": "prod"}, metrics={"accuracy": 0.9}),
        available(2, stability="candidate", track="experimental", metrics={"accuracy": 0.97}),
    )
    async with bench.serving(), AsyncExitStack() as stack:
        client = await bench.client(stack)
        cases: list[tuple[dict[str, Any], list[int]]] = [
            ({}, [1, 2]),
            ({"model": "DIGITS"}, [2]),
            ({"model": "digits*"}, [1, 2]),
            ({"type": ["release-published", "version-available"]}, [1, 2]),
            ({"type": "release-published"}, []),
            ({"branch": "exp/*"}, [1]),
            ({"stability": "candidate"}, [2]),
            ({"track": "experimental"}, [2]),
            ({"tags": {"env": "prod"}}, [1]),
            ({"tags": ["env=test"]}, []),
            ({"metrics": ["accuracy>=0.95"]}, [2]),
        ]
        for wanted, numbers in cases:
            found = [e.data["number"] async for e in client.events("beginning", follow=False, over="http", **wanted)]
            assert found == numbers, wanted
        cursors = [e.cursor async for e in client.events("beginning", follow=False, over="http")]
        assert [e.cursor async for e in client.events(cursors[0], follow=False, over="http")] == cursors[1:]
        since = datetime.now(UTC) - timedelta(hours=1)
        assert len([e async for e in client.events(since, follow=False, over="http")]) == 2
        assert [e async for e in client.events(since + timedelta(hours=2), follow=False, over="http")] == []


async def test_live_and_caught_up_streams_agree(bench: Bench) -> None:
    """A stretch of three events: whoever falls out of it reads the feed and misses nothing."""
    async with bench.serving(stretch=Stretch(max_events=3)) as server:
        wanted = filter_of({"model": "digits"})
        async with server.streams.joined(wanted, 0) as quick, server.streams.joined(wanted, 0) as slow:
            await eventually(lambda: placed(server, 2))
            heard = []
            for number in range(1, 8):
                await bench.running.tell(available(number), available(number, model="other"))
                await eventually(partial(caught_up, server, quick, heard, number))
            assert heard == list(range(1, 8))
            assert not server.streams._stretch.holds(slow.cursor)
            late = []
            await eventually(lambda: caught_up(server, slow, late, 7))
            assert late == heard


async def caught_up(server: Server, place: Any, heard: list[int], number: int) -> bool:
    step = await server.streams.step(place)
    place.cursor = step.cursor
    heard += [json.loads(event.text)["data"]["number"] for event in step.events]
    return bool(heard) and heard[-1] == number


async def test_bad_cursors_are_refused_before_the_stream_begins(bench: Bench) -> None:
    class Later:
        def now(self) -> datetime:
            return datetime.now(UTC) + timedelta(days=40)

    await bench.running.tell(*(available(number) for number in range(1, 4)))
    async with bench.serving() as server, AsyncExitStack() as stack:
        client = await bench.client(stack)
        [first, *_] = [event async for event in client.events("beginning", follow=False, over="http")]
        with pytest.raises(Rejected) as caught:
            await taken(client.events(10**12, over="http"), 1)
        assert caught.value.code == "cursor_unknown"
        for since in ("yesterday", "2026-01-01T00:00:00", "-1", "9" * 30):
            with pytest.raises(Rejected):
                await taken(client.events(since, over="http"), 1)
        async with httpx2.AsyncClient(headers={"authorization": "Bearer reader"}) as http:
            for headers, query, code in (
                ({"last-event-id": "x"}, "", "cursor_invalid"),
                ({}, "?since=soon", "since_invalid"),
                ({}, "?type=audit-log", "filter_invalid"),
                ({}, "?metric=accuracy", "filter_invalid"),
                ({}, "?stability=solid", "filter_invalid"),
            ):
                answer = await http.get(f"{server.url}/api/v1/events/stream{query}", headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (422, code), query
        await Pruner(bench.notifier.pool, Later(), 30).prune()
        with pytest.raises(Gone) as gone:
            await taken(client.events(cursor=first.cursor, over="http"), 1)
        assert gone.value.code == "cursor_gone"
        stranger = await bench.client(stack, "nobody")
        with pytest.raises(Unauthenticated):
            await taken(stranger.events(over="http"), 1)


async def test_a_filter_that_leaves_everything_out_still_moves_the_cursor(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stream_http, "HEARTBEAT_S", 0.05)
    async with bench.serving() as server, AsyncExitStack() as stack:
        client = await bench.client(stack)
        place = tmp_path / "cursor"
        listening = asyncio.create_task(taken(client.events(cursor=place, model="never", over="http"), 1))
        await eventually(lambda: placed(server, 1))
        await bench.running.tell(available(1), available(2))
        head = (await bench.running.feed.read(None, limit=1)).cursor
        await eventually(lambda: file_says(place, f"{head}\n"))
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def file_says(place: Path, text: str) -> bool:
    return place.exists() and place.read_text() == text


async def test_streams_are_bounded_and_say_so(bench: Bench) -> None:
    async with bench.serving(limit=1) as server, AsyncExitStack() as stack:
        first, second = await bench.client(stack), await bench.client(stack)
        listening = asyncio.create_task(taken(first.events(over="http"), 1))
        await eventually(lambda: placed(server, 1))
        with pytest.raises(Transient) as caught:
            await taken(second.events(over="http", patience=-1.0), 1)
        assert caught.value.code == "streams_busy"
        await bench.running.tell(available(1))
        assert [event.id for event in await listening] == ids(1)


async def test_a_reader_who_does_not_read_is_disconnected_and_goes_on_by_his_cursor(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_http, "SEND_S", 0.2)
    total = 300
    async with bench.serving() as server:
        await bench.running.tell(*(available(number, description="x" * 19_000) for number in range(1, total + 1)))
        heard: list[str] = []
        cursor = "0"
        cut = False
        while len(heard) < total:
            reader, writer = await asyncio.open_connection("127.0.0.1", bench.port, limit=2**16)
            writer.write(
                b"GET /api/v1/events/stream?since=beginning HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer reader\r\n"
                + f"Last-Event-ID: {cursor}\r\n\r\n".encode()
            )
            await reader.readuntil(b"\r\n\r\n")
            if not cut:
                # Nothing is taken: the buffers between fill up, and the server cuts the connection.
                await eventually(lambda: placed(server, 1))
                await eventually(lambda: placed(server, 0))
            parser = SseParser()
            try:
                async with asyncio.timeout(20):
                    while chunk := await reader.read(2**16):
                        for sent in parser.feed(chunk):
                            cursor = sent.id
                            heard += [json.loads(sent.data)["id"]] if sent.data else []
                        if len(heard) == total:
                            break
                    else:
                        cut = True
            except ConnectionError:
                cut = True
            writer.close()
        assert cut, "the reader was never disconnected"
        assert heard == ids(*range(1, total + 1))


async def test_an_old_stream_ends_and_is_gone_on_from(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_http, "MAX_AGE_S", 0.05)
    async with bench.serving(), AsyncExitStack() as stack:
        client = await bench.client(stack)
        opened: list[str] = []
        ask = client._sender.opened
        client._sender.opened = lambda request: opened.append(request.target) or ask(request)  # type: ignore[method-assign,func-returns-value]  # reason: a probe
        events = client.events(over="http", since="beginning")

        async def reconnected() -> bool:
            return len(opened) > 2

        waiting = asyncio.create_task(taken(events, 2))
        await eventually(reconnected)
        await bench.running.tell(available(1), available(2))
        assert [event.id for event in await waiting] == ids(1, 2)


async def test_a_browser_would_understand_it(bench: Bench) -> None:
    await bench.running.tell(available(1, description="zeile eins\nzeile zwei\n — ü"))
    async with bench.serving() as server, httpx2.AsyncClient(headers={"authorization": "Bearer reader"}) as http:
        answer = await http.get(f"{server.url}/api/v1/events/stream?since=beginning&follow=false")
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        sent = list(SseParser().feed(answer.content))
        assert [one.event for one in sent] == ["message", "message", "end"]
        assert sent[0] == Sent("0", None)
        assert sent[1].data is not None
        assert "zeile zwei" in json.loads(sent[1].data)["data"]["description"]


def test_an_empty_filter_matches_everything() -> None:
    assert filter_of({}) == Filter()
