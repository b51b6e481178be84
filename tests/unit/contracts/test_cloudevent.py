"""The CloudEvents codec against the specification's own SDK, and against hostile headers."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event, to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as SdkEvent
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.cloudevent import CloudEvent, content_event_id, decode, encode, signed_bytes
from muniment.contracts.errors import Rejected

words = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40)
extensions = st.dictionaries(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20).filter(
        lambda name: (
            name
            not in {"id", "source", "type", "time", "subject", "data", "specversion", "dataschema", "datacontenttype"}
            and not name.isdigit()
        )
    ),
    words,
    max_size=5,
)
events = st.builds(
    CloudEvent,
    id=words,
    source=words,
    type=words,
    data=st.dictionaries(words, st.integers(-1000, 1000) | words, max_size=4).map(lambda d: json.dumps(d).encode()),
    time=st.none() | st.datetimes(min_value=datetime(1970, 1, 2), timezones=st.just(UTC)).map(lambda d: d.isoformat()),
    subject=st.none() | words,
    extensions=extensions,
)


@given(events)
def test_what_is_encoded_is_decoded(event: CloudEvent) -> None:
    assert decode(*encode(event)) == event


@given(events)
def test_the_official_sdk_reads_what_we_write(event: CloudEvent) -> None:
    headers, value = encode(event)
    read = from_kafka_event(KafkaMessage(headers=dict(headers), key=None, value=value), JSONFormat())
    assert (read.get_id(), read.get_source(), read.get_type()) == (event.id, event.source, event.type)
    assert read.get_data() == json.loads(event.data)


@pytest.mark.parametrize("structured", [False, True])
def test_we_read_what_the_official_sdk_writes(structured: bool) -> None:
    attributes = {
        "id": "e-1",
        "source": "//trainers.example/a b",
        "type": "t",
        "specversion": "1.0",
        "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "datacontenttype": "application/json",
        "partitionkey": "digits",
    }
    sdk = SdkEvent(attributes=attributes, data={"model": "digits", "ü": 1})
    message = (to_structured_event if structured else to_binary_event)(sdk, JSONFormat())
    event = decode(list(message.headers.items()), message.value)
    assert (event.id, event.source, event.type, event.key) == ("e-1", "//trainers.example/a b", "t", "digits")
    assert json.loads(event.data) == {"model": "digits", "ü": 1}


@given(
    st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=40)), max_size=12),
    st.none() | st.binary(max_size=100),
)
def test_any_record_is_an_event_or_refused(headers: list[tuple[str, bytes | None]], value: bytes | None) -> None:
    try:
        decode(headers, value)
    except Rejected as error:
        assert error.code


def with_header(name: str, value: bytes | None) -> list[tuple[str, bytes | None]]:
    headers, _ = encode(CloudEvent("i", "s", "t", b"{}"))
    return [*((n, v) for n, v in headers if n != name), (name, value)]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("ce_specversion", b"0.3", "event_specversion"),
        ("ce_specversion", b"1.1", "event_specversion"),
        ("ce_id", b"", "event_attribute_missing"),
        ("ce_id", None, "event_attribute_invalid"),
        ("ce_id", b" i", "event_attribute_invalid"),
        ("ce_id", b"i\x00", "event_attribute_invalid"),
        ("ce_id", b"\xff", "event_attribute_invalid"),
        ("ce_id", b"x" * 1025, "event_attribute_invalid"),
        ("ce_time", b"yesterday", "event_attribute_invalid"),
        ("ce_time", b"2026-01-01 10:00:00", "event_attribute_invalid"),
        ("ce_time", b"0001-01-01T00:00:00+23:59", "event_attribute_invalid"),
        ("ce_Bad-Name", b"x", "event_attribute_invalid"),
        ("content-type", b"text/plain", "event_content_type"),
        ("content-type", b"application/cloudevents+json", "event_mode_ambiguous"),
    ],
)
def test_a_wrong_attribute_has_its_code(name: str, value: bytes | None, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        decode(with_header(name, value), b"{}")
    assert caught.value.code == code


def test_an_attribute_given_twice_is_refused() -> None:
    headers, _ = encode(CloudEvent("i", "s", "t", b"{}"))
    with pytest.raises(Rejected) as caught:
        decode([*headers, ("CE_ID", b"other")], b"{}")
    assert caught.value.code == "event_attribute_invalid"


@given(events)
def test_the_signed_text_does_not_depend_on_the_mode_or_the_trace(event: CloudEvent) -> None:
    traced = CloudEvent(**{**_fields(event), "extensions": {**event.extensions, "traceparent": "00-1-2-3"}})
    assert signed_bytes(traced) == signed_bytes(event)
    changed = CloudEvent(**{**_fields(event), "data": b'{"other":1}'})
    assert signed_bytes(changed) != signed_bytes(event)


def test_content_ids_do_not_collide_by_shifting_text_between_parts() -> None:
    assert content_event_id("t", "ab", "c") != content_event_id("t", "a", "bc")
    assert content_event_id("t", "a") == content_event_id("t", "a")


def _fields(event: CloudEvent) -> dict[str, object]:
    return {
        name: getattr(event, name)
        for name in ("id", "source", "type", "data", "time", "subject", "dataschema", "extensions")
    }
