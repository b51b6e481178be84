"""What people are told of an event: one message model, from which every human channel renders its own form. Pure.

Whatever an event holds was written by someone. So every text is cleaned here once (one line, nothing that hides or
turns text, cut), and each channel escapes what its own markup would read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from muniment.contracts.errors import Rejected
from muniment.contracts.topics import BY_TYPE

TITLE_LENGTH: Final = 140
_LABEL_LENGTH: Final = 60
_VALUE_LENGTH: Final = 300
_TEXT_LENGTH: Final = 1500
_MAX_FACTS: Final = 20
_MAX_LISTED: Final = 10
FIELDS: Final = frozenset(
    {"branch", "kind", "metric", "model", "number", "operator", "pointer", "release", "stability", "track", "type"}
)
"""What a title of one's own may name, in braces. A field that an event does not have is left empty."""
_FIELD: Final = re.compile(r"\{([^{}]*)\}")

Data = Mapping[str, Any]
Fact = tuple[str, str]
"""A label and its value."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message for people: clean single-line texts of bounded length, not yet escaped for any markup."""

    title: str
    facts: tuple[Fact, ...] = ()
    text: str | None = None
    """A longer remark: the description, the reason."""
    links: tuple[Fact, ...] = ()
    """Labels and absolute URLs, percent-encoded."""


def notice_of(event: Mapping[str, Any], *, links_to: str | None = None, title: str | None = None) -> Notice:
    """What to tell people of a CloudEvent (its JSON format, as a mapping).

    `links_to` is the installation's address; without one there are no links. `title` is the subscription's own, with
    `{field}` replaced. An event of a type that is not known here is told by its plain fields.
    """
    topic = BY_TYPE.get(str(event.get("type")))
    kind = topic.name if topic else str(event.get("type"))
    data = event.get("data")
    data = data if isinstance(data, Mapping) else {}
    heading, facts, text = _TELL.get(kind, _tell_other)(data, kind)
    if title is not None:
        heading = _filled(title, {**data, "type": kind, "number": _number(data)})
    if (index := event.get("auditindex", data.get("audit_index"))) is not None:
        facts = [*facts, ("Audit entry", index)]
    cleaned = [(clean(label, _LABEL_LENGTH), clean(value, _VALUE_LENGTH)) for label, value in facts]
    shown = [fact for fact in cleaned if fact[1]]
    if len(shown) > _MAX_FACTS:
        shown = [*shown[: _MAX_FACTS - 1], ("More", f"{len(shown) - _MAX_FACTS + 1} further facts")]
    return Notice(
        clean(heading, TITLE_LENGTH) or clean(kind, TITLE_LENGTH) or "an event",
        tuple(shown),
        clean(text, _TEXT_LENGTH) or None,
        tuple(_links(links_to, data, kind, index)) if links_to else (),
    )


def clean(value: object, limit: int) -> str:
    """One line of at most `limit` characters: no controls, nothing invisible or that changes the text's direction."""
    if value is None:
        return ""
    text = (value if isinstance(value, str) else _plain(value))[: limit * 4]
    kept = "".join(_character(character) for character in text)
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def check_title(title: str) -> str:
    """A title with `{field}`s, checked. Raises `Rejected` (`template_invalid`)."""
    unknown = [name for name in _FIELD.findall(title) if name not in FIELDS]
    if unknown or set("{}") & set(_FIELD.sub("", title)) or not clean(title, TITLE_LENGTH):
        raise Rejected(
            "template_invalid",
            "the title is not valid",
            expected="text with " + ", ".join(f"{{{name}}}" for name in sorted(FIELDS)),
            actual=title[:200],
        )
    return title


def _filled(template: str, fields: Data) -> str:
    return _FIELD.sub(lambda found: clean(fields.get(found[1]) if found[1] in FIELDS else "", 100), template)


def _character(character: str) -> str:
    match unicodedata.category(character):
        case "Cc" | "Zl" | "Zp" | "Zs":
            return " "
        case "Cf":  # bidirectional controls, zero-width characters, tags
            return ""
        case "Cs":
            return "�"
        case _:
            return character


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


Told = tuple[str, Sequence[tuple[str, object]], object]
"""A title, facts and a remark, not yet cleaned."""


