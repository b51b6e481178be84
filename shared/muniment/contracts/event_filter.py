"""Which events somebody wants: filters over type, model, branch, stability, track, tags and metrics. Pure.

Subscriptions, the event stream and clients that read the topics themselves mean the same by the same words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from muniment.contracts import topics
from muniment.contracts.conditions import Condition, TagWish, condition, tag_wish
from muniment.contracts.errors import Rejected
from muniment.contracts.events import Stability
from muniment.contracts.model import Payload
from muniment.contracts.topics import BASELINE_CHANGED, RELEASE_PUBLISHED

TOPICS: Final = tuple(t for t in topics.ALL if t.audience == "outward" and topics.NOTIFIER in t.consumers)
"""What can be subscribed to: every outward topic that the notifier consumes."""
TYPES: Final = {topic.name: topic for topic in TOPICS}
FILTER_FIELDS: Final = ("types", "model", "branch", "stability", "track", "tags", "metrics")
MAX_WISHES: Final = 20
"""Tags, and conditions on metrics, of one filter."""

_GLOB: Final = re.compile(r"[A-Za-z0-9._/*?-]{1,128}")
_WORD: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")


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


def facts_of(topic: topics.Topic, data: Payload) -> Facts:
    """What filters see of an event."""
    return _facts(topic.name, {name: getattr(data, name, None) for name in (*_FACTS, "prerelease")})


def facts_of_json(event: Mapping[str, Any]) -> Facts:
    """The same of an event as the feed keeps it: a CloudEvent in structured JSON."""
    topic = topics.BY_TYPE[event["type"]]
    return _facts(topic.name, event["data"])


_FACTS: Final = ("model", "branch", "stability", "track", "tags", "metrics")


def _facts(name: str, data: Mapping[str, Any]) -> Facts:
    model, branch, stability, track, tags, metrics = (data.get(fact) for fact in _FACTS)
    if name == BASELINE_CHANGED.name:  # whoever waits for what is stable waits for these two before all
        stability = "stable"
    elif name == RELEASE_PUBLISHED.name:
        stability = "candidate" if data.get("prerelease") else "stable"
    return Facts(name, model, branch, stability, track, tags or {}, metrics or {})


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    texts = fields.get(name) or ()
    if not isinstance(texts, list | tuple) or not all(isinstance(item, str) for item in texts):
        raise _invalid(f"{name} is a list of texts", "a list of texts", texts)
    if name != "types" and len(texts) > MAX_WISHES:
        raise _invalid(f"there are too many {name}", f"<= {MAX_WISHES}", len(texts))
    return tuple(dict.fromkeys(texts))


def _invalid(what: str, expected: object, actual: object) -> Rejected:
    return Rejected("filter_invalid", f"the filter is not valid: {what}", expected=expected, actual=repr(actual)[:200])
