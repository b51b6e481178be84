"""What receivers answer, over real sockets: read within bounds or refused, and never taken for another request's answer."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from muniment.contracts.errors import MunimentError, Transient
from muniment.notifier.addresses import LOOPBACK, AddressPolicy
from muniment.notifier.outbound import Outbound, Target, target_of
from muniment.notifier.posting import RESPONSE_CAP, Answer

from .conftest import eventually
from .receiver import Behaviour, Received, Receiver, answer, hang, trickle

POLICY = AddressPolicy(LOOPBACK)
OK = b"HTTP/1.1 200 OK\r\n"
PLANTED = b"HTTP/1.1 418 planted\r\nContent-Length: 0\r\n\r\n"


def says(*pieces: bytes, ends: bool = False) -> Behaviour:
    """These very bytes, each piece in a write of its own."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if ends:
            writer.close()

    return behave


async def post(client: Outbound, receiver: Receiver) -> Answer:
    return await client.post(target_of(receiver.url, POLICY), headers={}, body=b"{}")


def chunked(body: bytes, sizes: Sequence[int]) -> bytes:
    parts = []
    for size in sizes:
        if piece := body[:size]:
            parts.append(f"{len(piece):x};ext=1\r\n".encode() + piece + b"\r\n")
            body = body[size:]
    rest = f"{len(body):X}\r\n".encode() + body + b"\r\n" if body else b""
    return b"".join(parts) + rest + b"0\r\nTrailer: x\r\n\r\n"


@settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.binary(max_size=300), st.booleans(), st.lists(st.integers(1, 50), max_size=5), st.sets(st.integers(1, 400)))
async def test_an_answer_is_the_same_however_it_is_cut_into_pieces(
    body: bytes, in_chunks: bool, sizes: list[int], cuts: set[int]
) -> None:
    framing = b"Transfer-Encoding: chunked" if in_chunks else f"Content-Length: {len(body)}".encode()
    whole = b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"X-A:  b \r\n" + framing + b"\r\n\r\n"
    whole += chunked(body, sizes) if in_chunks else body
    places = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    pieces = [whole[one:other] for one, other in itertools.pairwise(places)]
    async with Receiver(script=[says(*pieces)]) as receiver, Outbound(POLICY, connections=2) as client:
        first = await post(client, receiver)
        assert (first.status, first.headers["x-a"], first.body) == (200, "b", body)
        assert (await post(client, receiver)).status == 204
        assert receiver.connections == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"<html>\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 600 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: +1\r\n\r\na",
        OK + b"Content-Length: 0x1\r\n\r\na",
        OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        OK + b"a" * 20_000,
        OK + b"a: b\r\n" * 300 + b"\r\n",
    ],
)
async def test_what_is_not_http_is_told_and_its_connection_is_not_used_again(raw: bytes) -> None:
    async with Receiver(script=[says(raw)]) as receiver, Outbound(POLICY, connections=2) as client:
        with pytest.raises(Transient) as caught:
            await post(client, receiver)
        assert caught.value.code == "answer_malformed"
        assert len(str(caught.value)) < 500
        assert (await post(client, receiver)).status == 204
        assert receiver.connections == 2


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 O", OK + b"Content-Le"])
async def test_what_ends_too_soon_is_told(raw: bytes) -> None:
    async with Receiver(behaviour=says(raw, ends=True)) as receiver, Outbound(POLICY, connections=2) as client:
        with pytest.raises(Transient) as caught:
            await post(client, receiver)
    assert caught.value.code in {"connection_failed", "answer_malformed"}


