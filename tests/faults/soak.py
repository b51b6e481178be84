"""A soak of notifications: every channel and filter, receivers that fail at random, a notifier that is killed midway.

`make soak MINUTES=10 SEED=1`. At the end a checker holds what arrived against what was told: each subscription got each
event that it wants, under one id, and none that it does not. Prints a table; each violation is named, and then the
exit code is 1. The same seed tells the same events and plans the same trouble.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent, encode
from muniment.contracts.events import ModelRejected, VersionAvailable
from muniment.contracts.model import Payload
from muniment.server.parts import Parts, PartsSettings, start_parts
from muniment.testing.smtp_sink import SmtpSink
from muniment.testing.tcp_proxy import Fault, TcpProxy

from .cluster import Cluster, cluster
from .soak_ends import Ends, mails, records
from .soak_plan import BROKER_FAULTS, WISHES, Row, Told, Violation, broker_faults, events, judge

PER_SECOND = 10.0
SETTLES_WITHIN_S = 120.0
Say = Callable[[str], None]


@dataclass
class Result:
    """A run. `kinds`: how often each fault was met."""

    seed: int
    sent: int
    rows: list[Row]
    violations: list[Violation]
    kinds: Counter[str]
    settled_s: float


async def soak(parts: Parts, folder: Path, seed: int, seconds: float, say: Say) -> Result:
    """Tell events for so long, kill the notifier in the middle, wait until nothing is open, and judge."""
    name = f"s{seed}-{os.getpid()}"
    host, _, port = parts.kafka.bootstrap.partition(":")
    async with (
        Ends(seed) as ends,
        SmtpSink(trouble=ends.mail_trouble) as mailbox,
        TcpProxy(host, int(port), is_broker=True) as broker,
    ):
        settings = {
            "MUNIMENT_KAFKA__BOOTSTRAP": broker.address,
            "MUNIMENT_NOTIFIER__RETRY_SCALE": "0.001",
            "MUNIMENT_NOTIFIER__TIMEOUT_S": "1",
            "MUNIMENT_NOTIFIER__SMTP__HOST": "127.0.0.1",
            "MUNIMENT_NOTIFIER__SMTP__PORT": str(mailbox.port),
            "MUNIMENT_NOTIFIER__SMTP__SECURITY": "none",
            "MUNIMENT_NOTIFIER__SMTP__SENDER": "muniment@example.org",
        }
        services = ("registry", "notifier")
        async with cluster(parts, folder, name, services=services, **settings) as running:
            topic = f"subscriber.{name}"
            await _subscribe(running, ends, topic)
            say(f"{len(WISHES)} subscriptions; {PER_SECOND:g} events a second for {seconds:g} s")
            sent = await _tell(running, mailbox, _BrokerTrouble(broker, topic), seed, seconds, say)
            last = time.monotonic()
            say("all is told; waiting until nothing is open")
            open_work = await _settled(running, len(sent))
            arrivals = {
                **ends.arrivals,
                "mail": mails(mailbox),
                "topic": await records(parts.kafka.bootstrap, topic),
            }
            for fault, action in zip(BROKER_FAULTS, ("reset", "hold"), strict=True):
                ends.kinds[fault] += broker.fired[action]
                ends.faults["topic"] += broker.fired[action]
            rows, bad = judge(sent, arrivals, ends.faults)
            bad += [Violation(wish, f"{count} deliveries {state}") for (wish, state), count in open_work.items()]
            bad += await _gone(running)
            return Result(seed, len(sent), rows, bad, ends.kinds, time.monotonic() - last)


async def _subscribe(running: Cluster, ends: Ends, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=running.parts.kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 2, 1)])
    finally:
        await admin.close()
    async with running.client("notifier") as client:
        for wish in WISHES:
            where = {"email": {"email": "models@example.org"}, "kafka": {"topic": topic}}
            address = where.get(wish.channel, {"url": ends.url(wish.name)})
            wanted = {"name": wish.name, "channel": wish.channel, **address, **wish.settings, **wish.filter}
            made = await client.create_subscription(wanted)
            ends.keys[wish.name] = made["secret"] or next(iter(made["public_keys"]), "")


@dataclass(frozen=True)
class _BrokerTrouble:
    """What befalls connections that name the subscriber's topic: those of the channel, and no other's."""

    proxy: TcpProxy
    topic: str

    def begin(self, fault: str | None) -> None:
        if fault is None:
            self.proxy.heal()
        elif fault == BROKER_FAULTS[0]:
            self.proxy.requests = Fault(reset_after=1, marker=self.topic.encode())
        else:
            self.proxy.requests = Fault(hold_after=1, marker=self.topic.encode())


async def _tell(
    running: Cluster, mailbox: SmtpSink, broker: _BrokerTrouble, seed: int, seconds: float, say: Say
) -> list[Told]:
    """Send on a steady beat. Midway the notifier is killed and started again; before that, the mail server is busy.

    Early and late the broker fails whoever writes to the subscriber's topic.
    """
    count = round(seconds * PER_SECOND)
    told_in_all = list(itertools.islice(events(seed), count))
    planned = broker_faults(seed, told_in_all)
    sent: list[Told] = []
    restart: asyncio.Task[None] | None = None
    producer = AIOKafkaProducer(bootstrap_servers=running.parts.kafka.bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        begin = time.monotonic()
        for place, told in enumerate(told_in_all):
            await asyncio.sleep(max(0.0, begin + place / PER_SECOND - time.monotonic()))
            if place in planned:
                broker.begin(planned[place])
            if place == count // 4:
                mailbox.replies["MAIL"] = "451 busy"
            elif place == count // 3:
                mailbox.replies.clear()
            elif place == count // 2:
                restart = asyncio.create_task(_killed(running, say))
            topic, headers, value = _record(running, told)
            await producer.send_and_wait(topic, key=told.model.encode(), value=value, headers=headers)
            sent.append(told)
    finally:
        broker.begin(None)
        await producer.stop()
    assert restart is not None
    await restart
    return sent


async def _killed(running: Cluster, say: Say) -> None:
    [notifier] = running.replicas["notifier"]
    notifier.signal(signal.SIGKILL)
    code = await notifier.ended()
    assert code == -signal.SIGKILL, f"the notifier ended with {code}\n{notifier.log}"
    await notifier.start()
    say("the notifier was killed, and runs again")


def _record(running: Cluster, told: Told) -> tuple[str, list[tuple[str, bytes]], bytes]:
    topic = {topic.name: topic for topic in topics.ALL}[told.type]
    flow = str(uuid.UUID(int=told.number))
    who = {"publication_id": flow, "model": told.model, "operator": "muniment|soak"}
    place = {"bucket": "muniment-models", "key": "k", "version_id": "v"}
    payload: Payload
    if told.type == "model-rejected":
        payload = ModelRejected.model_validate({**who, "stage": "validation", "code": "soak", "message": "as planned"})
    else:
        payload = VersionAvailable.model_validate(
            {
                **who,
                **told.facts,
                "number": told.number,
                "id": f"sha256:{told.number:064x}",
                "committed_at": "2026-01-01T00:00:00Z",
                "manifest": place,
                "files": [{"path": "a", "sha256": "a" * 64, "size": 1, "format": "safetensors", "location": place}],
            }
        )
    event = CloudEvent(
        id=f"soak-{told.number}",
        source="/muniment/soak",
        type=topic.type,
        data=payload.model_dump_json(exclude_none=True).encode(),
        time="2026-01-01T00:00:00.000000Z",
        extensions={"partitionkey": told.model, "correlationid": flow},
    )
    headers, value = encode(event)
    return topic.wire_name(running.prefix), list(headers), value


async def _settled(running: Cluster, sent: int) -> Counter[tuple[str, str]]:
    """Wait until every event is in the feed and nothing is open; what still is, by subscription and state."""
    ends = time.monotonic() + SETTLES_WITHIN_S
    connection = await asyncpg.connect(running.dsn)
    try:
        while True:
            fed = await connection.fetchval("SELECT count(*) FROM notifier.event_feed WHERE body LIKE '%\"soak-%'")
            rows = await connection.fetch(
                "SELECT s.name, d.state, count(*) AS count FROM notifier.delivery d "
                "JOIN notifier.subscription s ON s.id = d.subscription_id "
                "WHERE d.state <> 'delivered' AND s.state = 'active' GROUP BY 1, 2"
            )
            found = Counter({(row["name"], row["state"]): row["count"] for row in rows})
            if fed < sent:
                found["the feed", "not yet there"] = sent - fed
            if not any(state != "dead" for _, state in found) or time.monotonic() > ends:
                return found
            await asyncio.sleep(0.1)
    finally:
        await connection.close()


async def _gone(running: Cluster) -> list[Violation]:
    """The one that answered 410 is disabled, and no other is."""
    async with running.client("notifier") as client:
        states = {one["name"]: one["state"] async for one in client.subscriptions()}
    wanted = {wish.name: "disabled" if wish.goes is not None else "active" for wish in WISHES}
    return [
        Violation(name, f"is {states.get(name)}, expected {state}")
        for name, state in wanted.items()
        if states.get(name) != state
    ]


def table(result: Result) -> str:
    """A row for each subscription."""
    lines = [f"{'subscription':<13} {'channel':<8} {'wanted':>7} {'arrived':>8} {'again':>6} {'faults':>7}"]
    lines += [
        f"{row.wish.name:<13} {row.wish.channel:<8} {row.wanted:>7} {row.arrived:>8} {row.again:>6} {row.faults:>7}"
        for row in result.rows
    ]
    met = ", ".join(f"{name} {count}" for name, count in sorted(result.kinds.items()))
    return "\n".join(
        [
            f"seed {result.seed}: {result.sent} events told, settled {result.settled_s:.1f} s after the last",
            *lines,
            f"faults met: {met}",
            *(f"VIOLATION {one.wish}: {one.what}" for one in result.violations),
            f"violations: {len(result.violations)}",
        ]
    )


async def _alone(seed: int, seconds: float) -> Result:
    with tempfile.TemporaryDirectory(prefix="muniment-soak-") as name:
        async with start_parts(PartsSettings(data_dir=Path(name) / "parts"), on_progress=None) as parts:
            return await soak(parts, Path(name), seed, seconds, lambda text: print(text, flush=True))


def main() -> int:
    """Run one; 1 if anything does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0)
    asked = parser.parse_args()
    result = asyncio.run(_alone(asked.seed, asked.minutes * 60))
    print(table(result))
    return int(bool(result.violations))


if __name__ == "__main__":
    raise SystemExit(main())
