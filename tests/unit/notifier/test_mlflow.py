"""MLflow's webhook format: which events it has, and signatures as its receivers compute them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from muniment.notifier.channels.mlflow import mlflow_bodies, mlflow_headers

from .events import available, event

VERSION = {"number": 4, "id": "sha256:" + "a" * 64}


def told(of: dict[str, Any]) -> list[tuple[str, Any]]:
    bodies = [json.loads(body) for body in mlflow_bodies(of)]
    assert all(list(body) == ["entity", "action", "timestamp", "data"] for body in bodies)
    assert all(body["timestamp"] == of["time"] for body in bodies)
    return [(f"{body['entity']}.{body['action']}", body["data"]) for body in bodies]


def test_a_version() -> None:
    assert told(available(tags={"team": "vision"}, description="größe")) == [
        (
            "model_version.created",
            {
                "name": "digits",
                "version": "3",
                "source": "models:/digits/3",
                "run_id": None,
                "tags": {"team": "vision"},
                "description": "größe",
            },
        )
    ]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        (
            "registry-changed",
            {"kind": "model-created"},
            [("registered_model.created", {"name": "digits", "tags": {}, "description": None})],
        ),
        (
            "registry-changed",
            {"kind": "pointer-moved", "pointer": "champion", "number": 3},
            [("model_version_alias.created", {"name": "digits", "alias": "champion", "version": "3"})],
        ),
        (
            "registry-changed",
            {"kind": "pointer-deleted", "pointer": "champion"},
            [("model_version_alias.deleted", {"name": "digits", "alias": "champion"})],
        ),
        (
            "registry-changed",
            {
                "kind": "version-changed",
                "number": 3,
                "changes": [
                    {"path": "description", "before": "a", "after": "b"},
                    {"path": "tags/team/eu", "after": "vision"},
                    {"path": "tags/old", "before": "x", "after": None},
                ],
            },
            [
                ("model_version_tag.set", {"name": "digits", "version": "3", "key": "team/eu", "value": "vision"}),
                ("model_version_tag.deleted", {"name": "digits", "version": "3", "key": "old"}),
            ],
        ),
        (
            "registry-changed",
            {
                "kind": "version-changed",
                "number": 3,
                "changes": [{"path": "tags", "before": {"a": "1", "b": "2"}, "after": {"b": "3", "c": "4"}}],
            },
            [
                ("model_version_tag.deleted", {"name": "digits", "version": "3", "key": "a"}),
                ("model_version_tag.set", {"name": "digits", "version": "3", "key": "b", "value": "3"}),
                ("model_version_tag.set", {"name": "digits", "version": "3", "key": "c", "value": "4"}),
            ],
        ),
        (
            "baseline-changed",
            {"current": VERSION},
            [("model_version_alias.created", {"name": "digits", "alias": "baseline", "version": "4"})],
        ),
        (
            "release-published",
            {"release": "1.2.0", "source": VERSION},
            [("model_version_alias.created", {"name": "digits", "alias": "1.2.0", "version": "4"})],
        ),
        ("registry-changed", {"kind": "branch-moved"}, []),
        ("model-rejected", {}, []),
        ("baseline-diverged", {}, []),
        ("something-new", {}, []),
    ],
)
def test_what_mlflow_would_have_told(name: str, data: dict[str, Any], expected: list[Any]) -> None:
    assert told(event(name, {"model": "digits", **data})) == expected


def test_the_signature_is_what_a_receiver_of_mlflow_computes() -> None:
    secret, body = "whsec_c2VjcmV0", '{"entity": "größe"}'
    headers = mlflow_headers("d-1", datetime.fromtimestamp(1_700_000_000.9, UTC), body, secret)
    signed = f"d-1.1700000000.{body}"
    digest = hmac.new(secret.encode("utf-8"), signed.encode("utf-8"), hashlib.sha256).digest()
    assert headers == {
        "x-mlflow-delivery-id": "d-1",
        "x-mlflow-timestamp": "1700000000",
        "x-mlflow-signature": "v1," + base64.b64encode(digest).decode(),
    }