def _version_available(data: Data, _: str) -> Told:
    facts = [
        *_common(data),
        ("Version", _version(data)),
        ("Branch", data.get("branch")),
        ("Stability", data.get("stability")),
        ("Track", data.get("track")),
        ("Baseline", _version(data.get("baseline"))),
        *_metrics(data),
        ("Committed", data.get("committed_at")),
    ]
    return f"{data.get('model')} {data.get('number')} is available", facts, data.get("description")


def _baseline_changed(data: Data, _: str) -> Told:
    now, before = data.get("current"), data.get("previous")
    facts = [
        *_common(data),
        ("Verb", data.get("verb")),
        ("Baseline", _version(now)),
        ("Before", _version(before)),
        *_gates(data),
        ("Changed", data.get("changed_at")),
    ]
    title = f"{data.get('model')}: the baseline is version {_number({'current': now})} ({data.get('verb')})"
    return title, facts, data.get("reason")


def _baseline_diverged(data: Data, _: str) -> Told:
    recovered = data.get("recovered") is True
    facts = [
        *_common(data),
        ("Metric", data.get("metric")),
        ("Slice", data.get("slice")),
        ("Dataset", data.get("dataset")),
        ("Expected", data.get("expected")),
        ("Actual", data.get("actual")),
        ("Baseline", _version(data.get("baseline"))),
        ("First version", _version(data.get("first_version"))),
        ("Since", data.get("first_at")),
    ]
    happened = "is within the baseline's tolerance again" if recovered else "broke the baseline's tolerance"
    return f"{data.get('model')}: {data.get('metric')} {happened}", facts, None


def _release_published(data: Data, _: str) -> Told:
    facts = [
        *_common(data),
        ("Release", data.get("release")),
        ("From version", _version(data.get("source"))),
        ("Prerelease", data.get("prerelease")),
        ("Track", data.get("track")),
        ("Released", data.get("released_at")),
    ]
    return f"{data.get('model')} {data.get('release')} is released", facts, data.get("notes")


def _model_rejected(data: Data, _: str) -> Told:
    facts = [
        *_common(data),
        ("Stage", data.get("stage")),
        ("Code", data.get("code")),
        ("File", data.get("file")),
        ("Expected", data.get("expected")),
        ("Actual", data.get("actual")),
        ("Publication", data.get("publication_id")),
        ("What to do", data.get("hint")),
    ]
    return f"{data.get('model')}: a publication was rejected", facts, data.get("message")


def _registry_changed(data: Data, _: str) -> Told:
    changes = [change for change in _list(data.get("changes")) if isinstance(change, Mapping)]
    facts = [
        *_common(data),
        ("Version", _version(data)),
        ("Branch", data.get("branch")),
        ("Pointer", data.get("pointer")),
        *((str(change.get("path")), _change(change)) for change in changes[:_MAX_LISTED]),
    ]
    return f"{data.get('model')}: {str(data.get('kind')).replace('-', ' ')}", facts, data.get("reason")


def _digest(data: Data, _: str) -> Told:
    """A line for each event, the newest last: when, and the title that it would have had by itself."""
    events = [event for event in _list(data.get("events")) if isinstance(event, Mapping)]
    shown = events[-(_MAX_FACTS - 1) :]
    facts: list[tuple[str, object]] = [(_minute(event.get("time")), _titled(event)) for event in shown]
    told = sum(1 + _count(event.get("repeated")) for event in shown)
    if (earlier := _count(data.get("count")) - told) > 0:
        facts.insert(0, ("Before these", f"{earlier} event{'' if earlier == 1 else 's'} more"))
    return str(data.get("title")), facts, data.get("message")


def _titled(event: Data) -> str:
    repeated = _count(event.get("repeated"))
    return f"{event.get('title')}" + (f" ({repeated + 1} such events)" if repeated else "")


def _minute(time: object) -> str:
    """`2026-01-02 03:04Z` of a time in RFC 3339, UTC."""
    return f"{time[:10]} {time[11:16]}Z" if isinstance(time, str) and len(time) > 16 else "Event"


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _tell_other(data: Data, kind: str) -> Told:
    plain = [(name, value) for name, value in data.items() if isinstance(value, str | int | float)]
    facts = [(name.replace("_", " ").capitalize(), value) for name, value in plain if name not in {"message", "title"}]
    return str(data.get("title") or kind), facts, data.get("message")


