"""Topics that are not kept as declared: one audit entry when a drift begins (or becomes another), one when it ends."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import operator_of
from muniment.contracts.topics import AUDIT
from muniment.runtime.delivery.transaction import Transactions, Tx
from muniment.runtime.sql import load_queries

SQL = load_queries("muniment.audit", "topic_drift")
BEGAN: Final = "audit.topic-drift"
ENDED: Final = "audit.topic-drift-ended"
OPERATOR: Final = operator_of(AUDIT)

Setting = tuple[str, str]
"""A topic's wire name and the name of one of its settings."""
Value = tuple[str, str | None]
"""Expected and actual; None: there is no such topic."""


@dataclass(frozen=True, slots=True)
class Turns:
    """What is different since the last look: drifts that began or changed, and those that ended."""

    began: Mapping[Setting, Value]
    ended: Mapping[Setting, Value]


def turns(known: Mapping[Setting, Value], found: Mapping[Setting, Value]) -> Turns:
    """Hold what is found against what is known. Pure."""
    return Turns(
        began={setting: value for setting, value in found.items() if known.get(setting) != value},
        ended={setting: value for setting, value in known.items() if setting not in found},
    )


async def tell(transactions: Transactions, drift: Mapping[str, Mapping[str, Value]]) -> Turns:
    """Keep what was found, with an entry for each topic that has turned. `drift`: topic -> setting -> value.

    Processes that look at the same time take turns, so a drift has one entry.
    """
    found = {(topic, setting): value for topic, wrong in drift.items() for setting, value in wrong.items()}
    async with transactions.begin() as tx:
        await tx.connection.execute(SQL["lock_drift"])
        rows = await tx.connection.fetch(SQL["known_drift"])
        known = {(row["topic"], row["setting"]): (row["expected"], row["actual"]) for row in rows}
        turned = turns(known, found)
        if turned.began:
            await tx.connection.execute(
                SQL["put_drift"],
                [topic for topic, _ in turned.began],
                [setting for _, setting in turned.began],
                [expected for expected, _ in turned.began.values()],
                [actual for _, actual in turned.began.values()],
                tx.now,
            )
        if turned.ended:
            await tx.connection.execute(
                SQL["forget_drift"], [topic for topic, _ in turned.ended], [setting for _, setting in turned.ended]
            )
        cause = Cause(kind="schedule", id=f"topic-check.{uuid.uuid4()}")
        for topic in dict.fromkeys(topic for topic, _ in turned.began):
            changes = [
                Change(path=setting, before=expected, after=actual)
                for (name, setting), (expected, actual) in turned.began.items()
                if name == topic
            ]
            _audit(tx, BEGAN, topic, changes, cause, "the topic is not kept as declared; see muniment topics check")
        for topic in dict.fromkeys(topic for topic, _ in turned.ended):
            changes = [
                Change(path=setting, before=actual, after=expected)
                for (name, setting), (expected, actual) in turned.ended.items()
                if name == topic
            ]
            _audit(tx, ENDED, topic, changes, cause, "these settings are as declared again")
    return turned


def _audit(tx: Tx, action: str, topic: str, changes: list[Change], cause: Cause, reason: str) -> None:
    tx.audit(
        action=action,
        resource=f"topics/{topic}",
        operator=OPERATOR,
        authenticated_by="service",
        cause=cause,
        changes=changes,
        reason=reason,
    )
