"""Every topic, declared once. Creation, routing, AsyncAPI, the README's table and the tests are derived from here.

The wire name is `{prefix}{name}.v{major}`, prefix `muniment.` unless settings say otherwise (`Topic.wire_name`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from muniment.contracts import events, integrity
from muniment.contracts.model import Payload

DAY_MS: Final = 24 * 3600 * 1000
FOREVER: Final = -1


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: what it carries, who writes and reads it, and how long Kafka keeps it.

    `partitions` None means the setting `MUNIMENT_KAFKA__PARTITIONS`. Keys are model names, so one model's events stay
    in order. `audience`: `intake` is written by strangers, `internal` by services for services, `outward` for everyone.
    """

    name: str
    event: type[Payload]
    summary: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    audience: Literal["intake", "internal", "outward"]
    major: int = 1
    partitions: int | None = None
    retention_ms: int = 7 * DAY_MS

    @property
    def type(self) -> str:
        """The CloudEvents `type` of its records, and the wire name under the default prefix."""
        return f"muniment.{self.name}.v{self.major}"

    def wire_name(self, prefix: str) -> str:
        """The name in Kafka."""
        return f"{prefix}{self.name}.v{self.major}"


INGEST, VALIDATOR, REGISTRY, AUDIT, NOTIFIER = "ingest", "checksum-validator", "registry", "audit", "notifier"
SERVICES: Final = (INGEST, VALIDATOR, REGISTRY, AUDIT, NOTIFIER)

TRAINING_COMPLETED: Final = Topic(
    "training-completed",
    events.TrainingCompleted,
    "a training run is done",
    producers=("training pipelines",),
    consumers=(INGEST,),
    audience="intake",
)
DEPLOYMENT_REPORTED: Final = Topic(
    "deployment-reported",
    events.DeploymentReported,
    "a version runs somewhere, or no longer",
    producers=("deployers",),
    consumers=(REGISTRY,),
    audience="intake",
)
MODEL_TRAINED: Final = Topic(
    "model-trained",
    events.ModelTrained,
    "a publication was accepted, its bytes are unread",
    producers=(INGEST,),
    consumers=(VALIDATOR,),
    audience="internal",
)
MODEL_VALIDATED: Final = Topic(
    "model-validated",
    events.ModelValidated,
    "every byte was re-read and matches",
    producers=(VALIDATOR,),
    consumers=(REGISTRY, INGEST),
    audience="internal",
)
MODEL_REJECTED: Final = Topic(
    "model-rejected",
    events.ModelRejected,
    "a publication ended without a version",
    producers=(INGEST, VALIDATOR, REGISTRY),
    consumers=(INGEST, NOTIFIER),
    audience="outward",
)
VALIDATION_PROGRESSED: Final = Topic(
    "validation-progressed",
    events.ValidationProgressed,
    "how far the validator is",
    producers=(VALIDATOR,),
    consumers=(INGEST,),
    audience="internal",
    retention_ms=DAY_MS,
)
VERSION_AVAILABLE: Final = Topic(
    "version-available",
    events.VersionAvailable,
    "a version is committed and locked",
    producers=(REGISTRY,),
    consumers=(INGEST, NOTIFIER, "deployers"),
    audience="outward",
    retention_ms=30 * DAY_MS,
)
BASELINE_CHANGED: Final = Topic(
    "baseline-changed",
    events.BaselineChanged,
    "production's version is another one from now on",
    producers=(REGISTRY,),
    consumers=(NOTIFIER, "deployers"),
    audience="outward",
    retention_ms=30 * DAY_MS,
)
BASELINE_DIVERGED: Final = Topic(
    "baseline-diverged",
    events.BaselineDiverged,
    "a metric broke the baseline's tolerance, or came back",
    producers=(REGISTRY,),
    consumers=(NOTIFIER, "operators"),
    audience="outward",
    retention_ms=30 * DAY_MS,
)
RELEASE_PUBLISHED: Final = Topic(
    "release-published",
    events.ReleasePublished,
    "a version was released",
    producers=(REGISTRY,),
    consumers=(NOTIFIER, "deployers"),
    audience="outward",
    retention_ms=30 * DAY_MS,
)
INTEGRITY_VIOLATED: Final = Topic(
    "integrity-violated",
    integrity.IntegrityViolated,
    "committed bytes are damaged or gone",
    producers=(REGISTRY,),
    consumers=(INGEST, NOTIFIER, "operators"),
    audience="outward",
    retention_ms=30 * DAY_MS,
)
INTEGRITY_RESTORED: Final = Topic(
    "integrity-restored",
    integrity.IntegrityRestored,
    "good bytes are in the place of damaged ones",
    producers=(REGISTRY,),
    consumers=(INGEST, NOTIFIER, "operators"),
    audience="outward",
    retention_ms=30 * DAY_MS,
)
REGISTRY_CHANGED: Final = Topic(
    "registry-changed",
    events.RegistryChanged,
    "anything else in the registry changed",
    producers=(REGISTRY,),
    consumers=(INGEST, NOTIFIER),
    audience="outward",
    retention_ms=30 * DAY_MS,
)
AUDIT_REQUESTED: Final = Topic(
    "audit-requested",
    events.AuditRequested,
    "an operation asks for its audit entry",
    producers=SERVICES,
    consumers=(AUDIT,),
    audience="internal",
    partitions=1,
)
AUDIT_LOG: Final = Topic(
    "audit-log",
    events.AuditLogged,
    "the audit log, in order",
    producers=(AUDIT,),
    consumers=("auditors",),
    audience="outward",
    partitions=1,
    retention_ms=FOREVER,
)

