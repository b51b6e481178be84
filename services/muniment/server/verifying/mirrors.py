"""The log as Postgres and the topic hold it, row by row into a `Layer`. Nothing is held in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from muniment.adapters.kafka import KafkaConnection
from muniment.contracts.errors import Transient
from muniment.runtime.sql import load_queries
from muniment.verifier.canonical import canonical
from muniment.verifier.errors import EntryError
from muniment.verifier.layers import Layer, Row

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

SQL: Final = load_queries("muniment.audit", "verifying")
_COLUMNS: Final = ("event_id", "action", "outcome", "operator", "model", "resource", "correlation")
_PREFETCH: Final = 500
_LATE_S: Final = 15.0
"""How long the topic may lack what a checkpoint covers: a relay that is alive is quicker."""
Progress = Callable[[str, int], None]


async def read_postgres(connection: asyncpg.Connection[Any], layer: Layer, progress: Progress) -> None:
    """Every entry of the table, with its stored hashes, its head and its columns, from one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for row in connection.cursor(SQL["every_entry"], prefetch=_PREFETCH):
            roots = (row["root_hash"],) if row["head_root"] is None else (row["root_hash"], row["head_root"])
            facts = {name: row[name] for name in _COLUMNS}
            if not layer.take(Row(row["index"], row["data"], row["leaf_hash"], roots, facts)):
                return
            progress(layer.name, layer.leaves.count)
        beyond = await connection.fetchval(SQL["heads_beyond"])
    if beyond is not None:
        count = layer.leaves.count
        message = "the tree has a head for entries that are not there"
        layer.broken(count, "entry_missing", message, expected=f"{beyond} entries", actual=f"{count} entries")


async def read_topic(kafka: KafkaConnection, topic: str, size: int, layer: Layer, progress: Progress) -> None:
    """Every record of the topic up to its end, and a moment longer while it lacks what `size` covers.

    Joins no group and commits nothing. A batch whose checksum is wrong, as the broker has it on its disk, ends the
    layer (`record_corrupt`) before its first entry. Raises `Transient` (`broker_unavailable`).
    """
    from aiokafka import AIOKafkaConsumer
    from aiokafka.errors import KafkaError

    consumer = AIOKafkaConsumer(
        topic, **kafka.options(), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest", check_crcs=True
    )
    try:
        await consumer.start()
        # The log lies in one partition. What somebody wrote into another one is read, too, and last.
        for partition, end in await _partitions(consumer, topic):
            await consumer.seek_to_beginning(partition)
            if not await _read(consumer, partition, end, size, layer, progress):
                return
    except (KafkaError, OSError, TimeoutError) as error:
        raise Transient("broker_unavailable", f"Kafka does not answer: {error!r}") from error
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[tuple[TopicPartition, int]]:
    from aiokafka import TopicPartition

    numbers = sorted(consumer.partitions_for_topic(topic) or ())
    partitions = [TopicPartition(topic, number) for number in numbers]
    ends = await consumer.end_offsets(partitions) if partitions else {}
    return sorted(ends.items(), key=lambda one: -one[1])


async def _read(
    consumer: AIOKafkaConsumer, partition: TopicPartition, end: int, size: int, layer: Layer, progress: Progress
) -> bool:
    from aiokafka.errors import CorruptRecordException

    waited_until: float | None = None
    now = asyncio.get_running_loop().time
    at_once, corrupt_at = _PREFETCH, -1
    while end:
        try:
            batches = await consumer.getmany(partition, timeout_ms=200, max_records=at_once)
        except CorruptRecordException as error:
            # What came with it and is whole is lost with the error: it comes again, one by one, up to the damage.
            at_once, offset = 1, await consumer.position(partition)
            if offset != corrupt_at:
                corrupt_at = offset
                continue
            _corrupt(layer, partition, offset, error)
            return False
        for record in batches.get(partition, ()):
            if not _take(record, layer):
                return False
            progress(layer.name, layer.leaves.count)
        if batches:
            waited_until = None
        elif waited_until is None:
            waited_until = now() + _LATE_S
        at_end = await consumer.position(partition) >= end
        if at_end and (layer.leaves.count >= size or (waited_until is not None and now() > waited_until)):
            break
        if not at_end and waited_until is not None and now() > waited_until + _LATE_S:
            raise TimeoutError(f"{partition} does not give its records up to offset {end}")
    return True


def _corrupt(layer: Layer, partition: TopicPartition, offset: int, error: Exception) -> None:
    layer.broken(
        layer.leaves.count,
        "record_corrupt",
        f"the broker's batch of records is damaged (partition {partition.partition}, from offset {offset})",
        expected="records of the checksum that stands beside them",
        actual=str(error),
    )


def _take(record: ConsumerRecord[bytes, bytes], layer: Layer) -> bool:
    """One record into the layer: its entry's canonical JSON is the leaf's data."""
    place = f"partition {record.partition}, offset {record.offset}"
    try:
        value = json.loads(record.value or b"")
        index, data = int(value["index"]), canonical(value["entry"]).encode()
        leaf, root = bytes.fromhex(value["leaf_hash"]), bytes.fromhex(value["root_hash"])
        size = int(value["tree_size"])
    except (ValueError, KeyError, TypeError, EntryError, RecursionError) as error:
        layer.broken(layer.leaves.count, "record_malformed", f"a record is no entry of the log ({place}): {error!r}")
        return False
    if size != index + 1:
        message = f"a record gives another tree size than its index ({place})"
        layer.broken(index, "record_malformed", message, expected=str(index + 1), actual=str(size))
        return False
    return layer.take(Row(index, data, leaf, (root,)))
