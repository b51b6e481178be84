"""Two outsiders who wait for a version: a Kafka consumer that reads every topic, and a webhook receiver."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from muniment.contracts import topics
from muniment.contracts.ids import publication_id_of


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as a plain consumer sees it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    headers: dict[str, str]
    data: dict[str, Any]

    @property
    def flow(self) -> str | None:
        """The publication it belongs to; a training-completed event starts its own."""
        if self.topic == topics.TRAINING_COMPLETED.type:
            return publication_id_of(self.headers["ce_source"], self.headers["ce_id"])
        return self.headers.get("ce_correlationid")


class Consumer:
    """Reads all of Muniment's topics with nothing but a Kafka client."""

    def __init__(self, bootstrap: str) -> None:
        from aiokafka import AIOKafkaConsumer

        names = [topic.type for topic in topics.ALL]
        self._consumer = AIOKafkaConsumer(*names, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
        self.seen: list[Seen] = []
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Consumer:
        await self._consumer.start()
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.stop()

    async def _read(self) -> None:
        async for record in self._consumer:
            headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
            self.seen.append(
                Seen(
                    record.topic,
                    record.partition,
                    record.offset,
                    record.timestamp,
                    headers,
                    json.loads(record.value),
                )
            )
            self._arrived.set()

    async def until(self, topic: topics.Topic, *, flow: str, seconds: float = 30) -> Seen:
        """The record of `topic` that belongs to a publication, once it has come."""
        async with asyncio.timeout(seconds):
            while True:
                for one in self.seen:
                    if one.topic == topic.type and one.flow == flow:
                        return one
                self._arrived.clear()
                await self._arrived.wait()

    async def until_committed(self, flow: str, seconds: float = 30) -> Seen:
        """The publication's version-available record, once the audit log has its commit too."""

        def logged() -> bool:
            return any(
                one.topic == topics.AUDIT_LOG.type
                and one.flow == flow
                and one.data["entry"]["action"] == "version.committed"
                for one in self.seen
            )

        available = await self.until(topics.VERSION_AVAILABLE, flow=flow, seconds=seconds)
        async with asyncio.timeout(seconds):
            while not logged():
                self._arrived.clear()
                await self._arrived.wait()
        return available

    def of_flow(self, flow: str) -> list[Seen]:
        """Everything that belongs to a publication, in the order of Kafka's time stamps."""
        return sorted((one for one in self.seen if one.flow == flow), key=lambda one: one.timestamp_ms)


@dataclass
class WebhookReceiver:
    """A plain HTTP server on loopback that keeps what it is sent."""

    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    _arrived: threading.Condition = field(default_factory=threading.Condition)
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> WebhookReceiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # reason: the name http.server calls
                body = self.rfile.read(int(self.headers["content-length"]))
                with receiver._arrived:
                    receiver.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
                    receiver._arrived.notify_all()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None  # noqa: S101  # reason: entered before
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None  # noqa: S101  # reason: entered before
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def until(self, flow: str, seconds: float = 30) -> tuple[dict[str, str], bytes]:
        """The first request about a publication, once it has come. Raises `TimeoutError`."""

        def found() -> tuple[dict[str, str], bytes] | None:
            return next((one for one in self.requests if flow.encode() in one[1]), None)

        with self._arrived:
            if not self._arrived.wait_for(lambda: found() is not None, timeout=seconds):
                raise TimeoutError(f"no webhook about {flow} within {seconds} s")
            answer = found()
        assert answer is not None  # noqa: S101  # reason: waited for above
        return answer
