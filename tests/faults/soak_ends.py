"""Where a soak's notifications go: one HTTP receiver for all subscriptions, a path each, that fails as its seed says."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import json
import re
from collections import Counter, defaultdict
from typing import Any, Self

from aiokafka import AIOKafkaConsumer
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from muniment.testing.smtp_sink import SmtpSink
from tests.integration.notifier.receiver import Received, Receiver

from .soak_plan import MAIL_FAULTS, WISHES, Arrival, fault_of, mail_fault_of

_TITLE = re.compile(r"soak (?P<model>\S+?) (?P<number>[0-9]+)")
_HANG_S = 60.0
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_ANSWERS = {
    "500": b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    "503 and Retry-After": b"HTTP/1.1 503 Later\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-Le",
    "garbage": b"\x00\xff nothing that HTTP is\r\n\r\n",
}


class Ends:
    """Listens on a free loopback port. `arrivals` are those that were answered 2xx; `faults` those that were not."""

    def __init__(self, seed: int) -> None:
        self.keys: dict[str, str] = {}
        """What each subscription's signatures verify with: a secret, or a public key."""
        self.arrivals: defaultdict[str, list[Arrival]] = defaultdict(list)
        self.faults: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self._seed = seed
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._goes = {wish.name: wish.goes for wish in WISHES if wish.goes is not None}
        self._receiver = Receiver(behaviour=self._behave)

    async def __aenter__(self) -> Self:
        await self._receiver.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._receiver.__aexit__()

    def url(self, wish: str) -> str:
        """Of a subscription."""
        return f"http://127.0.0.1:{self._receiver.port}/{wish}"

    def mail_trouble(self, headers: bytes) -> str | None:
        """What the mail server does with a message, as `SmtpSink.trouble` says it."""
        delivery = str(email.message_from_bytes(headers, policy=email.policy.default)["X-Muniment-Delivery-Id"])
        self._attempts["mail", delivery] += 1
        fault = mail_fault_of(self._seed, delivery, self._attempts["mail", delivery])
        if fault is None:
            return None
        self.kinds[fault] += 1
        self.faults["mail"] += 1
        return MAIL_FAULTS[fault]

    async def _behave(self, received: Received, writer: asyncio.StreamWriter) -> None:
        wish = received.line.split()[1].strip("/")
        if not await self._answer(wish, received.headers, received.body, writer):
            raise ConnectionAbortedError  # the receiver ends the connection

    async def _answer(self, wish: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Take it, or fail; whether the connection goes on."""
        arrival = self._arrival(wish, headers, body)
        key = arrival.delivery or str(arrival.number)
        self._attempts[wish, key] += 1
        fault = fault_of(self._seed, wish, key, self._attempts[wish, key])
        if fault is not None:
            self.kinds[fault] += 1
        if fault is not None and fault != "slow":
            self.faults[wish] += 1
            if fault == "hang":
                await asyncio.sleep(_HANG_S)  # reason: the fault; the other side gives up long before
            elif fault != "reset":
                writer.write(_ANSWERS[fault])
                await writer.drain()
            return fault in ("500", "503 and Retry-After")
        if fault == "slow":
            await asyncio.sleep(0.3)  # reason: the fault
        if self._goes.get(wish) == len(self.arrivals[wish]):
            self.kinds["410"] += 1
            writer.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
        else:
            self.arrivals[wish].append(arrival)
            writer.write(_OK)
        await writer.drain()
        return True

    def _arrival(self, wish: str, headers: dict[str, str], body: bytes) -> Arrival:
        if "webhook-id" not in headers:
            return Arrival(number_in(body.decode()), None)
        return Arrival(number_of(json.loads(body)["id"]), headers["webhook-id"], self._verified(wish, headers, body))

    def _verified(self, wish: str, headers: dict[str, str], body: bytes) -> bool:
        key = self.keys[wish]
        try:
            if not key.startswith("whpk_"):
                Webhook(key).verify(body, headers)
                return True
            public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.removeprefix("whpk_")))
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            public.verify(base64.b64decode(headers["webhook-signature"].removeprefix("v1a,")), signed)
        except (WebhookVerificationError, InvalidSignature):
            return False
        return True


def mails(sink: SmtpSink) -> list[Arrival]:
    """What the mail server was handed."""
    found = [email.message_from_bytes(one.data, policy=email.policy.default) for one in sink.mails]
    return [Arrival(number_in(one["Subject"]), one["X-Muniment-Delivery-Id"]) for one in found]


async def records(bootstrap: str, topic: str) -> list[Arrival]:
    """What lies on a subscriber's topic."""
    found = []
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        ends: dict[Any, int] = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                for record in batch:
                    headers = {name: value.decode() for name, value in record.headers}
                    found.append(Arrival(number_of(headers["ce_id"]), headers["muniment-delivery-id"]))
    return found


def number_of(event_id: str) -> int:
    """Of an event, by its id."""
    return int(event_id.rpartition("-")[2])


def number_in(text: str) -> int:
    """Of an event, by a title."""
    found = _TITLE.search(text)
    return int(found["number"]) if found else -1
