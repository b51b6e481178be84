"""Strangers who put anything on the intake topic or into a request, and see what became of it.

Each bad input is followed by a good publication of the same model: its number tells that the partition moved on and
that no version came of the bad one.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import httpx2
import pytest
from aiokafka import TopicPartition
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c_py

from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent, encode
from muniment.contracts.errors import NotFound
from muniment.contracts.ids import publication_id_of

if TYPE_CHECKING:
    from .conftest import Outside

Entry = dict[str, Any]
Headers = list[tuple[str, Any]]

SOURCE = "//trainers.example/bad"
_numbers = itertools.count(1)
_CRC, _ATTRIBUTES, _LENGTH, _RECORDS = 17, 21, 8, 61  # places in a record batch (Kafka protocol guide, version 2)


class Place(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int


def new_id() -> str:
    """An event or request id that no other test uses."""
    return f"bad-{next(_numbers)}"


def event_of(payload: object, *, event_id: str | None = None, **attributes: Any) -> CloudEvent:
    """A training-completed event with any payload: bytes as they are, everything else as JSON."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()
    fields = {"source": SOURCE, "type": topics.TRAINING_COMPLETED.type, **attributes}
    return CloudEvent(id=event_id or new_id(), data=data, **fields)


def without(headers: Headers, *names: str) -> Headers:
    """The headers but these."""
    return [header for header in headers if header[0] not in names]


@dataclass
class Intake:
    """The Kafka way in, and the audit log that tells of both ways."""

    registry: Outside
    commits: Counter[str] = field(default_factory=Counter)
    """Versions that a model must have."""
    _entries: list[Entry] = field(default_factory=list)
    _read: int = 0

    @property
    def topic(self) -> str:
        return topics.TRAINING_COMPLETED.wire_name(self.registry.prefix)

    async def put(
        self, headers: Headers, value: bytes | None, key: bytes | None, partition: int | None = None
    ) -> Place:
        """Put a record on the intake topic."""
        producer = self.registry.producer
        sent = await producer.send_and_wait(self.topic, value=value, key=key, headers=headers, partition=partition)
        return Place(sent.topic, sent.partition, sent.offset)

    async def put_batch(self, batch: bytes, key: bytes) -> Place:
        """Put a raw batch of one record on the partition of a key, as a client of any make might."""
        producer = self.registry.producer
        partition = producer._partition(self.topic, None, key, b"", key, b"")
        leader = producer.client.cluster.leader_for_partition(TopicPartition(self.topic, partition))
        request = ProduceRequest(None, -1, 10_000, [(self.topic, [(partition, batch)])])
        response = await producer.client.send(leader, request)
        ((_, ((_, error, offset, *_),)),) = response.topics
        assert error == 0, f"the broker refused the batch: {error}"
        return Place(self.topic, partition, offset)

    def entries(self) -> list[Entry]:
        """The audit log so far, in order."""
        log = topics.AUDIT_LOG.wire_name(self.registry.prefix)
        seen = self.registry.seen
        while self._read < len(seen):
            record = seen[self._read]
            self._read += 1
            if record.topic == log:
                self._entries.append(json.loads(record.value)["entry"])
        return self._entries

    async def entry(self, fits: Callable[[Entry], bool]) -> Entry:
        """The first audit entry that fits."""
        found = await self.registry.until(lambda: next((one for one in self.entries() if fits(one)), None))
        return dict(found)

    async def entry_at(self, place: Place) -> Entry:
        """The audit entry of a record on the intake topic."""
        return await self.entry(lambda one: tuple(one["cause"].get(name) for name in Place._fields) == place)

    async def send_good(self, model: str, *, key: bytes | None = None, **options: Any) -> str:
        """Send an event that will be committed; returns its publication id."""
        file = await self.registry.land("model.bin", b"good weights")
        record, flow = self.registry.event(model, [file], run_id=new_id(), **options)
        await self.put(record.headers, record.value, record.key if key is None else key)
        self.commits[model] += 1
        return flow

    async def committed(self, flow: str) -> dict[str, Any]:
        """The version of a publication: the next number of its model, so nothing else became a version."""
        version = await self.registry.until_seen(topics.VERSION_AVAILABLE, flow)
        assert version["number"] == self.commits[version["model"]]
        return version

    async def set_aside(
        self, headers: Headers, value: bytes | None, code: str, *, model: str, key: bytes | None = None
    ) -> tuple[dict[str, Any], Entry]:
        """Put a record that must become a dead letter, and a good one after it; returns the letter and its entry."""
        place = await self.put(headers, value, model.encode() if key is None else key)
        after = await self.send_good(model, key=key)
        letter, entry = await self.letter_at(place, value, code)
        await self.committed(after)
        return letter, entry

    async def letter_at(
        self, place: Place, value: bytes | None, code: str, *, exact: bool = True
    ) -> tuple[dict[str, Any], Entry]:
        """The dead letter of a record, with its raw bytes (`exact`: they are `value`) and its audit entry."""
        entry = await self.entry_at(place)
        assert entry["reason"].startswith(f"{code}: ")
        assert (entry["action"], entry["outcome"]) == ("publication.refused", "refused")
        letter = await self.registry.client.dead_letter("ingest", entry["resource"].rsplit("/", 1)[1])
        assert letter["code"] == code
        assert (letter["partition"], letter["offset"]) == (place.partition, place.offset)
        assert letter["value_sha256"] == entry["cause"]["sha256"]
        if exact:
            raw = value or b""
            assert (letter["value_size"], letter["value_sha256"]) == (len(raw), hashlib.sha256(raw).hexdigest())
            assert base64.b64decode(letter["value"]) == raw[: 1024 * 1024]
        return letter, entry

    async def rejection(
        self, flow: str, code: str, *, stage: str = "ingest", action: str = "publication.refused"
    ) -> tuple[dict[str, Any], Entry]:
        """The rejection of a publication and its entry: event, entry and stage say the same."""
        rejected = await self.registry.until_seen(topics.MODEL_REJECTED, flow)
        assert (rejected["code"], rejected["stage"]) == (code, stage)
        entry = await self.entry(lambda one: one["resource"] == f"publications/{flow}" and one["action"] == action)
        assert entry["outcome"] == "refused"
        assert entry["reason"].startswith(f"{code}: ")
        publication = await self.registry.client.publication(flow, wait=20)
        assert publication.stage == "rejected"
        assert publication.raw["rejection"]["code"] == code
        assert self.registry.records(topics.VERSION_AVAILABLE, flow) == []
        return rejected, entry

    async def unknown(self, event: CloudEvent) -> bool:
        """Whether an event has left no publication behind."""
        try:
            await self.registry.client.publication(publication_id_of(event.source, event.id))
        except NotFound:
            return True
        return False

    async def unfinished(self, *stages: str) -> list[str]:
        """Models of these tests with publications that are still in one of these stages."""
        models: list[str] = []
        for stage in stages:
            models += [one.raw["model"] async for one in self.registry.client.publications(stage=stage)]
        return [model for model in models if model.startswith("bad-")]


