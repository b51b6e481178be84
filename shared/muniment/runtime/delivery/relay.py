"""The relay: from the outbox to Kafka, in order, by one leader for each service.

The leader holds a Postgres advisory lock on a connection of its own: when the process dies, the lock goes with the
connection and another takes over. Rows leave in the order of `seq`. A row is marked sent only when it and every row
before it in its batch is durable on the broker; after a failure the rest is sent again, so that a key's order holds and
a consumer may see a record twice, never a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog

from muniment.adapters.kafka import KafkaPublisher, Outgoing
from muniment.adapters.postgres import RACES, UNAVAILABLE
from muniment.contracts.errors import Transient
from muniment.ports.clock import Clock
from muniment.ports.timing import Observe, timed, unobserved
from muniment.runtime.delivery.header_text import unpack_headers
from muniment.runtime.delivery.transaction import SQL
from muniment.runtime.stop_point import reached

if TYPE_CHECKING:
    import asyncpg

log = structlog.get_logger(__name__)

_BATCH: Final = 500
_IDLE_S: Final = 5.0
"""How long the leader sleeps when nobody wakes it: only a lost NOTIFY makes this the delay."""
_CANDIDATE_S: Final = 1.0
_STOP_S: Final = 2.0
"""What a batch under way gets to end when the process is asked to stop."""
_PRUNE_EVERY_S: Final = 300.0
_PRUNE_ROWS: Final = 5_000


@dataclass(slots=True)
class Relay:
    """Publishes one service's outbox. Run `run` as a task; `wake` after each commit."""

    service: str
    connect: Callable[[], Awaitable[asyncpg.Connection[Any]]]
    publisher: KafkaPublisher
    clock: Clock
    keep_days: int
    observe: Observe = unobserved
    leading: bool = False
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> bool:
        """Something was committed. False when this process does not lead and another must be told by NOTIFY."""
        self._woken.set()
        return self.leading

    async def run(self) -> None:
        """Lead when possible, for ever."""
        while True:
            try:
                connection = await self.connect()
                try:
                    await self._lead(connection)
                finally:
                    self.leading = False
                    connection.terminate()
            except (*UNAVAILABLE, *RACES) as error:
                log.warning("relay lost the database", error=repr(error)[:300])
                await asyncio.sleep(_CANDIDATE_S)

    async def _lead(self, connection: asyncpg.Connection[Any]) -> None:
        channel = f"muniment_outbox_{self.service}"
        while not await connection.fetchval(SQL["lead"], channel):  # noqa: ASYNC110  # reason: a lock has no event
            await asyncio.sleep(_CANDIDATE_S)
        await connection.add_listener(channel, self._notified)
        # What a crash forgets is that rows were sent: they are sent again, and their readers know them.
        await connection.execute(SQL["forgetful"])
        self.leading = True
        log.debug("relay leads", service=self.service)
        failures = 0
        pruned_at = 0.0
        loop = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            try:
                more = await _to_its_end(self._publish_some(connection))
            except Transient as error:
                failures += 1
                if failures in (1, 10) or failures % 60 == 0:
                    log.warning("relay cannot publish; waiting", tries=failures, error=str(error)[:300])
                await asyncio.sleep(min(5.0, 0.1 * 2 ** min(failures, 6)))
                continue
            failures = 0
            if more:
                continue
            if loop.time() - pruned_at > _PRUNE_EVERY_S and not await self._prune(connection):
                pruned_at = loop.time()
            try:
                async with asyncio.timeout(_IDLE_S):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def _publish_some(self, connection: asyncpg.Connection[Any]) -> bool:
        """Publish one batch; True when there may be more."""
        with timed(self.observe, "relay.read"):
            rows = await connection.fetch(SQL["unsent"], _BATCH)
        if not rows:
            return False
        records = [
            Outgoing(
                row["aggregatetype"],
                row["aggregateid"].encode() or None,
                row["payload"],
                unpack_headers(row["headers"]),
            )
            for row in rows
        ]
        with timed(self.observe, "relay.publish"):
            durable = await self.publisher.publish(records)
        reached(f"{self.service}.published-before-marked")
        with timed(self.observe, "relay.mark"):
            await connection.execute(SQL["mark_sent"], [row["seq"] for row in rows[:durable]])
        return durable < len(rows) or len(rows) == _BATCH

    async def _prune(self, connection: asyncpg.Connection[Any]) -> bool:
        """Delete a batch of old rows of each table; True when there may be more: then the next turn goes on with it.

        One batch in five minutes would be sixteen rows a second, and the tables of a busy service would grow for ever.
        """
        before = self.clock.now() - timedelta(days=self.keep_days)
        done = [await connection.execute(SQL[name], before, _PRUNE_ROWS) for name in ("prune_outbox", "prune_inbox")]
        return f"DELETE {_PRUNE_ROWS}" in done

    def _notified(self, *_: object) -> None:
        self._woken.set()


async def _to_its_end(work: Coroutine[Any, Any, bool]) -> bool:
    """Await it; asked to stop, give it a moment: what the broker has and nobody marked would be published again."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=_STOP_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
