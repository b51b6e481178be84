"""A client that sends at its own pace whatever the answers are: a process of its own, told on stdin, telling on stdout."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2
from aiokafka import AIOKafkaProducer

from muniment.contracts.ids import publication_id_of
from muniment.sdk.event import training_completed

SOURCE = "//trainers.example/flood"
CONNECTIONS = 200


@dataclass(frozen=True)
class Order:
    """What one client is to do. `per_second` 0: no more than `CLOSED` at a time, each when the one before is answered."""

    name: str
    url: str
    token: str
    bootstrap: str
    file: dict[str, Any]
    seconds: float
    per_second: float
    kafka_per_second: float = 0.0


CLOSED = 16


@dataclass
class Told:
    """What came of it. `accepted` are publication ids that were answered 202, or that the broker has."""

    accepted: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    waits: list[int] = field(default_factory=list)
    without_wait: int = 0
    unsent: int = 0
    """Sends that found all connections taken: the server was slower than the pace."""

    @property
    def bounded(self) -> bool:
        """Whether each request was answered, and each refusal named a wait."""
        return {answer.partition(" ")[0] for answer in self.answers} <= {"200", "201", "202", "503"} and (
            self.without_wait == 0
        )


class Flood:
    """One client at work."""

    def __init__(self, order: Order, http: httpx2.AsyncClient) -> None:
        self.order = order
        self.told = Told()
        self._http = http
        self._places = asyncio.Semaphore(CONNECTIONS)

    async def publish(self, number: int) -> None:
        """Begin and complete; a refusal is the end of it."""
        key = f"{self.order.name}-{number}"
        body = {"model": f"flood-{number % 20}", "files": [self.order.file], "facts": {"params": {"n": key}}}
        begun = await self._post("/publications", body, {"idempotency-key": key})
        if begun is None:
            return
        publication_id = begun["publication"]["id"]
        if await self._post(f"/publications/{publication_id}/complete", {"files": []}, {}) is not None:
            self.told.accepted.append(publication_id)

    async def _post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any] | None:
        try:
            answer = await self._http.post(f"{self.order.url}/api/v1{path}", json=body, headers=headers)
        except httpx2.HTTPError as error:
            self.told.answers[type(error).__name__] += 1
            return None
        self.told.answers[str(answer.status_code)] += 1
        if answer.status_code == 503:
            self.told.answers[f"503 {answer.json()['code']}"] += 1
            wait = answer.headers.get("retry-after", "")
            if wait.isdecimal():
                self.told.waits.append(int(wait))
            else:
                self.told.without_wait += 1
        return dict(answer.json()) if answer.status_code < 300 else None

    async def run(self) -> None:
        """Everything ordered, and then the answers that are still to come."""
        async with asyncio.TaskGroup() as group:
            if self.order.per_second:
                group.create_task(self._paced(group))
            else:
                for line in range(CLOSED):
                    group.create_task(self._closed(line))
            if self.order.kafka_per_second:
                group.create_task(self._events())

    async def _closed(self, line: int) -> None:
        ends = time.monotonic() + self.order.seconds
        number = line
        while time.monotonic() < ends:
            await self.publish(number)
            number += CLOSED

    async def _paced(self, group: asyncio.TaskGroup) -> None:
        began, number = time.monotonic(), 0
        while (now := time.monotonic() - began) < self.order.seconds:
            while number < now * self.order.per_second:
                if self._places.locked():
                    self.told.unsent += 1
                else:
                    await self._places.acquire()
                    group.create_task(self.publish(number)).add_done_callback(lambda _: self._places.release())
                number += 1
            await asyncio.sleep(0.005)

    async def _events(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.order.bootstrap, acks="all", linger_ms=5)
        await producer.start()
        sent = []
        try:
            for number in range(int(self.order.seconds * self.order.kafka_per_second)):
                run = f"{self.order.name}-{number}"
                record = training_completed("flood-kafka", [self.order.file], source=SOURCE, run_id=run)
                sent.append(
                    await producer.send(record.topic, key=record.key, value=record.value, headers=record.headers)
                )
                self.told.accepted.append(publication_id_of(SOURCE, record.event_id))
                if number % 20 == 0:
                    await asyncio.sleep(20 / self.order.kafka_per_second)
            await asyncio.gather(*sent)
            self.told.answers["events"] += len(sent)
        finally:
            await producer.stop()


async def main() -> None:
    """Read the order, carry it out, tell."""
    order = Order(**json.load(sys.stdin))
    limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    headers = {"authorization": f"Bearer {order.token}"}
    async with httpx2.AsyncClient(limits=limits, headers=headers, timeout=60, trust_env=False) as http:
        flood = Flood(order, http)
        await flood.run()
    json.dump(vars(flood.told), sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
