"""The breaking proxy does what it says, at the byte where it says it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from muniment.testing.tcp_proxy import HTTP_BODY, Fault, TcpProxy


@pytest.fixture
async def proxy() -> AsyncIterator[TcpProxy]:
    """A proxy in front of an echo server."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with TcpProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


class Client:
    """One connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, proxy: TcpProxy) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self, count: int) -> bytes:
        """`count` bytes, fewer where the connection ends."""
        async with asyncio.timeout(20):
            try:
                return await self._reader.readexactly(count)
            except asyncio.IncompleteReadError as end:
                return end.partial

    async def echoed(self, data: bytes) -> bytes:
        await self.send(data)
        return await self.receive(len(data))

    def close(self) -> None:
        self._writer.close()


async def test_everything_passes_without_a_fault(proxy: TcpProxy) -> None:
    client, data = await Client.to(proxy), bytes(range(256)) * 4000
    sent = asyncio.create_task(client.send(data))
    assert await client.receive(len(data)) == data
    await sent
    assert proxy.fired == {"connected": 1}
    client.close()


async def test_a_cut_ends_the_connection_at_its_byte(proxy: TcpProxy) -> None:
    proxy.answers = Fault(cut_after=5)
    client = await Client.to(proxy)
    assert await client.echoed(b"0123456789") == b"01234"
    assert proxy.fired["cut"] == 1
    client.close()


async def test_a_reset_breaks_the_connection(proxy: TcpProxy) -> None:
    proxy.answers = Fault(reset_after=0)
    client = await Client.to(proxy)
    with pytest.raises(ConnectionResetError):
        await client.echoed(b"x")
    assert proxy.fired["reset"] == 1
    client.close()


@pytest.mark.parametrize("direction", ["requests", "answers"])
async def test_one_bit_of_one_byte_is_damaged(proxy: TcpProxy, direction: str) -> None:
    setattr(proxy, direction, Fault(corrupt_at=3))
    client = await Client.to(proxy)
    assert await client.echoed(b"\x00" * 6) == b"\x00\x00\x00\x01\x00\x00"
    assert await client.echoed(b"\x00" * 6) == b"\x00" * 6
    assert proxy.fired["corrupt"] == 1
    client.close()


@pytest.mark.parametrize(
    "pieces", [[b"head\r\n\r\nBODY"], [b"head\r", b"\n\r", b"\nBO", b"DY"], [b"head\r\n\r\n", b"BODY"]]
)
async def test_the_count_begins_behind_the_marker(proxy: TcpProxy, pieces: list[bytes]) -> None:
    proxy.answers = Fault(corrupt_at=0, marker=HTTP_BODY)
    client = await Client.to(proxy)
    assert b"".join([await client.echoed(piece) for piece in pieces]) == b"head\r\n\r\nCODY"
    client.close()


async def test_a_black_hole_keeps_the_connection_and_passes_nothing(proxy: TcpProxy) -> None:
    proxy.answers = Fault(hold_after=2)
    client = await Client.to(proxy)
    await client.send(b"0123")
    assert await client.receive(2) == b"01"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.receive(1)
    assert proxy.fired["hold"] == 1
    client.close()


async def test_a_fault_happens_as_often_as_it_says(proxy: TcpProxy) -> None:
    proxy.answers = Fault(cut_after=0, times=2)
    seen = []
    for _ in range(4):
        client = await Client.to(proxy)
        seen.append(await client.echoed(b"x"))
        client.close()
    assert seen == [b"", b"", b"x", b"x"]
    assert proxy.fired["cut"] == 2


async def test_a_running_connection_gets_new_faults_and_loses_them(proxy: TcpProxy) -> None:
    client = await Client.to(proxy)
    assert await client.echoed(b"a") == b"a"
    proxy.answers = Fault(latency=0.01, corrupt_at=0)
    assert await client.echoed(b"a") == b"`"
    proxy.heal()
    assert await client.echoed(b"a") == b"a"
    assert (proxy.fired["latency"], proxy.fired["corrupt"]) == (1, 1)
    client.close()


async def test_down_breaks_and_refuses_and_up_listens_on_the_same_port(proxy: TcpProxy) -> None:
    client, port = await Client.to(proxy), proxy.port
    assert await client.echoed(b"a") == b"a"
    await proxy.down()
    with pytest.raises(ConnectionResetError):
        await client.receive(1)
    with pytest.raises(ConnectionRefusedError):
        await Client.to(proxy)
    await proxy.up()
    assert proxy.port == port
    again = await Client.to(proxy)
    assert await again.echoed(b"a") == b"a"
    client.close()
    again.close()


async def test_a_target_that_refuses_breaks_the_connection(proxy: TcpProxy) -> None:
    await proxy.down()  # a port where nobody listens now
    async with TcpProxy("127.0.0.1", proxy.port) as behind:
        client = await Client.to(behind)
        with pytest.raises(ConnectionResetError):
            await client.receive(1)
        client.close()
