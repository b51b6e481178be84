"""Answers about measurements: lists, series, divergences. Keyset pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from muniment.contracts.errors import Rejected
from muniment.contracts.ids import ModelName
from muniment.contracts.model import rfc3339
from muniment.registry.measurements import Kind
from muniment.registry.references import find_model, find_version
from muniment.registry.tolerances import Measured
from muniment.runtime.http.pages import Page
from muniment.runtime.sql import load_queries

SQL = load_queries("muniment.registry", "measurements")
Json = dict[str, Any]
_AFTER_ALL: Final = 2**63 - 1
_FIRST_MOMENT: Final = datetime(1, 1, 2, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Measurements:
    """Reads of measurements."""

    pool: asyncpg.Pool[Any]

    async def all_of(
        self, ref: str, kind: Kind | None, metric: str | None, dataset: str | None, slice_: str | None, page: Page
    ) -> Json:
        """A version's measurements, those recorded last first."""
        (below,) = page.after(int) or (_AFTER_ALL,)
        kinds = [kind] if kind else ["evaluation", "observation"]
        async with self.pool.acquire(timeout=30) as connection:
            version = await find_version(connection, ref)
            async with connection.transaction(readonly=True):
                await connection.execute(SQL["in_index_order"])
                rows = await connection.fetch(
                    SQL["measurements"],
                    version["model_id"],
                    version["number"],
                    below,
                    kinds,
                    dataset,
                    slice_,
                    page.fetch,
                    metric,
                )
        return page.answer(rows, item=_measurement, key=lambda row: (row["seq"],))

    async def over_versions(self, model: ModelName, of: Measured, page: Page) -> Json:
        """A metric's value for each version that has one, by number: its newest evaluation, or its manifest's."""
        (after,) = page.after(int) or (0,)
        row = await find_model(self.pool, model)
        rows = await self.pool.fetch(
            SQL["series_over_versions"], row["id"], of.metric, of.dataset or "", of.slice or "", after, page.fetch
        )
        return page.answer(rows, item=_plain, key=lambda row: (row["number"],))

    async def over_time(self, model: ModelName, ref: str, of: Measured, page: Page) -> Json:
        """The observations of one version in the order of their times. Raises `Rejected` (`reference_elsewhere`)."""
        after, seq = page.after(datetime, int) or (_FIRST_MOMENT, 0)
        async with self.pool.acquire(timeout=30) as connection:
            found = await find_model(connection, model)
            version = await find_version(connection, ref)
            if version["model_id"] != found["id"]:
                raise Rejected(
                    "reference_elsewhere", "the reference names a version of another model", actual=version["model"]
                )
            rows = await connection.fetch(
                SQL["series_over_time"],
                version["model_id"],
                version["number"],
                of.metric,
                of.dataset or "",
                of.slice or "",
                after,
                seq,
                page.fetch,
            )
        return page.answer(
            rows,
            item=lambda row: {
                "number": version["number"],
                "id": version["id"],
                "value": row["value"],
                "source": "observation",
                "at": rfc3339(row["measured_at"]),
            },
            key=lambda row: (row["measured_at"], row["seq"]),
        )

    async def divergences(self, model: ModelName, state: str | None, page: Page) -> Json:
        """How the tolerances stand that measurements were held against."""
        after = page.after(str, str, str, str) or (None, None, None, None)
        row = await find_model(self.pool, model)
        rows = await self.pool.fetch(SQL["divergences"], row["id"], state, *after, page.fetch)
        return page.answer(
            rows, item=_plain, key=lambda row: (row["line"], row["metric"], row["dataset"], row["slice"])
        )


def _measurement(row: asyncpg.Record) -> Json:
    item = _plain(row)
    item["batch"] = str(item.pop("batch_id"))
    del item["seq"]
    return item


def _plain(row: asyncpg.Record) -> Json:
    item = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in row.items()}
    for name in ("dataset", "slice"):
        if name in item:
            item[name] = item[name] or None
    return item
