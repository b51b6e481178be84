"""Who hears of what: filters, matching, and the names and bodies of deliveries. Pure."""

from __future__ import annotations

import json
import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar, get_args

from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent, content_event_id
from muniment.contracts.errors import Rejected
from muniment.contracts.events import Stability
from muniment.contracts.model import Payload
from muniment.notifier.conditions import Condition, TagWish, condition, tag_wish

K = TypeVar("K")

TOPICS: Final = tuple(t for t in topics.ALL if t.audience == "outward" and topics.NOTIFIER in t.consumers)
"""What the service consumes: every outward topic that names it."""
TYPES: Final = {topic.name: topic for topic in TOPICS}
FILTER_FIELDS: Final = ("types", "model", "branch", "stability", "track", "tags", "metrics")
MAX_WISHES: Final = 20
"""Tags, and conditions on metrics, of one filter."""

_GLOB: Final = re.compile(r"[A-Za-z0-9._/*?-]{1,128}")
_WORD: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
_DELIVERY_NAMESPACE: Final = uuid.UUID("8d1f0a52-7f0e-5b0a-9f43-5a6f2c1d7e90")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a filter can look at. A fact that an event does not have is None, or empty."""

    type: str
    """The topic's name, e.g. `version-available`."""
    model: str | None
    branch: str | None = None
    stability: str | None = None
    track: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


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
    tags: tuple[TagWish, ...] = ()
    """All of them must be there."""
    metrics: tuple[Condition, ...] = ()
    """All of them must hold."""

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
            and all(wish.met_by(facts.tags) for wish in self.tags)
            and all(wish.met_by(facts.metrics) for wish in self.metrics)
        )

    def fields(self) -> dict[str, Any]:
        """As JSON, without what is not given. `filter_of` reads it back."""
        fields: dict[str, Any] = {"types": sorted(self.types)} if self.types else {}
        for name in ("model", "branch", "stability", "track"):
            if (value := getattr(self, name)) is not None:
                fields[name] = value
        for name in ("tags", "metrics"):
            if wishes := getattr(self, name):
                fields[name] = [str(wish) for wish in wishes]
        return fields


def filter_of(fields: Mapping[str, Any]) -> Filter:
    """The filter that JSON fields describe, checked. Raises `Rejected` (`filter_invalid`)."""
    if not isinstance(fields, Mapping):
        raise _invalid("it is no object", "an object", fields)
    if unknown := set(fields) - set(FILTER_FIELDS):
        raise _invalid("an unknown field", ", ".join(FILTER_FIELDS), sorted(unknown))
    types, tags, metrics = (_texts(fields, name) for name in ("types", "tags", "metrics"))
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
        frozenset(type_name(item) for item in types),
        fields.get("model"),
        fields.get("branch"),
        stability,
        track,
        tuple(tag_wish(item) for item in tags),
        tuple(condition(item) for item in metrics),
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


def facts_of(topic: topics.Topic, data: Payload) -> Facts:
    """What filters see of an event."""
    return _facts(topic.name, {name: getattr(data, name, None) for name in _FACTS})


def facts_of_json(event: Mapping[str, Any]) -> Facts:
    """The same of an event as the feed keeps it: a CloudEvent in structured JSON."""
    topic = topics.BY_TYPE[event["type"]]
    return _facts(topic.name, event["data"])


_FACTS: Final = ("model", "branch", "stability", "track", "tags", "metrics")


def _facts(name: str, data: Mapping[str, Any]) -> Facts:
    model, branch, stability, track, tags, metrics = (data.get(fact) for fact in _FACTS)
    return Facts(name, model, branch, stability, track, tags or {}, metrics or {})


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


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    texts = fields.get(name) or ()
    if not isinstance(texts, list | tuple) or not all(isinstance(item, str) for item in texts):
        raise _invalid(f"{name} is a list of texts", "a list of texts", texts)
    if name != "types" and len(texts) > MAX_WISHES:
        raise _invalid(f"there are too many {name}", f"<= {MAX_WISHES}", len(texts))
    return tuple(dict.fromkeys(texts))


def _invalid(what: str, expected: object, actual: object) -> Rejected:
    return Rejected("filter_invalid", f"the filter is not valid: {what}", expected=expected, actual=repr(actual)[:200])
