"""Who hears of what: filters arranged for matching, and the names and bodies of deliveries. Pure.

The filter itself is `contracts.event_filter`, since clients use it too.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from muniment.contracts.cloudevent import CloudEvent, content_event_id
from muniment.contracts.event_filter import (
    FILTER_FIELDS,
    MAX_WISHES,
    TOPICS,
    TYPES,
    Facts,
    Filter,
    facts_of,
    facts_of_json,
    filter_of,
    glob_matches,
    type_name,
)

__all__ = [
    "FILTER_FIELDS",
    "MAX_WISHES",
    "TOPICS",
    "TYPES",
    "Facts",
    "Filter",
    "FilterSet",
    "delivery_id",
    "event_key",
    "facts_of",
    "facts_of_json",
    "filter_of",
    "glob_matches",
    "structured_json",
    "type_name",
]

K = TypeVar("K")

_DELIVERY_NAMESPACE: Final = uuid.UUID("8d1f0a52-7f0e-5b0a-9f43-5a6f2c1d7e90")


@dataclass(slots=True)
class FilterSet(Generic[K]):
    """Every active filter, arranged so that an event meets only those that name its model or use wildcards."""

    _exact: dict[str, list[tuple[K, Filter]]] = field(default_factory=lambda: defaultdict(list))
    _others: list[tuple[K, Filter]] = field(default_factory=list)

    @classmethod
    def of(cls, filters: Iterable[tuple[K, Filter]]) -> FilterSet[K]:
        """The set of these filters, each with whose it is."""
        made = cls()
        for owner, wanted in filters:
            exact = wanted.model is not None and not set(wanted.model) & {"*", "?"}
            (made._exact[wanted.model.lower()] if exact and wanted.model else made._others).append((owner, wanted))
        return made

    def matching(self, facts: Facts) -> Iterator[K]:
        """Those who want the event."""
        named = self._exact.get(facts.model.lower(), ()) if facts.model is not None else ()
        for group in (named, self._others):
            for owner, wanted in group:
                if wanted.matches(facts):
                    yield owner


def event_key(event: CloudEvent) -> uuid.UUID:
    """One event, one key: CloudEvents are the same when `source` and `id` are."""
    return uuid.UUID(content_event_id("feed", event.source, event.id))


def delivery_id(subscription: uuid.UUID, event: uuid.UUID) -> uuid.UUID:
    """The one delivery of an event to a subscription, for ever: it is the `webhook-id` of every attempt."""
    return uuid.uuid5(_DELIVERY_NAMESPACE, f"{subscription}{event}")


def structured_json(event: CloudEvent) -> str:
    """The event in CloudEvents' JSON format (structured mode). Its data is the text that travelled, untouched."""
    attributes: dict[str, str] = {"specversion": "1.0", "id": event.id, "source": event.source, "type": event.type}
    optional = {"time": event.time, "subject": event.subject, "dataschema": event.dataschema}
    attributes |= {name: value for name, value in optional.items() if value is not None}
    attributes |= {"datacontenttype": "application/json", **event.extensions}
    return f'{json.dumps(attributes, ensure_ascii=False)[:-1]}, "data": {event.data.decode()}}}'
