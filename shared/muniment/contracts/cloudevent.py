"""CloudEvents 1.0 and its Kafka binding: binary mode out, binary and structured mode in.

Spec: CloudEvents 1.0.2 and "Kafka Protocol Binding for CloudEvents" 1.0.2. The codec takes raw bytes on both sides,
since a client library that decodes a stranger's headers first loses records it cannot decode.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from muniment.contracts import strict_json
from muniment.contracts.canonical import canonical_json
from muniment.contracts.errors import Rejected, TooLarge

Headers = Sequence[tuple[str, bytes | None]]

_ATTRIBUTES: Final = {"id", "source", "type", "specversion", "time", "subject", "datacontenttype", "dataschema"}
_MAX_ATTRIBUTE: Final = 1024
_MAX_EXTENSIONS: Final = 32
_EVENT_NAMESPACE: Final = uuid.UUID("5a8c0f6e-0f6b-5c0e-8b0e-6a3d2f9b7c44")
_STRUCTURED: Final = "application/cloudevents"


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event: its attributes, and its data as the bytes that travelled (JSON text)."""

    id: str
    source: str
    type: str
    data: bytes
    time: str | None = None
    subject: str | None = None
    dataschema: str | None = None
    extensions: dict[str, str] = field(default_factory=dict)

    @property
    def correlation_id(self) -> str | None:
        """The flow it belongs to: the publication id."""
        return self.extensions.get("correlationid")

    @property
    def key(self) -> str | None:
        """The Kafka key: the model's name."""
        return self.extensions.get("partitionkey")


