"""Evaluations and observations: recorded in batches, never changed; and the values of versions, which gates ask for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg

from muniment.contracts.errors import Conflict
from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.ids import ModelName
from muniment.registry import diverging
from muniment.registry.changing import Changes, Changing
from muniment.registry.measurement_copy import COLUMNS, copied
from muniment.registry.measurements import Kind, Point, Upload, batch_id, check_count, check_times, units_of
from muniment.registry.pointers import version_deleted
from muniment.registry.told_rows import measurement_cells, told
from muniment.registry.tolerances import Measured
from muniment.runtime.sql import load_queries

if TYPE_CHECKING:
    from muniment.registry.references import Source

SQL = load_queries("muniment.registry", "measurements")
Json = dict[str, Any]


async def values_of(source: Source, model_id: int, number: int) -> dict[Measured, float]:
    """What a version is worth to a gate: its manifest's metrics, overlaid by its newest evaluation of each metric,
    dataset and slice. Observations do not count.
    """
    manifest = await source.fetchval(SQL["manifest_of"], model_id, number)
    metrics = json.loads(manifest).get("metrics", {}) if manifest is not None else {}
    values = {Measured(name): float(value) for name, value in metrics.items()}
    for row in await source.fetch(SQL["newest_evaluations"], model_id, number):
        values[Measured(row["metric"], row["dataset"] or None, row["slice"] or None)] = row["value"]
    return values


async def metric_values(
    source: Source, model_id: int, metric: str, dataset: str | None = None, slice_: str | None = None
) -> dict[int, float]:
    """The value of one metric for each version of a model that has one, by number: as `values_of`, one statement."""
    given = (model_id, metric, dataset or "", slice_ or "", 0, None)
    return {row["number"]: row["value"] for row in await source.fetch(SQL["series_over_versions"], *given)}


@dataclass(frozen=True, slots=True)
class Measuring:
    """Records measurements."""

    changes: Changes

    async def record(
        self, model: ModelName, kind: Kind, upload: Upload, key: str | None, by: Principal, cause: Cause
    ) -> Json:
        """Append the upload's measurements, all or none, and hold them against the baseline's tolerances.

        Returns the batch, `repeated` where the same key has recorded it before (nothing is added then), and the
        divergences that it began or ended. Raises `Conflict` (`idempotency_key_reused`, `version_deleted`,
        `unit_differs`), what `check_times` and `check_count` raise, and what references raise.
        """
        check_count(len(upload.points))
        batch = batch_id(by.operator, model, kind, upload.ref, key)
        async with self.changes.of(model, by, cause) as change:
            if (before := await change.connection.fetchrow(SQL["batch"], batch)) is not None:
                return _repeated(change, before, upload)
            version = await change.version(upload.ref)
            if version["deleted_at"] is not None:
                raise version_deleted(version)
            check_times(upload.points, version["committed_at"], change.tx.now)
            units, new_units = await _units(change, upload.points)
            count = len(upload.points)
            number, now = version["number"], change.tx.now
            await change.connection.execute(
                SQL["insert_batch"], batch, change.model.id, number, kind, count, upload.sha256, by.operator, now
            )
            rows = copied(batch, change.model.id, number, kind, by.operator, now, upload.points, units)
            copying = change.connection.copy_to_table(
                "measurement", source=_pieces(rows), columns=COLUMNS, format="binary"
            )
            # In a thread, while Postgres writes: a hundred thousand rows take most of a second.
            telling = asyncio.to_thread(told, "points", _cells(upload.points, units, now))
            _, points = await asyncio.gather(copying, telling)
            uploaded = {"batch": str(batch), "kind": kind, "count": count, "sha256": upload.sha256}
            changes = [Change(path="measurements", after=uploaded)]
            change.tell("version-evaluated", changes, version=version["id"], number=number)
            changes += points
            changes += told("units", sorted(new_units.items()))
            change.audit(f"version.{kind}", f"versions/{number}", changes)
            turned = await diverging.judge(change, version, kind, upload.points)
            return _answer(change, batch, number, version["id"], kind, count, upload.sha256, turned)


async def _units(change: Changing, points: list[Point]) -> tuple[dict[str, str], dict[str, str]]:
    """The units of the points' metrics, and those among them that the model did not know before."""
    metrics = {point.measured.metric for point in points}
    rows = await change.connection.fetch(SQL["units"], change.model.id, list(metrics))
    known = {row["metric"]: row["unit"] for row in rows}
    units = units_of(points, known)
    new = {metric: unit for metric, unit in units.items() if metric not in known}
    if new:
        await change.connection.execute(SQL["insert_units"], change.model.id, list(new), list(new.values()))
    return units, new


def _cells(points: list[Point], units: dict[str, str], now: datetime) -> Iterator[list[str | None]]:
    """The points as the audit entry tells them, in the order of their rows."""
    for point in points:
        of = point.measured
        unit = units.get(of.metric)
        yield measurement_cells(of.metric, point.value, unit, of.dataset or "", of.slice or "", point.at or now)


async def _pieces(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _repeated(change: Changing, before: asyncpg.Record, upload: Upload) -> Json:
    if before["sha256"] != upload.sha256:
        raise Conflict(
            "idempotency_key_reused",
            "this Idempotency-Key was used before with another body",
            expected=f"sha256 {before['sha256']}",
            actual=f"sha256 {upload.sha256}",
            hint="use a new key for new measurements",
        )
    answer = _answer(
        change, before["id"], before["number"], before["version_id"], before["kind"], before["count"], upload.sha256, []
    )
    return {**answer, "repeated": True}


def _answer(
    change: Changing, batch: UUID, number: int, version: str, kind: str, count: int, sha256: str, turned: list[Json]
) -> Json:
    return {
        "batch": str(batch),
        "model": change.model.name,
        "number": number,
        "id": version,
        "kind": kind,
        "count": count,
        "sha256": sha256,
        "repeated": False,
        "divergences": turned,
    }
