"""Alerts that flap: what is remembered of those that were told a moment ago, by subscription."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from muniment.notifier.store import SQL, Recipient
from muniment.notifier.timing import Damped, damp

if TYPE_CHECKING:
    from muniment.runtime.delivery.transaction import Connection


@dataclass(slots=True)
class Damping:
    """The windows of alerts that may flap, within one transaction that holds the feed's lock."""

    _known: dict[tuple[UUID, str], Damped] = field(default_factory=dict)
    _changed: dict[tuple[UUID, str], Damped] = field(default_factory=dict)

    @classmethod
    async def of(cls, connection: Connection, keys: Iterable[tuple[UUID, str]]) -> Damping:
        """What is remembered of these alerts, by subscription."""
        wanted = sorted(set(keys))
        if not wanted:
            return cls()
        rows = await connection.fetch(SQL["lock_damped"], [one for one, _ in wanted], [key for _, key in wanted])
        return cls({(row["subscription_id"], row["key"]): Damped(row["until"], row["held"]) for row in rows})

    def gathered_until(self, recipient: Recipient, key: str, now: datetime) -> datetime | None:
        """Until when this alert is gathered; None where it is told at once."""
        minutes = recipient.timing.damp_minutes
        if minutes is None:
            return None
        place = (recipient.id, key)
        until, self._known[place] = damp(now, timedelta(minutes=minutes), self._known.get(place))
        self._changed[place] = self._known[place]
        return until

    async def save(self, connection: Connection) -> None:
        """Remember what has changed."""
        if self._changed:
            await connection.execute(
                SQL["put_damped"],
                [one for one, _ in self._changed],
                [key for _, key in self._changed],
                [window.until for window in self._changed.values()],
                [window.held for window in self._changed.values()],
            )
