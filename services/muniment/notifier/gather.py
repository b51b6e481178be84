"""Gathering: what waits for its digest, and the loop that sends digests and ends subscriptions when their time comes.

A digest is made in one transaction: its row with the body that will be sent, and on each gathered row which digest
tells of it. From there on it is a delivery like any other, so whatever is killed in between, everything gathered is in
exactly one digest, and that goes out under one id.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from muniment.adapters.postgres import RACES, UNAVAILABLE
from muniment.contracts.events import Cause, Change
from muniment.contracts.model import rfc3339
from muniment.notifier import store
from muniment.notifier.digests import Gathered, digest_body, digest_id
from muniment.notifier.handlers import Wake
from muniment.notifier.recording import OPERATOR
from muniment.notifier.store import SQL
from muniment.runtime.delivery.transaction import Transactions, Tx

log = structlog.get_logger(__name__)

_EVERY_S: Final = 2.0
_DIGESTS: Final = 100
"""Subscriptions looked at in one round."""
_MEMBERS: Final = 5_000
"""Events that one digest tells of; more make another."""
_BODIES: Final = 500
_BODY_BYTES: Final = 16 * 1024
"""Events whose data a digest looks at: so many of the newest, none larger."""


@dataclass(frozen=True, slots=True)
class Gatherer:
    """Run `run` as a task."""

    transactions: Transactions
    wake: Wake
    every_s: float = _EVERY_S

    async def run(self) -> None:
        """Look every two seconds, for ever."""
        while True:
            try:
                await self.expire()
                await self.close()
            except (*UNAVAILABLE, *RACES) as error:
                log.warning("digests wait for the database", error=repr(error)[:300])
            await asyncio.sleep(self.every_s)

    async def expire(self) -> None:
        """Mark subscriptions whose time is over, each with its audit entry. From then on they got nothing anyway."""
        pool = self.transactions.pool
        if not await pool.fetchval(SQL["any_expired"], self.transactions.clock.now()):
            return
        async with self.transactions.begin() as tx:
            for found in await store.expire(tx.connection, tx.now):
                _tell_expired(tx, found)

    async def close(self) -> None:
        """Make the digests that are due, of some subscriptions: the next round finds the others."""
        for row in await self.transactions.pool.fetch(SQL["due_digests"], _DIGESTS):
            try:
                await self._close(row["id"])
            except (*UNAVAILABLE, *RACES):
                raise
            except Exception as error:  # noqa: BLE001  # reason: one row that cannot be read must not hold up the others
                log.error("digest not made", subscription=str(row["id"]), error=repr(error)[:300])  # noqa: TRY400  # reason: a traceback's locals would show events

    async def _close(self, subscription_id: UUID) -> None:
        async with self.transactions.begin() as tx:
            subscription = await tx.connection.fetchrow(SQL["lock_for_digest"], subscription_id)
            if subscription is None:  # another process makes it
                return
            rows = await tx.connection.fetch(SQL["gathered"], subscription_id, _MEMBERS, _BODIES, _BODY_BYTES)
            if not rows:
                return
            members = [
                Gathered(
                    row["id"], row["event_seq"], row["type"], row["model"], row["body"] and json.loads(row["body"])
                )
                for row in rows
            ]
            made = digest_id(subscription_id, members, max(row["due_at"] for row in rows))
            body = digest_body(made, subscription_id, subscription["name"], members, tx.now)
            await tx.connection.execute(SQL["insert_digest"], made, subscription_id, members[-1].cursor, body)
            await tx.connection.execute(SQL["join_digest"], made, [member.id for member in members])
            tx.after_commit(lambda: self.wake([subscription_id]))


def _tell_expired(tx: Tx, found: store.Subscription) -> None:
    expired_at = None if found.expires_at is None else rfc3339(found.expires_at)
    tx.audit(
        action="subscription.expired",
        resource=f"subscriptions/{found.id}",
        operator=OPERATOR,
        authenticated_by="service",
        cause=Cause(kind="schedule", id=f"{found.id}.{expired_at}"),
        changes=[Change(path="state", after="expired")],
        reason=f"it was to end at {expired_at}",
    )
