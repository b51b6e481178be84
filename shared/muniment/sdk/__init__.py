"""Talk to a Muniment registry from Python: publish, download, verify, watch.

    from muniment.sdk import Client

    with Client() as registry:
        publication = registry.publish("out/", model="digits", params={"lr": 0.1}, metrics={"accuracy": 0.97})
        print(publication.version.id)
        registry.download("digits@main", "models/digits")

`AsyncClient` is the same for asyncio, `capture` publishes what a training script saved, and `muniment.sdk.event` builds
signed events for pipelines that talk to Kafka themselves. Importing this module loads none of that: each name is
imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muniment.contracts.errors import (
        Conflict,
        Forbidden,
        Misconfigured,
        MunimentError,
        NotFound,
        PreconditionFailed,
        Rejected,
        TooLarge,
        Transient,
        Unauthenticated,
    )
    from muniment.sdk.async_client import AsyncClient
    from muniment.sdk.broker import Broker
    from muniment.sdk.client import Client
    from muniment.sdk.event import deployment_reported, new_publisher_key, training_completed
    from muniment.sdk.events_clients import events_over_kafka
    from muniment.sdk.problems import PublicationRejected
    from muniment.sdk.records import Event, Publication, Version
    from muniment.sdk.run import Run, capture
    from muniment.sdk.transfer.progress import Progress
    from muniment.sdk.verify import Verification, verify_directory

_HOME = {
    "AsyncClient": "muniment.sdk.async_client",
    "Broker": "muniment.sdk.broker",
    "Client": "muniment.sdk.client",
    "Conflict": "muniment.contracts.errors",
    "Event": "muniment.sdk.records",
    "Forbidden": "muniment.contracts.errors",
    "Misconfigured": "muniment.contracts.errors",
    "MunimentError": "muniment.contracts.errors",
    "NotFound": "muniment.contracts.errors",
    "PreconditionFailed": "muniment.contracts.errors",
    "Progress": "muniment.sdk.transfer.progress",
    "Publication": "muniment.sdk.records",
    "PublicationRejected": "muniment.sdk.problems",
    "Rejected": "muniment.contracts.errors",
    "Run": "muniment.sdk.run",
    "TooLarge": "muniment.contracts.errors",
    "Transient": "muniment.contracts.errors",
    "Unauthenticated": "muniment.contracts.errors",
    "Verification": "muniment.sdk.verify",
    "Version": "muniment.sdk.records",
    "capture": "muniment.sdk.run",
    "deployment_reported": "muniment.sdk.event",
    "events_over_kafka": "muniment.sdk.events_clients",
    "new_publisher_key": "muniment.sdk.event",
    "training_completed": "muniment.sdk.event",
    "verify_directory": "muniment.sdk.verify",
}

__all__ = [
    "AsyncClient",
    "Broker",
    "Client",
    "Conflict",
    "Event",
    "Forbidden",
    "Misconfigured",
    "MunimentError",
    "NotFound",
    "PreconditionFailed",
    "Progress",
    "Publication",
    "PublicationRejected",
    "Rejected",
    "Run",
    "TooLarge",
    "Transient",
    "Unauthenticated",
    "Verification",
    "Version",
    "capture",
    "deployment_reported",
    "events_over_kafka",
    "new_publisher_key",
    "training_completed",
    "verify_directory",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
