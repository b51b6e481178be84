"""The one subscriber: FastStream's consumer, made to lose nothing. No other file makes a subscriber.

FastStream's defaults lose records: they commit before the handler ran, or on its error, and a header that is not UTF-8
makes its parser raise, after which the next commit passes the whole batch by. So here
- the parser gets copies of two records without headers, and the batch that the handler sees holds the originals;
- the decoder decodes nothing and injects nothing: bytes are decoded by `record.read`, where a failure has an end;
- acknowledgement is manual: explicit offsets, after the processor has recorded the end of every record;
- a failure of the processor itself rewinds the partitions instead of letting a later commit pass them;
- batches that the client library cannot read, or only by taking all memory, come as records that say so;
- nothing is ever published in reply.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage

from muniment.adapters.kafka import MAX_RECORD
from muniment.adapters.kafka_batches import install
from muniment.adapters.kafka_fetch import fetch_in_sessions
from muniment.contracts.errors import MunimentError
from muniment.ports.clock import Clock
from muniment.runtime.delivery.offsets import Offsets
from muniment.runtime.delivery.processor import Processor
from muniment.runtime.delivery.record import Record, retry_state
from muniment.runtime.stop_point import reached

RawRecord: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"

log = structlog.get_logger(__name__)

_POLL_MS: Final = 1_000
_REWIND_PAUSE_S: Final = 1.0
_AHEAD_S: Final = 0.02
"""Between two looks for records that come while a batch is processed."""
_HELD_S: Final = 1.0
"""For how long the client waits for what it holds to be taken before it asks the broker for the other partitions alone.