@dataclass
class Door:
    """The HTTP way in."""

    intake: Intake
    http: httpx2.AsyncClient

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """One request under an id of its own. A body that is not bytes is sent as JSON."""
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(method, path, content=content, headers={"x-request-id": new_id(), **named})

    async def begin(self, payload: object, **headers: str) -> httpx2.Response:
        """Begin a publication with any body."""
        return await self.send("POST", "/publications", payload, **headers)

    async def refused(self, answer: httpx2.Response, status: int, code: str) -> tuple[dict[str, Any], Entry]:
        """The problem that a request was answered with, and the audit entry that tells of it as well."""
        problem = self.problem(answer, status, code)
        mark = answer.headers["x-request-id"] + "."
        entry = await self.intake.entry(lambda one: one["cause"]["id"].startswith(mark))
        assert (entry["action"], entry["outcome"]) == ("publication.refused", "refused")
        assert (entry["operator"], entry["authenticated_by"]) == ("muniment|admin", "token")
        assert entry["cause"]["kind"] == "request"
        assert entry["reason"].startswith(f"{code}: ")
        return problem, entry

    @staticmethod
    def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
        """The problem document of an answer (RFC 9457)."""
        problem: dict[str, Any] = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code), problem
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["status"] == status
        assert problem["detail"]
        assert problem["request_id"] == answer.headers["x-request-id"]
        return problem

    async def refuses(
        self, payload: object, code: str, *, model: str, status: int = 422
    ) -> tuple[dict[str, Any], Entry]:
        """A body that must be refused, with a good publication after it."""
        refused = await self.refused(await self.begin(payload), status, code)
        await self.publish(model)
        return refused

    async def publish(self, model: str, **fields: Any) -> dict[str, Any]:
        """A good publication, begun, completed and committed under the model's next number."""
        file = await self.intake.registry.land("model.bin", b"good weights")
        flow = await self.started(model, [file], **fields)
        await self.complete(flow)
        self.intake.commits[model] += 1
        return await self.intake.committed(flow)

    async def started(self, model: str, files: list[dict[str, Any]], **fields: Any) -> str:
        """A publication that was begun; returns its id."""
        facts = {"run_id": new_id(), **fields.pop("facts", {})}
        answer = await self.begin({"model": model, "files": files, "facts": facts, **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["publication"]["id"])

    async def complete(self, flow: str) -> None:
        """Complete a publication whose bytes are in the store."""
        answer = await self.send("POST", f"/publications/{flow}/complete", {})
        assert answer.status_code == 202, answer.text


class Way(Protocol):
    """One of the ways in."""

    intake: Intake

    async def submit(self, payload: dict[str, Any]) -> str:
        """Publish; returns the publication's id. What is wrong with it comes to light later, if at all."""
        ...

    async def refuses(self, payload: dict[str, Any], code: str, *, model: str, readable: bool) -> Entry:
        """Publish what must be refused at the door, and a good publication of `model` after it; returns the entry.

        `readable` payloads have an author, so on Kafka they end as publications; others are set aside.
        """
        ...


@dataclass
class KafkaWay:
    """Events."""

    intake: Intake

    async def submit(self, payload: dict[str, Any]) -> str:
        event = event_of(payload)
        await self.intake.put(*encode(event), payload["model"].encode())
        return publication_id_of(event.source, event.id)

    async def refuses(self, payload: dict[str, Any], code: str, *, model: str, readable: bool) -> Entry:
        event = event_of(payload)
        if not readable:
            _, entry = await self.intake.set_aside(*encode(event), code, model=model)
            assert await self.intake.unknown(event)
            return entry
        await self.intake.put(*encode(event), model.encode())
        after = await self.intake.send_good(model)
        _, entry = await self.intake.rejection(publication_id_of(event.source, event.id), code)
        await self.intake.committed(after)
        return entry


@dataclass
class HttpWay:
    """Requests."""

    intake: Intake
    door: Door

    async def submit(self, payload: dict[str, Any]) -> str:
        flow = await self.door.started(**payload)
        await self.door.complete(flow)
        return flow

    async def refuses(self, payload: dict[str, Any], code: str, *, model: str, readable: bool) -> Entry:
        _, entry = await self.door.refuses(payload, code, model=model)
        return entry


def raw_batch(headers: Headers, value: bytes, key: bytes) -> bytearray:
    """A record batch of one record."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 4 * 1024 * 1024)
    builder.append(0, None, key, value, headers)
    return bytearray(builder.build())


def sealed(batch: bytearray) -> bytes:
    """The batch with its length and checksum as they must be."""
    struct.pack_into(">i", batch, _LENGTH, len(batch) - 12)
    struct.pack_into(">I", batch, _CRC, calc_crc32c_py(bytes(batch[_ATTRIBUTES:])))
    return bytes(batch)


def zstd_batch(batch: bytearray) -> bytes:
    """The batch in zstd (RFC 8878): a frame of one raw block, which needs no compressor."""
    records = bytes(batch[_RECORDS:])
    frame = (
        struct.pack("<IBI", 0xFD2FB528, 0xA0, len(records)) + (len(records) << 3 | 1).to_bytes(3, "little") + records
    )
    packed = bytearray(batch[:_RECORDS] + frame)
    struct.pack_into(">h", packed, _ATTRIBUTES, 4)
    return sealed(packed)


@dataclass
class Gate:
    """Holds up what fits until it is opened."""

    fits: Callable[[Any], bool]
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def before(self, owner: type, method: str) -> Iterator[Gate]:
        """While the block runs, `owner.method` waits here first, if its argument fits."""
        original = getattr(owner, method)

        async def gated(subject: Any, what: Any, *more: Any) -> Any:
            if self.fits(what):
                self.reached.set()
                await self.opened.wait()
            return await original(subject, what, *more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, method, gated)
            yield self
            self.opened.set()