ALL: Final = (
    TRAINING_COMPLETED,
    DEPLOYMENT_REPORTED,
    MODEL_TRAINED,
    MODEL_VALIDATED,
    MODEL_REJECTED,
    VALIDATION_PROGRESSED,
    VERSION_AVAILABLE,
    BASELINE_CHANGED,
    BASELINE_DIVERGED,
    RELEASE_PUBLISHED,
    INTEGRITY_VIOLATED,
    INTEGRITY_RESTORED,
    REGISTRY_CHANGED,
    AUDIT_REQUESTED,
    AUDIT_LOG,
)
OF: Final[dict[type[Payload], Topic]] = {topic.event: topic for topic in ALL}
BY_TYPE: Final[dict[str, Topic]] = {topic.type: topic for topic in ALL}

RETRY_DELAYS_S: Final = {"5s": 5, "1m": 60, "10m": 600}
"""The rising delays of a service's retry topics, by the word in their names."""


def retry_topic(service: str, delay: str) -> Topic:
    """The topic where a service's records wait `delay` for their next attempt; value and headers are the original's."""
    return Topic(
        f"{service}.retry-{delay}",
        Payload,
        f"records of {service} that wait {delay} for their next attempt",
        producers=(service,),
        consumers=(service,),
        audience="internal",
        partitions=1,
    )


def dead_letter_topic(service: str) -> Topic:
    """The topic of records that a service had to set aside (`events.DeadLetter`)."""
    return Topic(
        f"{service}.dead-letter",
        events.DeadLetter,
        f"records that {service} set aside, with the reason",
        producers=(service,),
        consumers=("operators",),
        audience="internal",
        partitions=1,
        retention_ms=30 * DAY_MS,
    )


def owned_by(service: str) -> tuple[Topic, ...]:
    """The retry and dead-letter topics of one service."""
    return (*(retry_topic(service, delay) for delay in RETRY_DELAYS_S), dead_letter_topic(service))


def everything() -> tuple[Topic, ...]:
    """All topics that must exist: the declared ones and every service's own."""
    return ALL + tuple(topic for service in SERVICES for topic in owned_by(service))
