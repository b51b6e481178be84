"""Events in the webhook format of MLflow 3, for receivers that were written for it. Pure.

A body is `{entity, action, timestamp, data}`. `X-MLflow-Signature` is `v1,` and the base64 HMAC-SHA256 over
`id.timestamp.body`, keyed with the secret's text as it stands, prefix and all, since MLflow takes a secret for text.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from muniment.contracts import topics
from muniment.notifier.channels import TEST_TYPE

_TAG: Final = "tags/"


def mlflow_bodies(event: Mapping[str, Any]) -> list[str]:
    """What MLflow would have told of the event (a CloudEvent's JSON form); nothing where it has no such event.

    A changed version gives one body for each changed tag, since MLflow tells of tags one by one. The timestamp is the
    event's, so that every attempt of a delivery has the same bodies.
    """
    data = event.get("data")
    told = _told(str(event.get("type")), data) if isinstance(data, Mapping) else ()
    return [
        json.dumps(
            {"entity": entity, "action": action, "timestamp": event.get("time"), "data": fields}, ensure_ascii=False
        )
        for entity, action, fields in told
    ]


def mlflow_headers(delivery: str, at: datetime, body: str, secret: str) -> dict[str, str]:
    """MLflow's three headers."""
    timestamp = str(int(at.timestamp()))
    digest = hmac.digest(secret.encode(), f"{delivery}.{timestamp}.{body}".encode(), "sha256")
    return {
        "x-mlflow-delivery-id": delivery,
        "x-mlflow-timestamp": timestamp,
        "x-mlflow-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


Told = tuple[str, str, dict[str, Any]]


def _told(kind: str, data: Mapping[str, Any]) -> Iterator[Told]:
    name = data.get("model")
    match topics.BY_TYPE.get(kind):
        case None if kind == TEST_TYPE:  # as MLflow's own test does: an example
            yield _created("muniment-subscription-test", "1", {"test": "true"}, data.get("message"))
        case topics.VERSION_AVAILABLE:
            yield _created(name, str(data.get("number")), data.get("tags", {}), data.get("description"))
        case topics.BASELINE_CHANGED:
            yield _alias(name, "baseline", data["current"]["number"])
        case topics.RELEASE_PUBLISHED:
            yield _alias(name, data.get("release"), data["source"]["number"])
        case topics.REGISTRY_CHANGED:
            yield from _registry_changed(name, data)


def _registry_changed(name: Any, data: Mapping[str, Any]) -> Iterator[Told]:
    match data.get("kind"):
        case "model-created":
            yield "registered_model", "created", {"name": name, "tags": {}, "description": None}
        case "pointer-moved":
            yield _alias(name, data.get("pointer"), data.get("number"))
        case "pointer-deleted":
            yield "model_version_alias", "deleted", {"name": name, "alias": data.get("pointer")}
        case "version-changed":
            version = str(data.get("number"))
            for key, value in _tags(data.get("changes", ())):
                of = {"name": name, "version": version, "key": key}
                if value is None:
                    yield "model_version_tag", "deleted", of
                else:
                    yield "model_version_tag", "set", {**of, "value": value}


def _tags(changes: Any) -> Iterator[tuple[str, str | None]]:
    """Each changed tag and its value now, None for one that was taken away."""
    for change in changes:
        path, before, after = change["path"], change.get("before"), change.get("after")
        if path.startswith(_TAG):
            yield path.removeprefix(_TAG), after
        elif path == "tags":  # so many that they came as a whole
            before, after = before or {}, after or {}
            for key in dict.fromkeys((*before, *after)):
                if before.get(key) != after.get(key):
                    yield key, after.get(key)


def _created(name: Any, version: str, tags: Any, description: Any) -> Told:
    return (
        "model_version",
        "created",
        {
            "name": name,
            "version": version,
            "source": f"models:/{name}/{version}",
            "run_id": None,
            "tags": tags,
            "description": description,
        },
    )


def _alias(name: Any, alias: Any, number: Any) -> Told:
    return "model_version_alias", "created", {"name": name, "alias": alias, "version": str(number)}