Its own 0.1 s make a stall: the answer to that question may take `fetch_max_wait_ms`, and until it is there nothing more
of the partition that was left out is asked for. A process that is busy for 0.1 s is common. One processor takes all
partitions in turn, so none of them loses anything by the wait.
"""


@dataclass(frozen=True, slots=True)
class Polled:
    """A batch as it came from the client."""

    records: Sequence[RawRecord]
    consumer: AIOKafkaConsumer


@dataclass(slots=True)
class Subscriber:
    """Feeds one processor from the broker, one batch at a time. The broker is made with `apply_types=False`."""

    processor: Processor
    clock: Clock
    batch_records: int
    instance: str | None = None
    """The replica's name in the group: it takes its own place again, and does not wait for its dead self's session."""
    _resuming: dict[TopicPartition, asyncio.TimerHandle] = field(default_factory=dict)
    _offsets: Offsets = field(default_factory=Offsets)
    _before: int = 0
    """Records of the batch before."""
    _ahead: list[RawRecord] = field(default_factory=list)
    """The start of the next batch, taken while the last one was being processed."""
    _prepared: AIOKafkaConsumer | None = None

    def register(self, broker: KafkaBroker) -> None:
        """Add it to the broker; it starts and stops with it."""
        install()
        subscriber = broker.subscriber(
            *self.processor.topics,
            group_id=self.processor.group,
            group_instance_id=self.instance,
            batch=True,
            max_records=self.batch_records,
            batch_timeout_ms=_POLL_MS,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            parser=_parse,
            decoder=_decode,
            max_partition_fetch_bytes=2 * MAX_RECORD,
            # How long an idle request is held, and how late a partition may be that the client left out of it: one
            # that was paused until a retry is due, or whose records it holds (`_HELD_S`).
            fetch_max_wait_ms=500 if self.processor.reads_retries else 1_000,
            max_poll_interval_ms=600_000,
            # The shortest that brokers take by default: how long the partitions of a killed process lie idle.
            session_timeout_ms=6_000,
            heartbeat_interval_ms=2_000,
        )
        # FastStream sleeps for the time-out again after an empty poll, deaf to what arrives meanwhile.
        subscriber.get_msg = types.MethodType(self._poll, subscriber)  # type: ignore[method-assign]  # reason: no setting turns the second sleep off
        subscriber(self._take)

    async def settle(self) -> None:
        """Before the broker is stopped: what has its end is committed, and each batch from now on when it ends."""
        await self._offsets.settle()

    async def _take(self, polled: Polled) -> None:
        consumer = polled.consumer
        due = self._hold_back(polled.records, consumer)
        if not due:
            return
        try:
            async with self._reading_ahead(consumer):
                await self.processor.process([_record(record) for record in due])
        except Exception:  # a bug of ours: nothing may be committed past these records
            log.exception("batch failed; reading it again", group=self.processor.group, records=len(due))
            self._rewind(due, consumer)
            await asyncio.sleep(_REWIND_PAUSE_S)
            return
        except asyncio.CancelledError:
            self._rewind(due, consumer)
            raise
        reached(f"{self.processor.service}.before-offsets")
        await self._offsets.done(_ends(due), consumer)

    def _hold_back(self, raw: Sequence[RawRecord], consumer: AIOKafkaConsumer) -> list[RawRecord]:
        """The records that are due. A partition whose next record is not due yet is rewound to it and paused."""
        now_ms = self.clock.now().timestamp() * 1000
        held: dict[TopicPartition, float] = {}
        due: list[RawRecord] = []
        for record in raw:
            partition = TopicPartition(record.topic, record.partition)
            if partition in held:
                continue
            if self.processor.is_retry(record.topic) and (wait_ms := _due_ms(record) - now_ms) > 0:
                held[partition] = wait_ms
                consumer.seek(partition, record.offset)
                self._pause(partition, wait_ms / 1000, consumer)
                continue
            due.append(record)
        return due

    def _rewind(self, records: Sequence[RawRecord], consumer: AIOKafkaConsumer) -> None:
        """Read these again, and what was taken ahead after them: nothing may be committed past them."""
        first: dict[TopicPartition, int] = {}
        for record in (*records, *self._ahead):
            partition = TopicPartition(record.topic, record.partition)
            first[partition] = min(first.get(partition, record.offset), record.offset)
        self._ahead = []
        for partition, offset in first.items():
            if partition in consumer.assignment():
                consumer.seek(partition, offset)

    @asynccontextmanager
    async def _reading_ahead(self, consumer: AIOKafkaConsumer) -> AsyncIterator[None]:
        """Take what comes while the block runs, up to a batch.

        The client asks the broker for more only when all that it holds was taken. So without this the first record
        that came during a batch would be the whole of the next one, and those after it would wait for two.
        """
        reader = asyncio.create_task(self._read_ahead(consumer))
        try:
            yield
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        await self._take_ahead(consumer)  # so that what came since is asked for at once

    async def _read_ahead(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            await asyncio.sleep(_AHEAD_S)
            await self._take_ahead(consumer)

    async def _take_ahead(self, consumer: AIOKafkaConsumer) -> None:
        if (room := self.batch_records - len(self._ahead)) <= 0:
            return
        try:
            self._ahead += await _held(consumer, room)
        except (
            KafkaError,
            ConsumerStoppedError,
        ) as error:  # the next batch asks by itself, and fails by itself
            log.debug("nothing read ahead", group=self.processor.group, error=repr(error)[:300])

    async def _poll(self, subscriber: Any, consumer: AIOKafkaConsumer) -> tuple[RawRecord, ...]:
        if consumer is not self._prepared:
            self._prepared = consumer
            consumer._fetcher._prefetch_backoff = _HELD_S  # noqa: SLF001  # reason: no setting of the client leads there
            fetch_in_sessions(consumer)
        taken, self._ahead = self._ahead, []
        if not taken:
            taken = await _held(consumer, subscriber.max_records, _POLL_MS)
        elif room := subscriber.max_records - len(taken):
            taken += await _held(consumer, room)
        room = subscriber.max_records - len(taken)
        if taken and room and (linger_s := self.processor.linger_after(self._before)):
            await asyncio.sleep(linger_s)
            taken += await _held(consumer, room)
        self._before = len(taken)
        return tuple(taken)

    def _pause(self, partition: TopicPartition, seconds: float, consumer: AIOKafkaConsumer) -> None:
        consumer.pause(partition)
        if (timer := self._resuming.pop(partition, None)) is not None:
            timer.cancel()
        resume = self._resumer(partition, consumer)
        self._resuming[partition] = asyncio.get_running_loop().call_later(seconds, resume)

    def _resumer(self, partition: TopicPartition, consumer: AIOKafkaConsumer) -> Callable[[], None]:
        def resume() -> None:
            self._resuming.pop(partition, None)
            if partition in consumer.assignment():
                consumer.resume(partition)

        return resume


async def _held(consumer: AIOKafkaConsumer, most: int, timeout_ms: int = 0) -> list[RawRecord]:
    """What the client holds; where it holds nothing, what comes within the time-out. Each partition in order."""
    batches = await consumer.getmany(timeout_ms=timeout_ms, max_records=most)
    return [record for batch in batches.values() for record in batch]


def _due_ms(record: RawRecord) -> float:
    try:
        return float(retry_state(_record(record)).due_ms)
    except MunimentError:
        return 0.0  # the processor will set it aside


async def _parse(raw: tuple[RawRecord, ...], original: Callable[[Any], Any]) -> Any:
    ends = raw if len(raw) < 2 else (raw[0], raw[-1])  # of a batch it says from where to where it goes
    message = await original(tuple(replace(record, headers=()) for record in ends))
    message.raw_message = raw
    return message


async def _decode(message: KafkaMessage) -> Polled:
    """What `_take` is called with. Not the message itself, which keeps what this returns: that would be a cycle."""
    return Polled(message.raw_message, message.consumer)


def _record(raw: RawRecord) -> Record:
    return Record(raw.topic, raw.partition, raw.offset, raw.key, raw.value, tuple(raw.headers), raw.timestamp)


def _ends(records: Sequence[RawRecord]) -> dict[TopicPartition, int]:
    """The offset after the last record of each partition."""
    ends: dict[TopicPartition, int] = {}
    for record in records:
        partition = TopicPartition(record.topic, record.partition)
        ends[partition] = max(ends.get(partition, 0), record.offset + 1)
    return ends