def content_event_id(event_type: str, *parts: str) -> str:
    """The id of an event from what it says: the same type and parts, the same id (a UUID, version 5)."""
    text = "".join(f"{len(part)}:{part}" for part in (event_type, *parts))
    # What `uuid.uuid5` does, without an object between that costs more than the digest: every event has one.
    digest = bytearray(hashlib.sha1(_EVENT_NAMESPACE.bytes + text.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    spelled = digest.hex()
    return f"{spelled[:8]}-{spelled[8:12]}-{spelled[12:16]}-{spelled[16:20]}-{spelled[20:]}"


def encode(event: CloudEvent) -> tuple[list[tuple[str, bytes]], bytes]:
    """The event as Kafka headers and value, in binary mode."""
    headers = [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_id", event.id.encode()),
        ("ce_source", event.source.encode()),
        ("ce_type", event.type.encode()),
    ]
    for name, value in (("time", event.time), ("subject", event.subject), ("dataschema", event.dataschema)):
        if value is not None:
            headers.append((f"ce_{name}", value.encode()))
    headers.extend((f"ce_{name}", value.encode()) for name, value in event.extensions.items())
    return headers, event.data


def decode(headers: Headers, value: bytes | None, *, max_bytes: int = strict_json.MAX_BYTES) -> CloudEvent:
    """The event that a Kafka record carries, in either mode.

    Headers that are no CloudEvents attribute are not looked at, whatever they hold. Raises `Rejected` with code
    `event_tombstone`, `event_attribute_missing`, `event_attribute_invalid`, `event_specversion`,
    `event_content_type`, `event_mode_ambiguous`, or what `strict_json.loads` raises; `TooLarge` (`event_too_large`).
    """
    if value is None:
        raise Rejected("event_tombstone", "the record has no value", expected="a CloudEvent", actual="null")
    if len(value) > max_bytes:
        raise TooLarge(
            "event_too_large", "the event is too large", expected=f"<= {max_bytes} B", actual=f"{len(value)} B"
        )
    attributes, content_type = _read_headers(headers)
    if content_type.lower().startswith(_STRUCTURED):
        if "specversion" in attributes:
            raise Rejected("event_mode_ambiguous", "the record is structured and binary at once")
        return _structured(content_type, value, max_bytes)
    return _event(attributes, content_type, value)


def _read_headers(headers: Headers) -> tuple[dict[str, str], str]:
    attributes: dict[str, str] = {}
    content_type = ""
    for name, raw in headers:
        lower = name.lower()
        if not lower.startswith("ce_") and lower != "content-type":
            continue
        if raw is None:
            raise _invalid(lower, "the header has no value")
        if len(raw) > _MAX_ATTRIBUTE:
            raise _invalid(lower, f"the header has {len(raw)} bytes, at most {_MAX_ATTRIBUTE} are allowed")
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _invalid(lower, "the header is not UTF-8") from error
        if lower == "content-type":
            content_type = text.strip()
        elif (attribute := lower[3:]) in attributes:
            raise _invalid(lower, "the header appears twice")
        else:
            attributes[attribute] = text
    return attributes, content_type


def _structured(content_type: str, value: bytes, max_bytes: int) -> CloudEvent:
    media = content_type.split(";", 1)[0].strip().lower()
    if media not in {_STRUCTURED, f"{_STRUCTURED}+json"}:
        raise Rejected(
            "event_content_type",
            "only the JSON format is taken",
            expected="application/cloudevents+json",
            actual=content_type,
        )
    fields = strict_json.loads(value, max_bytes=max_bytes)
    if not isinstance(fields, dict):
        raise Rejected("event_malformed", "a structured event is a JSON object", actual=type(fields).__name__)
    if "data" not in fields:
        raise Rejected("event_attribute_missing", "the event has no JSON data", expected="data", actual=sorted(fields))
    data = canonical_json(fields.pop("data"))
    attributes: dict[str, str] = {}
    for name, item in fields.items():
        if item is None:
            continue
        if not isinstance(item, str | int | bool):
            raise _invalid(name, "an attribute is a string, a number or a boolean")
        attributes[name] = str(item).lower() if isinstance(item, bool) else str(item)
    return _event(attributes, attributes.get("datacontenttype", "application/json"), data)


def _event(attributes: dict[str, str], content_type: str, data: bytes) -> CloudEvent:
    version = attributes.get("specversion")
    if version is None:
        raise Rejected(
            "event_attribute_missing",
            "the record is no CloudEvent: specversion is missing",
            expected="ce_specversion, ce_id, ce_source, ce_type",
            actual=sorted(attributes),
        )
    if version != "1.0":
        raise Rejected("event_specversion", "the CloudEvents version is not known", expected="1.0", actual=version)
    for name in ("id", "source", "type"):
        if not attributes.get(name):
            raise Rejected(
                "event_attribute_missing", f"{name} is missing", expected=f"ce_{name}", actual=sorted(attributes)
            )
    media = attributes.get("datacontenttype", content_type).split(";", 1)[0].strip().lower()
    if media and media != "application/json":
        raise Rejected("event_content_type", "the data is not JSON", expected="application/json", actual=media)
    for name, text in attributes.items():
        _check_attribute(name, text)
    if (moment := attributes.get("time")) is not None:
        check_time(moment)
    extensions = {name: text for name, text in attributes.items() if name not in _ATTRIBUTES}
    if len(extensions) > _MAX_EXTENSIONS:
        raise _invalid("extensions", f"{len(extensions)} extensions, at most {_MAX_EXTENSIONS} are allowed")
    return CloudEvent(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        data=data,
        time=moment,
        subject=attributes.get("subject"),
        dataschema=attributes.get("dataschema"),
        extensions=extensions,
    )


def _check_attribute(name: str, text: str) -> None:
    if not (name.isascii() and name.isalnum()) or name != name.lower() or len(name) > 40:
        raise _invalid(name[:40], "an attribute's name has lower-case letters and digits only")
    if name == "data":
        raise _invalid(name, "no attribute may have the name of the data")
    if len(text) > _MAX_ATTRIBUTE:
        raise _invalid(name, f"the value has {len(text)} characters, at most {_MAX_ATTRIBUTE} are allowed")
    if text != text.strip():
        raise _invalid(name, "the value begins or ends with a space: two ids that look alike would differ")
    if not text.isprintable():
        raise _invalid(name, "the value holds a control or other unprintable character")


def check_time(text: str) -> datetime:
    """An RFC 3339 time as a moment in UTC. Raises `Rejected` (`event_attribute_invalid`)."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _invalid("time", "the time is not RFC 3339") from error
    if moment.tzinfo is None or "T" not in text.upper():
        raise _invalid("time", "the time has no zone, or no T between date and time")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise _invalid("time", "the time is outside the calendar") from error


def signed_bytes(event: CloudEvent) -> bytes:
    """What a publisher key signs: a domain word, then the RFC 8785 text of the event's attributes and data.

    The trace context is left out, since brokers and proxies may rewrite it. Raises what `strict_json.loads` raises.
    """
    extensions = {k: v for k, v in event.extensions.items() if k not in {"traceparent", "tracestate"}}
    members: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        **extensions,
        "data": strict_json.loads(event.data),
    }
    members.update(
        (name, value)
        for name, value in (("time", event.time), ("subject", event.subject), ("dataschema", event.dataschema))
        if value is not None
    )
    return b"muniment-event-signature-v1\n" + canonical_json(members)


def _invalid(name: str, why: str) -> Rejected:
    return Rejected("event_attribute_invalid", f"{name}: {why}", expected="a CloudEvents 1.0 attribute")
