"""New measurements held against the baseline's tolerances, in the change that records them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from muniment.contracts.events import BaselineDiverged, Change, VersionName
from muniment.contracts.identity import Principal
from muniment.contracts.model import rfc3339
from muniment.registry.changing import Changing
from muniment.registry.divergence import Line, Place, Standing, Turn, follow, line_of
from muniment.registry.measurements import Point
from muniment.registry.tolerances import Measured, Tolerance
from muniment.runtime.sql import load_queries

SQL = load_queries("muniment.registry", "measurements")
SERVICE: Final = Principal("muniment|registry", frozenset(), "service")
"""Nobody asked for a divergence: the registry found it."""
_BEFORE_ALL: Final = Place(0, datetime(1, 1, 2, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Baseline:
    """The version that the baseline names, the tolerances of the model's contract, and when it became the baseline."""

    number: int
    id: str
    since: datetime
    tolerances: tuple[Tolerance, ...]


@dataclass(frozen=True, slots=True)
class _Judged:
    tolerance: Tolerance
    reference: float | None
    standing: Standing


async def judge(change: Changing, version: asyncpg.Record, kind: str, points: Iterable[Point]) -> list[dict[str, Any]]:
    """Judge what was just recorded of a version; an event and an audit entry for each turn. Returns the turns."""
    baseline = await _baseline(change)
    line = line_of(version["number"], version["branch"], kind, baseline.number) if baseline else None
    if baseline is None or line is None:
        return []
    new = _by_measured(baseline.tolerances, version["number"], points, change.tx.now)
    tolerances = [tolerance for tolerance in baseline.tolerances if new[tolerance.key]]
    if not tolerances:
        return []
    rows = await change.connection.fetch(SQL["divergences_of_line"], change.model.id, line)
    before = {Measured(row["metric"], row["dataset"] or None, row["slice"] or None): row for row in rows}
    references = await _references(change, baseline, tolerances, before)
    ids = {version["number"]: version["id"], **{row["first_number"]: row["first_id"] for row in rows}}
    judged: list[_Judged] = []
    told: list[dict[str, Any]] = []
    for tolerance in tolerances:
        reference = references[tolerance.key]
        standing, turns = follow(
            tolerance, reference, _standing(before.get(tolerance.key), baseline), new[tolerance.key]
        )
        if standing is not None:
            judged.append(_Judged(tolerance, reference, standing))
        told += [_tell(change, baseline, line, tolerance, reference, turn, ids[turn.first.number]) for turn in turns]
    await _put(change, baseline, line, judged)
    return told


async def _baseline(change: Changing) -> Baseline | None:
    row = await change.connection.fetchrow(SQL["baseline_contract"], change.model.id)
    if row is None:
        return None
    tolerances = tuple(Tolerance.model_validate(item) for item in json.loads(row["tolerances"]))
    return Baseline(row["number"], row["id"], row["moved_at"], tolerances) if tolerances else None


def _by_measured(
    tolerances: Iterable[Tolerance], number: int, points: Iterable[Point], now: datetime
) -> dict[Measured, list[tuple[Place, float]]]:
    found: dict[Measured, list[tuple[Place, float]]] = {tolerance.key: [] for tolerance in tolerances}
    for point in points:
        if (places := found.get(point.measured)) is not None:
            places.append((Place(number, point.at or now), point.value))
    return found


