from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from muniment.contracts import cloudevent, codec, signature, topics
from muniment.contracts.errors import Rejected, Unauthenticated
from muniment.contracts.events import DeploymentReported, TrainingCompleted
from muniment.sdk import deployment_reported, new_publisher_key, training_completed
from muniment.sdk.event import KafkaRecord

FILE = {"path": "m.bin", "sha256": "ab" * 32, "size": 7, "location": "s3://muniment-landing/run-7/m.bin"}


def record(**options: Any) -> KafkaRecord:
    return training_completed("digits", [FILE], source="//trainers.test/digits", run_id="run-7", **options)


def test_ingest_reads_what_was_built() -> None:
    made = record(params={"lr": 0.1}, metrics={"accuracy": 1}, branch="exp/a", tags={"team": "vision"})
    event = cloudevent.decode(made.headers, made.value)
    payload = codec.payload_of(event, topics.TRAINING_COMPLETED)
    assert isinstance(payload, TrainingCompleted)
    assert (payload.model, payload.branch, payload.facts.run_id) == ("digits", "exp/a", "run-7")
    assert payload.facts.metrics == {"accuracy": 1.0}
    assert payload.files[0].location == FILE["location"]
    assert (made.topic, made.key) == ("muniment.training-completed.v1", b"digits")
    assert event.key == "digits"


def test_a_run_that_reports_twice_is_one_event() -> None:
    first = record(time=datetime(2026, 1, 1, tzinfo=UTC))
    second = record(time=datetime(2026, 1, 2, tzinfo=UTC))
    assert first.event_id == second.event_id
    assert record(branch="exp/b").event_id != first.event_id
    assert record(event_id="mine").event_id == "mine"


def test_a_signature_is_of_this_event_and_key() -> None:
    key, other = new_publisher_key(), new_publisher_key()
    made = record(private_key=key.private_pem)
    headers = dict(made.headers)
    found = signature.parse(headers[signature.HEADER])
    event = cloudevent.decode(made.headers, made.value)
    signature.verify(event, found, signature.public_key_of_pem(key.public_pem))
    with pytest.raises(Unauthenticated):
        signature.verify(event, found, signature.public_key_of_pem(other.public_pem))
    changed = cloudevent.decode(made.headers, made.value.replace(b"run-7", b"run-8"))
    with pytest.raises(Unauthenticated):
        signature.verify(changed, found, signature.public_key_of_pem(key.public_pem))


def test_without_a_key_nothing_is_signed() -> None:
    assert signature.HEADER not in dict(record().headers)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sha256": "short"}, "digest_invalid"),
        ({"path": "../up"}, "file_path_invalid"),
        ({"size": -1}, "schema_invalid"),
        ({"mood": "fine"}, "schema_invalid"),
    ],
)
def test_what_would_be_refused_is_not_built(change: dict[str, Any], code: str) -> None:
    with pytest.raises(Rejected) as caught:
        training_completed("digits", [{**FILE, **change}], source="//x.test")
    assert caught.value.code == code


def deployed(ref: str = "digits@1.2.0", **options: Any) -> KafkaRecord:
    fields = {"environment": "production", "deployer": "argo", "state": "running", "source": "//argo.test"}
    return deployment_reported(ref, **{**fields, **options})


def test_the_registry_reads_a_report_that_was_built_and_signed() -> None:
    key = new_publisher_key()
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    made = deployed(at=moment, url="https://run.test", private_key=key.private_pem)
    event = cloudevent.decode(made.headers, made.value)
    payload = codec.payload_of(event, topics.DEPLOYMENT_REPORTED)
    assert isinstance(payload, DeploymentReported)
    assert (payload.model, payload.ref, payload.at) == ("digits", "digits@1.2.0", moment)
    assert (payload.url, payload.details) == ("https://run.test", None)
    assert (made.topic, made.key, event.key) == ("muniment.deployment-reported.v1", b"digits", "digits")
    signature.verify(
        event, signature.parse(dict(made.headers)[signature.HEADER]), signature.public_key_of_pem(key.public_pem)
    )


def test_two_reports_are_two_events_even_where_they_say_the_same_of_two_moments() -> None:
    first, second = (deployed(at=datetime(2026, 1, day, tzinfo=UTC)) for day in (1, 2))
    assert first.event_id != second.event_id
    assert deployed(at=datetime(2026, 1, 1, tzinfo=UTC)).event_id == first.event_id


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ref": "digits@"}, "reference_invalid"),
        ({"state": "asleep"}, "schema_invalid"),
        ({"environment": ""}, "schema_invalid"),
        ({"at": datetime(2026, 1, 1)}, "time_without_zone"),  # reason: what is refused
    ],
)
def test_a_report_that_would_be_refused_is_not_built(change: dict[str, Any], code: str) -> None:
    with pytest.raises(Rejected) as caught:
        deployed(**change)
    assert caught.value.code == code