@pytest.mark.parametrize(
    ("raw", "ends", "body"),
    [
        (OK + b"\r\nuntil the end", True, b"until the end"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", False, b"ab"),
        (OK + b"Connection: Close\r\nContent-Length: 2\r\n\r\nab", False, b"ab"),
        (OK + b"Content-Length: 9\r\n\r\nab", True, b"ab"),
        (OK + b"Content-Length: 999999\r\n\r\n" + b"a" * 999_999, False, b"a" * RESPONSE_CAP),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nF423F\r\n" + b"a" * 999_999, False, b"a" * RESPONSE_CAP),
    ],
)
async def test_a_connection_in_doubt_is_not_used_again(raw: bytes, ends: bool, body: bytes) -> None:
    async with Receiver(script=[says(raw, ends=ends)]) as receiver, Outbound(POLICY, connections=2) as client:
        first = await post(client, receiver)
        assert (first.status, first.body) == (200, body)
        assert (await post(client, receiver)).status == 204
        assert receiver.connections == 2


@pytest.mark.parametrize("head", [OK + b"Content-Length: 2\r\n\r\nab", b"HTTP/1.1 204 No Content\r\n\r\n"])
async def test_an_answer_that_comes_along_is_not_taken_for_the_next_one(head: bytes) -> None:
    async with Receiver(script=[says(head + PLANTED)]) as receiver, Outbound(POLICY, connections=2) as client:
        assert (await post(client, receiver)).status in (200, 204)
        assert (await post(client, receiver)).status == 204
        assert len(receiver.requests) == 2


@pytest.mark.parametrize("planted", [PLANTED, b"HTTP/1.1 418 pla", b"garbage\r\n\r\n"])
async def test_an_answer_that_comes_unasked_is_not_taken_for_the_next_one(planted: bytes) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def well(received: Received, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await answer(200)(received, writer)

    async with Receiver(script=[well]) as receiver, Outbound(POLICY, connections=2) as client:
        assert (await post(client, receiver)).status == 200
        writers[0].write(planted)
        await writers[0].drain()
        async with Receiver() as other:  # a whole exchange with somebody else: the loop has read what was planted
            await post(client, other)
        try:
            found = (await post(client, receiver)).status
        except Transient:
            found = (await post(client, receiver)).status
        assert found == 204


@pytest.mark.parametrize("behaviour", [hang, trickle(OK + b"Content-Length: 0\r\n\r\n", 0.2)])
async def test_who_waits_no_more_leaves_no_connection_behind(behaviour: Behaviour) -> None:
    async with Receiver(behaviour=behaviour) as receiver, Outbound(POLICY, connections=2) as client:
        await given_up(client, receiver.url, b"{}")


async def test_not_even_to_a_receiver_that_reads_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # connections wait there to be accepted
        async with Outbound(POLICY, connections=2) as client:
            more_than_sockets_hold = b"x" * 16_000_000
            await given_up(client, f"http://127.0.0.1:{deaf.getsockname()[1]}/", more_than_sockets_hold)


async def given_up(client: Outbound, url: str, body: bytes) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await client.post(target_of(url, POLICY), headers={}, body=body)

    async def closed() -> bool:
        return client.open_sockets == 0

    assert await eventually(closed)


async def test_redirects_are_answers() -> None:
    async with Receiver() as inside, Outbound(POLICY, connections=2) as client:
        async with Receiver(behaviour=answer(307, Location=inside.url)) as receiver:
            assert (await post(client, receiver)).status == 307
        assert inside.connections == 0


async def test_however_many_endpoints_there_are_few_connections_stay_open() -> None:
    async with Outbound(POLICY, connections=3) as client:
        receivers = [Receiver() for _ in range(12)]
        for receiver in receivers:
            await receiver.__aenter__()
        try:
            for _ in range(3):
                for receiver in receivers:
                    assert (await post(client, receiver)).status == 204
            assert client.open_sockets <= 6
        finally:
            for receiver in receivers:
                await receiver.__aexit__()


@pytest.mark.parametrize("headers", [{"a": "b\r\nc: d"}, {"a\r\nb": "c"}, {"a": "b\x00"}])
async def test_nothing_that_would_be_read_as_more_is_sent(headers: dict[str, str]) -> None:
    async with Receiver() as receiver, Outbound(POLICY, connections=2) as client:
        with pytest.raises((ValueError, MunimentError)):
            await client.post(target_of(receiver.url, POLICY), headers=headers, body=b"")
        assert receiver.requests == []


async def test_a_request_as_it_goes_out() -> None:
    async with Receiver() as receiver, Outbound(POLICY, connections=2) as client:
        url = f"http://127.0.0.1:{receiver.port}/hook%2Fa?b=%41&c=+"
        await client.post(target_of(url, POLICY), headers={"webhook-id": "1"}, body=b"{}")
    [received] = receiver.requests
    assert received.line == "POST /hook%2Fa?b=%41&c=+ HTTP/1.1"
    assert {name: value for name, value in received.headers.items() if name} == {
        "host": f"127.0.0.1:{receiver.port}",
        "user-agent": "muniment-notifier",
        "webhook-id": "1",
        "content-length": "2",
    }


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "0.0.0.0", "2130706433", "127.1"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_socket_is_guarded_when_nothing_before_it_was(host: str, scheme: str) -> None:
    """A target that no check made: what the client connects to by itself is still judged."""
    shown = f"[{host}]" if ":" in host else host
    async with Receiver() as receiver, Outbound(AddressPolicy(), connections=2) as client:
        target = Target(f"{scheme}://{shown}:{receiver.port}/", scheme, host, receiver.port, "/")
        with pytest.raises(MunimentError) as caught:
            await client.post(target, headers={}, body=b"{}")
        assert receiver.connections == 0
    assert caught.value.code in {"address_refused", "connection_failed"}
    assert caught.value.code == "address_refused" or host in {"2130706433", "127.1"}, "aiohttp takes no such spelling"
