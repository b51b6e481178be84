"""Calls on lineage, deployments, deletion and collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from muniment.sdk.calls import parsed
from muniment.sdk.exchange import Call, Listing, ask_json, request


def lineage(**query: object) -> Call[Any]:
    """The graph around a version, a dataset or a commit."""
    return (yield from ask_json(request("registry", "GET", "/lineage", query=query)))


def run_event(ref: str) -> Call[Any]:
    """A version as an OpenLineage RunEvent."""
    return (yield from ask_json(request("registry", "GET", "/lineage/openlineage", query={"ref": str(parsed(ref))})))


def send_run_event(event: Mapping[str, Any]) -> Call[Any]:
    """Give the registry a RunEvent of a run elsewhere. Doing it again changes nothing."""
    return (yield from ask_json(request("registry", "POST", "/lineage/openlineage", body=dict(event), safe=True)))


def report_deployment(ref: str, fields: Mapping[str, Any]) -> Call[Any]:
    """Report where a version runs."""
    wanted = parsed(ref)
    body = {"ref": str(wanted), **{name: value for name, value in fields.items() if value is not None}}
    return (yield from ask_json(request("registry", "POST", _place(wanted.model, "deployments"), body=body)))


def deployments(model: str | None, environment: str | None) -> Listing:
    """Current deployments: of a model, or everywhere (in an environment)."""
    if model is not None:
        return Listing("registry", _place(model, "deployments"))
    return Listing("registry", "/deployments", {"environment": environment})


def delete_version(ref: str, reason: str) -> Call[Any]:
    """Delete a version."""
    wanted = parsed(ref)
    body = {"ref": str(wanted), "reason": reason}
    return (yield from ask_json(request("registry", "POST", _place(wanted.model, "delete"), body=body)))


def collect(body: Mapping[str, Any]) -> Call[Any]:
    """Free what nothing needs, or tell what that would be."""
    return (yield from ask_json(request("registry", "POST", "/gc", body=dict(body))))


def sweep(*, dry_run: bool, page_token: str | None, limit: int) -> Call[Any]:
    """Free what no publication and no version needs of one page of the bucket, or tell what that would be."""
    query = {"limit": limit, "page_token": page_token}
    return (yield from ask_json(request("ingest", "POST", "/sweep", query=query, body={"dry_run": dry_run})))


def collect_leftovers(*, dry_run: bool, page_token: str | None, limit: int) -> Call[Any]:
    """Free what refused versions and unmade releases left on one page of one place, or tell what that would be."""
    query = {"limit": limit, "page_token": page_token}
    return (yield from ask_json(request("registry", "POST", "/gc/leftovers", query=query, body={"dry_run": dry_run})))


def _place(model: str, word: str) -> str:
    return f"/models/{quote(model, safe='')}/{word}"