async def _references(
    change: Changing, baseline: Baseline, tolerances: Iterable[Tolerance], before: Mapping[Measured, asyncpg.Record]
) -> dict[Measured, float | None]:
    """The baseline's own values when it became the baseline: its newest evaluation then, else its manifest's metric.

    Where it had neither, the first evaluation since. What was once found stays the reference of this baseline.
    """
    found: dict[Measured, float | None] = {}
    for tolerance in tolerances:
        row = before.get(tolerance.key)
        if row is not None and row["baseline_number"] == baseline.number and row["reference"] is not None:
            found[tolerance.key] = row["reference"]
    missing = [tolerance.key for tolerance in tolerances if tolerance.key not in found]
    if missing:
        manifest = await change.connection.fetchval(SQL["manifest_of"], change.model.id, baseline.number)
        metrics = json.loads(manifest).get("metrics", {})
        rows = await change.connection.fetch(
            SQL["reference_values"],
            change.model.id,
            baseline.number,
            baseline.since,
            [key.metric for key in missing],
            [key.dataset or "" for key in missing],
            [key.slice or "" for key in missing],
        )
        values = {Measured(row["metric"], row["dataset"] or None, row["slice"] or None): row for row in rows}
        for key in missing:
            said = metrics.get(key.metric) if key == Measured(key.metric) else None
            known = (values[key]["then"], said, values[key]["later"])
            found[key] = next((float(value) for value in known if value is not None), None)
    return found


def _standing(row: asyncpg.Record | None, baseline: Baseline) -> Standing | None:
    if row is None:
        return None
    first = Place(row["first_number"], row["first_at"]) if row["first_number"] is not None else None
    if row["baseline_number"] != baseline.number:
        # Another baseline began: what was judged before says nothing of it, but who was told of a break hears its end.
        return Standing(_BEFORE_ALL, row["value"], first)
    held = Place(row["held_number"], row["held_at"]) if row["held_number"] is not None else None
    return Standing(Place(row["judged_number"], row["judged_at"]), row["value"], first, held)


def _tell(
    change: Changing,
    baseline: Baseline,
    line: Line,
    tolerance: Tolerance,
    reference: float | None,
    turn: Turn,
    first_id: str,
) -> dict[str, Any]:
    limit = tolerance.limit(reference)
    sign = ">=" if tolerance.direction == "higher" else "<="
    beside = "" if reference is None else f" (the baseline has {reference:.6g})"
    event = BaselineDiverged.model_validate(
        {
            "model": change.model.name,
            "metric": tolerance.metric,
            "slice": tolerance.slice,
            "dataset": tolerance.dataset,
            "recovered": turn.recovered,
            "baseline": VersionName.model_validate({"number": baseline.number, "id": baseline.id}),
            "first_version": VersionName.model_validate({"number": turn.first.number, "id": first_id}),
            "first_at": turn.first.at,
            "expected": f"{sign} {limit:.6g}{beside}",
            "actual": turn.value,
            "operator": SERVICE.operator,
        }
    )
    action = "baseline.recovered" if turn.recovered else "baseline.diverged"
    change.emit(event, action, line, tolerance.metric, tolerance.dataset or "", tolerance.slice or "")
    since = {"number": turn.first.number, "at": rfc3339(turn.first.at)}
    replace(change, by=SERVICE).audit(
        action,
        f"divergences/{line}/{tolerance.key}"[:1500],
        [Change(path="first", after=since), Change(path="value", before=reference, after=turn.value)],
        reason=event.expected,
    )
    return event.model_dump(mode="json", exclude_none=True)


async def _put(change: Changing, baseline: Baseline, line: Line, judged: list[_Judged]) -> None:
    if not judged:
        return
    standings = [one.standing for one in judged]
    keys = [one.tolerance.key for one in judged]
    await change.connection.execute(
        SQL["put_divergences"],
        change.model.id,
        line,
        baseline.number,
        change.tx.now,
        [key.metric for key in keys],
        [key.dataset or "" for key in keys],
        [key.slice or "" for key in keys],
        ["broken" if one.broken else "holding" for one in standings],
        [one.reference for one in judged],
        [one.first.number if one.first else None for one in standings],
        [one.first.at if one.first else None for one in standings],
        [one.judged.number for one in standings],
        [one.judged.at for one in standings],
        [one.held.number if one.held else None for one in standings],
        [one.held.at if one.held else None for one in standings],
        [one.value for one in standings],
    )
