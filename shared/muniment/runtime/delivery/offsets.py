"""Offsets of records that have their end: committed while the next batch begins.

An answer of the broker takes as long as a third of a small batch, and nothing waits for it: what is not committed comes
again, and the inbox knows it. So one request is under way at a time, the next one has what was done meanwhile, and
between two of them there is a pause: at a hundred small batches a second, requests for each were a tenth of a core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Offsets:
    """What one consumer may commit. Never ahead of what was handed in; per partition it never goes back."""

    pause_s: float = 0.1
    """Between two requests; for as long a killed process may have done what is read again."""
    _due: dict[TopicPartition, int] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None
    _settling: asyncio.Event = field(default_factory=asyncio.Event)

    async def done(self, upto: Mapping[TopicPartition, int], consumer: AIOKafkaConsumer) -> None:
        """Everything before these offsets has its end. Waits for the commit only once `settle` was called."""
        for partition, offset in upto.items():
            self._due[partition] = max(self._due.get(partition, 0), offset)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit(consumer), name="offsets")
        if self._settling.is_set():
            await self._task

    async def settle(self) -> None:
        """Before the consumer stops: wait for what is under way; from now on each batch waits for its own."""
        self._settling.set()
        if self._task is not None:
            await self._task

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        while self._due:
            mine = consumer.assignment()
            offsets = {partition: offset for partition, offset in self._due.items() if partition in mine}
            self._due = {}
            if not offsets:
                continue
            try:
                await consumer.commit(offsets)
            except KafkaError as error:
                # Lost by a rebalance or an outage: the records come again and the inbox knows them.
                log.warning("offsets not committed", error=repr(error)[:300])
            try:
                async with asyncio.timeout(self.pause_s):
                    await self._settling.wait()
            except TimeoutError:
                pass