_TELL: Final[Mapping[str, Callable[[Data, str], Told]]] = {
    "version-available": _version_available,
    "baseline-changed": _baseline_changed,
    "baseline-diverged": _baseline_diverged,
    "release-published": _release_published,
    "model-rejected": _model_rejected,
    "registry-changed": _registry_changed,
    "muniment.digest.v1": _digest,
}


def _common(data: Data) -> Iterator[tuple[str, object]]:
    yield "Model", data.get("model")
    yield "Operator", data.get("operator")


def _metrics(data: Data) -> Iterator[tuple[str, object]]:
    """A fact for each metric, with the difference to the baseline where the event holds the baseline's."""
    metrics, baseline = _map(data.get("metrics")), _map(data.get("baseline_metrics"))
    directions = _map(data.get("directions"))
    for name, value in list(metrics.items())[:_MAX_LISTED]:
        then = baseline.get(name)
        both = isinstance(value, int | float) and isinstance(then, int | float)
        better = _judged(value - then, directions.get(name)) if both else ""
        yield str(name), f"{_plain(value)} ({value - then:+.6g} to the baseline{better})" if both else value
    if len(metrics) > _MAX_LISTED:
        yield "Metrics", f"and {len(metrics) - _MAX_LISTED} more"


def _judged(difference: float, direction: object) -> str:
    """`, better` or `, worse` where the event says which way is better."""
    if not difference or direction not in {"higher", "lower"}:
        return ""
    return ", better" if (difference > 0) == (direction == "higher") else ", worse"


def _gates(data: Data) -> Iterator[tuple[str, object]]:
    """What the promotion was measured against: the baseline's tolerances, as they came out."""
    gates = [gate for gate in _list(data.get("gates")) if isinstance(gate, Mapping)]
    for gate in gates[:_MAX_LISTED]:
        came_out = "passed" if gate.get("passed") is True else "not passed"
        expected, actual = gate.get("expected"), gate.get("actual")
        measured = f": {_plain(actual)}" if actual is not None else ""
        yield f"Gate {gate.get('name')}", came_out + measured + (f" (expected {expected})" if expected else "")
    if len(gates) > _MAX_LISTED:
        yield "Gates", f"and {len(gates) - _MAX_LISTED} more"


def _version(value: object) -> str | None:
    """`3 (sha256:0123456789ab)` of anything that has a number and maybe an id."""
    version = _map(value)
    number, full = version.get("number"), version.get("id") or version.get("version")
    if number is None and full is None:
        return None
    short = str(full)[:19] if full else None
    return f"{number} ({short})" if number is not None and short else str(number if number is not None else short)


def _number(data: Data) -> object:
    """The number of the version that an event is about."""
    for version in (data, data.get("current"), data.get("source"), data.get("first_version")):
        if (number := _map(version).get("number")) is not None:
            return number
    return None


def _change(change: Data) -> str:
    before, after = change.get("before"), change.get("after")
    return f"{'nothing' if before is None else _plain(before)} -> {'nothing' if after is None else _plain(after)}"


def _links(base: str, data: Data, kind: str, index: object) -> Iterator[Fact]:
    model, number, publication = data.get("model"), _number(data), data.get("publication_id")
    if not isinstance(model, str) or not model:
        return
    root = f"{base.rstrip('/')}/api/v1"
    name = _quoted(model)
    yield "Model", f"{root}/models/{name}"
    if isinstance(number, int):
        yield "Version", f"{root}/models/{name}/versions/{number}"
    if isinstance(index, int):
        yield "Audit entry", f"{root}/audit/entries/{index}"
    elif isinstance(publication, str) and kind == "version-available":  # there is one, whichever its index
        committed = f"correlation={_quoted(publication)}&action=version.committed"
        yield "Audit entry", f"{root}/audit/entries?{committed}"
    if isinstance(publication, str):
        yield "Audit entries", f"{root}/audit/entries?correlation={_quoted(publication)}"
    else:
        yield "Audit entries", f"{root}/audit/entries?model={name}&order=newest"


def _quoted(text: str) -> str:
    return quote(text[:128], safe="", errors="replace")


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
