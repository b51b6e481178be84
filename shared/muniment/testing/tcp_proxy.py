"""A TCP proxy that breaks connections on purpose: between any client and Kafka, Postgres or an object store.

    async with TcpProxy("127.0.0.1", 8333) as proxy:
        proxy.answers = Fault(cut_after=1000)     # every connection: 1,000 more bytes of answers, then the end
        ...
        proxy.heal()
        assert proxy.fired["cut"]                 # a fault that never fired has tested nothing

Faults are set per direction (`requests`: client to server, `answers`: server to client) and count the bytes that flow
after they were set. With `marker` the count begins behind its first appearance: two line ends close the headers of an
HTTP message (`HTTP_BODY`). It runs in the event loop of the test; clients may be threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal, Self

HTTP_BODY: Final = b"\r\n\r\n"
_CHUNK: Final = 64 * 1024
_Action = Literal["pass", "cut", "reset", "hold"]


@dataclass(slots=True)
class Fault:
    """What is done to the bytes of one direction. Positions count from 0; `None` is never."""

    latency: float = 0.0
    """Seconds to wait before each chunk is passed on."""
    cut_after: int | None = None
    """Pass so many bytes, then end the connection in order (FIN)."""
    reset_after: int | None = None
    """Pass so many bytes, then break the connection (RST)."""
    hold_after: int | None = None
    """Pass so many bytes, then nothing more, and leave the connection open: a black hole."""
    corrupt_at: int | None = None
    """Flip the lowest bit of the byte at this position."""
    marker: bytes = b""
    """Count the bytes behind this; empty: all bytes."""
    times: int | None = None
    """How many connections it happens to; None: all."""


class _Flow:
    """One direction of one connection under one fault: where the count stands."""

    def __init__(self, fault: Fault, fired: Counter[str]) -> None:
        self.fault = fault
        self._fired = fired
        self._seen = 0
        self._counting = not fault.marker
        self._tail = b""

    def apply(self, data: bytes) -> tuple[bytes, _Action]:
        """The bytes to pass on, and what to do after them."""
        skipped = b""
        if not self._counting:
            joined = self._tail + data
            end = joined.find(self.fault.marker)
            if end < 0:
                self._tail = joined[-(len(self.fault.marker) - 1) :] if len(self.fault.marker) > 1 else b""
                return data, "pass"
            split = end + len(self.fault.marker) - len(self._tail)
            skipped, data, self._counting = data[:split], data[split:], True
        start, self._seen = self._seen, self._seen + len(data)
        fault = self.fault
        if fault.corrupt_at is not None and start <= fault.corrupt_at < self._seen and self._fire("corrupt"):
            position = fault.corrupt_at - start
            data = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        ends: tuple[tuple[_Action, int | None], ...] = (
            ("cut", fault.cut_after),
            ("reset", fault.reset_after),
            ("hold", fault.hold_after),
        )
        for action, limit in ends:
            if limit is not None and self._seen >= limit and self._fire(action):
                return skipped + data[: max(limit - start, 0)], action
        return skipped + data, "pass"

    def _fire(self, name: str) -> bool:
        if self.fault.times is not None:
            if self.fault.times <= 0:
                return False
            self.fault.times -= 1
        self._fired[name] += 1
        return True


class TcpProxy:
    """Listens on a free loopback port and passes everything on to `host`:`port`, faults permitting.

    A `host` that begins with a slash is a unix socket.
    """

    def __init__(self, host: str, port: int = 0, *, is_broker: bool = False) -> None:
        """`is_broker`: a Kafka broker on loopback, which tells its clients its own address; they are told this one."""
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0
        self.requests = Fault()
        self.answers = Fault()
        self.is_broker = is_broker
        self.fired: Counter[str] = Counter()
        """How often each fault happened; `connected`: connections that were passed on; `broken`: those `down` broke."""

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    def heal(self) -> None:
        """Take all faults away, from running connections too (bytes already held back stay lost)."""
        self.requests, self.answers = Fault(), Fault()

    async def up(self) -> None:
        """Listen (again), on the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=_CHUNK)
            self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Break every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._connections):
            self.fired["broken"] += task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await self._connect()
        except OSError:
            _reset(writer)
            return
        self.fired["connected"] += 1
        pumps = (
            asyncio.ensure_future(self._pump(reader, server_writer, writer, "requests")),
            asyncio.ensure_future(self._pump(server_reader, writer, writer, "answers")),
        )
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            _reset(writer)  # `down`: broken, not ended in order
            raise
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)  # either side may have gone: that is the point
            server_writer.transport.abort()
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._target
        if host.startswith("/"):
            return await asyncio.open_unix_connection(host, limit=_CHUNK)
        return await asyncio.open_connection(host, port, limit=_CHUNK)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        direction: Literal["requests", "answers"],
    ) -> None:
        """Pass bytes on until the source ends or a fault ends the connection."""
        flow = _Flow(getattr(self, direction), self.fired)
        while data := await source.read(_CHUNK):
            fault: Fault = getattr(self, direction)
            if flow.fault is not fault:
                flow = _Flow(fault, self.fired)
            if fault.latency:
                self.fired["latency"] += 1
                await asyncio.sleep(fault.latency)
            if self.is_broker and direction == "answers":
                data = data.replace(_in_kafka(*self._target), _in_kafka(self._target[0], self.port))
            passed, action = flow.apply(data)
            sink.write(passed)
            with contextlib.suppress(ConnectionError):
                await sink.drain()
            if action == "hold":
                await asyncio.Event().wait()  # until the connection is broken from outside
            if action == "reset":
                _reset(client)
            if action != "pass":
                return


def _in_kafka(host: str, port: int) -> bytes:
    """An address as Kafka's answers hold it: a string, and its port in four bytes behind."""
    return host.encode() + struct.pack(">i", port)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN: linger on, zero seconds."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
