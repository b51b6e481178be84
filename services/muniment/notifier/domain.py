"""Who hears of what: filters, matching, and the names and bodies of deliveries. Pure."""

from __future__ import annotations

import json
import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent, content_event_id
from muniment.contracts.errors import Rejected
from muniment.contracts.events import Stability
from muniment.contracts.model import Payload

TOPICS: Final = tuple(t for t in topics.ALL if t.audience == "outward" and topics.NOTIFIER in t.consumers)
"""What the service consumes: every outward topic that names it."""
TYPES: Final = {topic.name: topic for topic in TOPICS}

_GLOB: Final = re.compile(r"[A-Za-z0-9._/*?-]{1,128}")
_WORD: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
_DELIVERY_NAMESPACE: Final = uuid.UUID("8d1f0a52-7f0e-5b0a-9f43-5a6f2c1d7e90")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a filter can look at. An event that has no branch, stability or track has None there."""

    type: str
    """The topic's name, e.g. `version-available`."""
    model: str | None
    branch: str | None = None
    stability: str | None = None
    track: str | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """A subscription's wishes; each one that is given must be met, and an event without that fact does not meet it."""

    types: frozenset[str] = frozenset()
    """Topic names; empty means all."""
    model: str | None = None
    """A glob (`*`, `?`), without regard to case."""
    branch: str | None = None
    """A glob; `*` also crosses `/`."""
    stability: str | None = None
    track: str | None = None

    def matches(self, facts: Facts) -> bool:
        """Whether the event is wanted."""
        return (
            (not self.types or facts.type in self.types)
            and (self.stability is None or self.stability == facts.stability)
            and (self.track is None or self.track == facts.track)
            and (self.branch is None or (facts.branch is not None and glob_matches(self.branch, facts.branch)))
            and (
                self.model is None
                or (facts.model is not None and glob_matches(self.model.lower(), facts.model.lower()))
            )
        )

    def fields(self) -> dict[str, Any]:
        """As JSON, without what is not given. `filter_of` reads it back."""
        fields: dict[str, Any] = {"types": sorted(self.types)} if self.types else {}
        for name in ("model", "branch", "stability", "track"):
            if (value := getattr(self, name)) is not None:
                fields[name] = value
        return fields


def filter_of(fields: Mapping[str, Any]) -> Filter:
    """The filter that JSON fields describe, checked. Raises `Rejected` (`filter_invalid`)."""
    if unknown := set(fields) - {"types", "model", "branch", "stability", "track"}:
        raise _invalid("an unknown field", "types, model, branch, stability, track", sorted(unknown))
    types = fields.get("types") or ()
    if not isinstance(types, list | tuple) or not all(isinstance(item, str) for item in types):
        raise _invalid("types is a list of texts", sorted(TYPES), types)
    for name in ("model", "branch"):
        pattern = fields.get(name)
        if pattern is not None and not (isinstance(pattern, str) and _GLOB.fullmatch(pattern)):
            raise _invalid(f"{name} is no pattern", "1 to 128 of [A-Za-z0-9._/-], with * and ? as wildcards", pattern)
    stability = fields.get("stability")
    if stability is not None and stability not in get_args(Stability):
        raise _invalid("stability is not known", ", ".join(get_args(Stability)), stability)
    track = fields.get("track")
    if track is not None and not (isinstance(track, str) and _WORD.fullmatch(track)):
        raise _invalid("track is no name", "1 to 256 printable characters", track)
    return Filter(
        frozenset(type_name(item) for item in types), fields.get("model"), fields.get("branch"), stability, track
    )


def type_name(text: str) -> str:
    """`version-available` or `muniment.version-available.v1` as the topic's name. Raises `Rejected`."""
    for name, topic in TYPES.items():
        if text in (name, topic.type):
            return name
    raise _invalid("the event type is not known", ", ".join(TYPES), text)


def glob_matches(pattern: str, text: str) -> bool:
    """Whether `pattern` (`*` any run, `?` one character, nothing else special) covers the whole text.

    At most len(pattern) * len(text) steps: only the last `*` is ever gone back to.
    """
    at, star, resume = 0, -1, 0
    position = 0
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[position]):
            at += 1
            position += 1
        elif star >= 0:
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return all(character == "*" for character in pattern[at:])


@dataclass(slots=True)
class FilterSet:
    """Every active filter, arranged so that an event meets only those that name its model or use wildcards."""

    _exact: dict[str, list[tuple[uuid.UUID, Filter]]] = field(default_factory=lambda: defaultdict(list))
    _others: list[tuple[uuid.UUID, Filter]] = field(default_factory=list)

    @classmethod
    def of(cls, filters: Iterable[tuple[uuid.UUID, Filter]]) -> FilterSet:
        """The set of these subscriptions' filters."""
        made = cls()
        for subscription, wanted in filters:
            exact = wanted.model is not None and not set(wanted.model) & {"*", "?"}
            (made._exact[wanted.model.lower()] if exact and wanted.model else made._others).append(
                (subscription, wanted)
            )
        return made

    def matching(self, facts: Facts) -> Iterator[uuid.UUID]:
        """The subscriptions that want the event."""
        named = self._exact.get(facts.model.lower(), ()) if facts.model is not None else ()
        for group in (named, self._others):
            for subscription, wanted in group:
                if wanted.matches(facts):
                    yield subscription


def facts_of(topic: topics.Topic, data: Payload) -> Facts:
    """What filters see of an event."""
    return Facts(
        topic.name,
        getattr(data, "model", None),
        getattr(data, "branch", None),
        getattr(data, "stability", None),
        getattr(data, "track", None),
    )


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


def _invalid(what: str, expected: object, actual: object) -> Rejected:
    return Rejected("filter_invalid", f"the filter is not valid: {what}", expected=expected, actual=repr(actual)[:200])
