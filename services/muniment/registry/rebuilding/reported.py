"""What is reported on versions, from its entries: approvals, checks, measurements, deployments; and of runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from muniment.registry.rebuilding.entries import Entry
from muniment.registry.rebuilding.history import History, Row, Told


def approved(history: History, entry: Entry) -> None:
    """`version.approved`."""
    for operator, _, given in entry.below("approvals"):
        row = {"operator": operator, "approved": given, "comment": entry.reason, "given_at": entry.at}
        history.approvals.append({"number": _number(entry), **row})


def checked(history: History, entry: Entry) -> None:
    """`version.checked`."""
    for name, _, passed in entry.below("checks"):
        row = {"name": name, "passed": passed, "details": entry.reason}
        history.checks.append({"number": _number(entry), **row, "operator": entry.operator, "reported_at": entry.at})


def measured(history: History, entry: Entry) -> None:
    """`version.evaluation`, `version.observation`: the upload, and its measurements where the entry has them."""
    upload = entry.after("measurements")
    number, batch = _number(entry), upload["batch"]
    common = {"number": number, "kind": upload["kind"], "operator": entry.operator, "recorded_at": entry.at}
    history.batches.append({"id": batch, "count": upload["count"], "sha256": upload["sha256"], **common})
    rows = entry.after("points/rows")
    if rows is None:
        history.digested[batch] = _told(entry.after("points"), upload["count"], common)
    else:
        history.points += [(batch, row) for row in rows]
    units = entry.after("units")
    new = entry.after("units/rows") or []
    if units is not None and units["count"] != len(new):
        history.problem(entry, f"holds {units['count']} new units by their digest alone")
    history.units |= dict(new)


def deployed(history: History, entry: Entry) -> None:
    """`deployment.reported`. Entries of before name the place in their resource alone: the first slash parts it."""
    place = entry.name("deployments")
    environment, _, deployer = place.partition("/")
    report = entry.after(f"deployments/{place}")
    row = {
        "number": history.number(report["version"], entry),
        "semver": entry.after("release"),
        "environment": entry.after("environment") or environment,
        "deployer": entry.after("deployer") or deployer,
        "state": report["state"],
        "at": report["at"],
        "url": entry.after("url"),
        "details": entry.after("details"),
        "operator": entry.operator,
        "reported_at": entry.at,
    }
    if row["number"] is not None:
        history.deployments.append(row)


def judged(_: History, __: Entry) -> None:
    """`baseline.diverged`, `baseline.recovered`: they follow from measurements; the next one is judged anew."""


def edges_of(entry: Entry) -> tuple[list[Row], Told | None]:
    """`lineage.received`: the edges that an entry holds, or what it tells of them without holding them."""
    run_id = entry.resource.removeprefix("lineage/runs/")
    common = {
        "run_id": run_id,
        "cause": entry.cause,
        "job": entry.after("job"),
        "occurred_at": entry.after("occurred_at"),
        "operator": entry.operator,
    }
    edges = entry.after("edges")
    rows = entry.after("edges/rows")
    if rows is not None:
        return [{**common, "way": way, "name": name, "digest": digest} for way, name, digest in rows], None
    if not isinstance(edges, Mapping):  # entries of before told a count alone, and their rows name no cause
        return [], Told(edges, None, {"run_id": run_id, "cause": ""})
    return [], _told(edges, edges["count"], common)


def _told(rows: Any, count: int, common: Row) -> Told:
    return Told(count, rows["sha256"] if isinstance(rows, Mapping) else None, common)


def _number(entry: Entry) -> int:
    return int(entry.name("versions"))
