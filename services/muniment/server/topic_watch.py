"""The topics are held against their declaration at start and every few minutes; what differs is an alarm.

The alarm is three things: the metric `muniment_topic_drift` (settings that differ, by topic; 0 while all is well), an
error in the log that says what, expected, actual and what to do, and, where the audit service runs, an audit entry
for each drift. Nothing is put back by itself: who changed a topic may have had a reason, and a registry that may
alter topics could shorten the audit log's. `/readyz` stays as it is: an instance that leaves because of a topic's
setting mends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from muniment.contracts.errors import Transient

if TYPE_CHECKING:
    from muniment.adapters.kafka import Drift
    from muniment.runtime.metrics import Metrics

log = structlog.get_logger(__name__)

TODO: Final = "kafka-configs.sh --bootstrap-server BROKER --alter --entity-type topics --entity-name {} --add-config {}"


@dataclass(slots=True)
class TopicWatch:
    """Looks at the topics. `tell` keeps and audits what was found; None in a process without the audit service."""

    topics: Sequence[str]
    """Wire names."""
    look: Callable[[], Awaitable[Drift]]
    tell: Callable[[Drift], Awaitable[object]] | None
    metrics: Metrics
    every_s: float
    _last: Drift = field(default_factory=dict)

    async def run(self) -> None:
        """Look for ever. A broker that is away is no drift: the next round looks again."""
        while True:
            try:
                await self.check()
            except Transient as error:
                log.warning("the topics' settings could not be looked at; tried again later", error=str(error))
            await asyncio.sleep(self.every_s)

    async def check(self) -> Drift:
        """One look: the metric, a line for whatever turned, and the audit entries. Raises what `look` raises."""
        drift = await self.look()
        for topic in self.topics:
            self.metrics.topic_drift.labels(topic).set(len(drift.get(topic, {})))
        for topic, wrong in drift.items():
            for setting, (expected, actual) in wrong.items():
                if self._last.get(topic, {}).get(setting) != (expected, actual):
                    log.error(
                        "a topic is not kept as declared",
                        topic=topic,
                        setting=setting,
                        expected=expected,
                        actual=actual,
                        hint=remedy(topic, setting, expected),
                    )
        for topic in self._last.keys() - drift.keys():
            log.info("a topic is kept as declared again", topic=topic)
        if self.tell is not None:
            await self.tell(drift)
        self._last = drift  # only now: what could not be told is told again
        return drift


def remedy(topic: str, setting: str, expected: str) -> str:
    """What to do about one setting."""
    if setting in {"partitions", "replication.factor"}:
        return "stop the services, make the topic anew as declared (muniment topics --json), and start them again"
    return TODO.format(topic, f"{setting}={expected}")
