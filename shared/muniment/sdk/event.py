"""Events for pipelines and deployers that write to Kafka themselves, with whatever client library they have.

record = training_completed(
    "digits",
    [{"path": "model.safetensors", "sha256": "9f86...", "size": 1048576,
      "location": "s3://muniment-landing/run-7/model.safetensors"}],
    source="//trainers.example/digits",
    run_id="run-7",
    private_key=Path("publisher.pem").read_bytes(),
)
producer.send(record.topic, key=record.key, value=record.value, headers=record.headers)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from muniment.contracts import topics
from muniment.contracts.canonical import canonical_json
from muniment.contracts.cloudevent import CloudEvent, content_event_id, encode
from muniment.contracts.codec import parse
from muniment.contracts.events import DeploymentReported, TrainingCompleted
from muniment.contracts.model import rfc3339
from muniment.contracts.reference import parse_reference
from muniment.sdk.facts import event_fields


class KafkaRecord(NamedTuple):
    """What to hand to a Kafka producer."""

    topic: str
    key: bytes
    headers: list[tuple[str, bytes]]
    value: bytes
    event_id: str


def training_completed(
    model: str,
    files: Iterable[Mapping[str, Any]],
    *,
    source: str,
    event_id: str | None = None,
    private_key: bytes | None = None,
    time: datetime | None = None,
    topic_prefix: str = "muniment.",
    **options: Any,
) -> KafkaRecord:
    """A training-completed event as a Kafka record, signed where a private key (Ed25519, PEM) is given.

    `files` have `path`, `sha256`, `size`, and `location` (`s3://BUCKET/KEY` in a landing bucket) unless the registry
    holds their bytes already. `source` names the pipeline (a URI reference). The event id is derived from the content
    unless given, so that a run that reports twice starts one publication. `options` are those of `Client.publish` that
    describe the run (`params`, `metrics`, `branch`, ...). Raises `Rejected` where the event would be refused.
    """
    fields = {**event_fields(model, **options), "files": [dict(file) for file in files]}
    payload = parse(TrainingCompleted, fields).model_dump(mode="json", exclude_unset=True)
    return _record(
        topics.TRAINING_COMPLETED,
        model,
        payload,
        source=source,
        event_id=event_id,
        private_key=private_key,
        time=time,
        topic_prefix=topic_prefix,
    )


def deployment_reported(
    ref: str,
    *,
    environment: str,
    deployer: str,
    state: str,
    source: str,
    at: datetime | None = None,
    url: str | None = None,
    details: str | None = None,
    event_id: str | None = None,
    private_key: bytes | None = None,
    topic_prefix: str = "muniment.",
) -> KafkaRecord:
    """A deployment-reported event as a Kafka record, signed where a private key (Ed25519, PEM) is given.

    The same report as `Client.report_deployment` makes: `state` is started, running, failed or stopped, since `at`
    (now unless given). `source` names the deployer's system (a URI reference). The event id is derived from the content
    unless given; send one record again as often as it takes, since a repetition changes nothing. Raises `Rejected`
    where the event would be refused whatever the registry holds.
    """
    wanted = parse_reference(ref)
    moment = at or datetime.now(UTC)
    given = {"url": url, "details": details}
    fields = {
        "model": wanted.model,
        "ref": str(wanted),
        "environment": environment,
        "deployer": deployer,
        "state": state,
        "at": moment,
        **{name: value for name, value in given.items() if value is not None},
    }
    return _record(
        topics.DEPLOYMENT_REPORTED,
        wanted.model,
        parse(DeploymentReported, fields).model_dump(mode="json", exclude_unset=True),
        source=source,
        event_id=event_id,
        private_key=private_key,
        time=moment,
        topic_prefix=topic_prefix,
    )


def _record(
    topic: topics.Topic,
    model: str,
    payload: Mapping[str, Any],
    *,
    source: str,
    event_id: str | None,
    private_key: bytes | None,
    time: datetime | None,
    topic_prefix: str,
) -> KafkaRecord:
    data = canonical_json(payload)
    event = CloudEvent(
        id=event_id or content_event_id(topic.type, source, data.decode()),
        source=source,
        type=topic.type,
        data=data,
        time=rfc3339(time or datetime.now(UTC)),
        subject=f"models/{model}",
        extensions={"partitionkey": model},
    )
    headers, value = encode(event)
    if private_key is not None:
        from muniment.contracts.signature import HEADER, sign

        headers.append((HEADER, sign(event, private_key)))
    return KafkaRecord(topic.wire_name(topic_prefix), model.encode(), headers, value, event.id)


class PublisherKey(NamedTuple):
    """An Ed25519 key pair in PEM (PKCS #8 and SubjectPublicKeyInfo). Keep the private half where only you read it."""

    private_pem: bytes
    public_pem: bytes


def new_publisher_key() -> PublisherKey:
    """A fresh key for signing events; register its public half with `muniment token key create`."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    return PublisherKey(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    )
