"""Receivers that fail in every way, and workers that come and go: nothing is lost, and nothing goes out under two ids."""

from __future__ import annotations

import asyncio
import dataclasses
import zlib
from collections import defaultdict
from typing import Any

from .conftest import PACE, Notifier, available
from .receiver import Behaviour, Received, Receiver, answer, hang

BRIEF = dataclasses.replace(PACE, timeout_s=0.5, lease_s=0.9, retry_scale=1e-5)


async def reset(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def half(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    await writer.drain()
    writer.transport.abort()


FAULTS: tuple[Behaviour, ...] = (answer(500), answer(302, Location="/elsewhere"), reset, half, hang, answer(503))


async def test_each_subscription_gets_each_matching_event_under_one_id(notifier: Notifier) -> None:
    tries: dict[str, int] = defaultdict(int)
    arrived: dict[str, set[bytes]] = defaultdict(set)

    async def faulty(received: Received, writer: asyncio.StreamWriter) -> None:
        """As many faults as the id says, then success: the same in every run with these ids."""
        tries[received.id] += 1
        digest = zlib.crc32(received.id.encode())
        if tries[received.id] <= digest % 5:
            await FAULTS[(digest + tries[received.id]) % len(FAULTS)](received, writer)
        else:
            arrived[received.id].add(received.body)
            await answer(200)(received, writer)

    async with Receiver(behaviour=faulty) as receiver:
        wanted = {await notifier.subscribe(f"{receiver.url}/{model}", model=model): model for model in ("a", "b", "*")}
        sent = [available(number, model="ab"[number % 2]) for number in range(1, 41)]
        for half_of_them in (sent[:20], sent[20:]):
            async with notifier.running(BRIEF) as running, notifier.running(BRIEF):
                await running.tell(*half_of_them)
                await receiver.wait_for(len(tries) + 5)  # stopped in the middle of it
        async with notifier.running(BRIEF):
            await notifier.settled(*["delivered"] * 80)

    rows = await notifier.pool.fetch(
        "SELECT d.id, d.subscription_id, e.model, e.body FROM delivery d JOIN event_feed e ON e.seq = d.event_seq"
    )
    assert {str(row["id"]): {row["body"].encode()} for row in rows} == arrived
    for subscription, model in wanted.items():
        mine = [row["model"] for row in rows if row["subscription_id"] == subscription]
        expected: list[Any] = [event.key for event in sent if model in ("*", event.key)]
        assert sorted(mine) == sorted(expected)
