"""The whole rebuild: read the log, fill a fresh database, compare it with the live one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from muniment.contracts.ids import ModelName, model_key
from muniment.ports.blobs import Location
from muniment.registry.rebuilding import comparing
from muniment.registry.rebuilding.comparing import (
    CANDIDATE,
    MANIFEST_LOCK,
    PLACE,
    TABLES,
    Difference,
    Key,
    Row,
    Table,
)
from muniment.registry.rebuilding.digested import CELLS, without_digested
from muniment.registry.rebuilding.entries import Entry
from muniment.registry.rebuilding.folding import apply_entry
from muniment.registry.rebuilding.history import History, Told
from muniment.registry.rebuilding.manifests import Manifests
from muniment.registry.rebuilding.report import Report
from muniment.registry.rebuilding.reported import edges_of
from muniment.registry.rebuilding.writing import SQL, Writer

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_PREFETCH: Final = 1000
_JSON: Final = frozenset({"tags", "differences", "tolerances"})


class Log(Protocol):
    """An audit log, wherever it is kept."""

    async def models(self) -> list[str]:
        """The names of all models that it tells of; a name may come twice, and in several spellings."""
        ...

    def entries(self, model: str) -> AsyncIterator[Entry]:
        """A model's entries that changed something, in the order of the log."""
        ...

    def received(self) -> AsyncIterator[Entry]:
        """The entries of runs elsewhere (`entries.RECEIVED`), in the order of the log."""
        ...


@dataclass(slots=True)
class Rebuild:
    """One rebuild. `candidates` are what the log tells of them: the log has no candidate's files, so no row is made."""

    log: Log
    manifests: Manifests
    progress: Callable[[str], None] = lambda _: None
    report: Report = field(default_factory=Report)
    candidates: dict[str, dict[str, Any]] = field(default_factory=dict)
    digested: dict[str, dict[Key, Told]] = field(default_factory=lambda: {name: {} for name in CELLS})
    """By table, what the log tells by digest alone: no rows are made, the live ones are held against the digest."""

    async def write(self, target: Connection, tracks: Iterable[tuple[str, str, int]]) -> None:
        """Fill a fresh, migrated database in one transaction: all of it is there, or nothing.

        Raises `Conflict` (`database_not_empty`).
        """
        async with target.transaction():
            writer = Writer(target, self.manifests)
            await writer.prepare(list(tracks))
            for name in sorted({model_key(ModelName(name)): name for name in await self.log.models()}.values()):
                history = await self._history(name, writer)
                self.report.tell([*history.problems, *await writer.write(history)])
            await self._write_edges(writer)
            await writer.finish()
            for table, digested in self.digested.items():
                self.report.by_digest[table] = sum(told.count for told in digested.values())

    async def compare(self, live: Connection, target: Connection) -> None:
        """Hold the two databases against each other, each as of one moment."""
        async with (
            live.transaction(isolation="repeatable_read", readonly=True),
            target.transaction(isolation="repeatable_read", readonly=True),
        ):
            self.report.unsent = await live.fetchval(SQL["unsent"])
            for table in TABLES:
                self.progress(f"comparing {table.name}")
                await self._compare(table, rows_of(live, table), rows_of(target, table))
            await self._compare(CANDIDATE, rows_of(live, CANDIDATE), self._candidate_rows())

    async def _write_edges(self, writer: Writer) -> None:
        rows: list[Row] = []
        digested = self.digested["external_edge"]
        async for entry in self.log.received():
            self.report.entries += 1
            try:
                edges, told = edges_of(entry)
            except (KeyError, TypeError, ValueError) as error:
                self.report.tell([f"entry {entry.index} ({entry.action}) is not of the form that it has: {error!r}"])
                continue
            rows += edges
            if told is not None:
                key = (told.common["run_id"], told.common["cause"])
                before = digested.get(key)  # several entries that tell no digest are one
                digested[key] = replace(told, count=told.count + (before.count if before else 0))
            if len(rows) >= _PREFETCH:
                await writer.write_edges(rows)
                rows = []
        await writer.write_edges(rows)

    async def _history(self, name: str, writer: Writer) -> History:
        self.progress(f"reading {name}")
        history = History(name)
        async for entry in self.log.entries(name):
            self.report.entries += 1
            apply_entry(history, entry)
            if len(history.points) >= _PREFETCH:
                await writer.put_aside(history.points)
                history.points.clear()
        await writer.put_aside(history.points)
        key = model_key(ModelName(name))
        self.digested["measurement"] |= {(key, batch): told for batch, told in history.digested.items()}
        self.candidates |= history.candidates
        self.report.models += history.created is not None
        self.report.versions += len(history.versions)
        self.report.unknown += history.unknown
        return history

    async def _compare(self, table: Table, live: AsyncIterator[Row], rebuilt: AsyncIterator[Row]) -> None:
        if table.name in CELLS:
            live = without_digested(table, live, self.digested[table.name], partial(self._met, table))
        async for key, left, right in comparing.compared(table, live, rebuilt):
            self.report.rows_compared[table.name] += 1
            found = list(comparing.differences(table, key, left, right))
            if found and await self._is_elsewhere(found, left):
                found = [one for one in found if one.column not in PLACE]
            if left is not None and any(one.column == MANIFEST_LOCK for one in found) and await self._is_locked(left):
                found = [one for one in found if one.column != MANIFEST_LOCK]
            self.report.add(found)

    def _met(self, table: Table, rows: int, found: list[Difference]) -> None:
        self.report.rows_compared[table.name] += rows
        self.report.add(found)

    async def _is_elsewhere(self, found: Iterable[Difference], live: Row | None) -> bool:
        """Whether a file's bytes lie where the live row says, too: equal bytes may lie, locked, in several places."""
        if live is None or "version_id" not in live or not any(one.column in PLACE for one in found):
            return False
        if any(one.column in {"sha256", "size"} for one in found):
            return False
        expected = f"blobs/sha256/{live['sha256'][:2]}/{live['sha256']}"
        place = Location(live["bucket"], live["key"], live["version_id"])
        return place.key == expected and await self.manifests.holds(place, live["size"], live["locked_until"])

    async def _is_locked(self, live: Row) -> bool:
        """Whether a manifest is locked as long as the live row says: locks are made longer at any time, so also between
        the reading of the store and that of the live row.
        """
        place = Location(live["manifest_bucket"], live["manifest_key"], live["manifest_version_id"])
        return await self.manifests.holds(place, None, live[MANIFEST_LOCK])

    async def _candidate_rows(self) -> AsyncIterator[Row]:
        for publication_id, row in sorted(self.candidates.items()):
            yield {"publication_id": publication_id, **row}


async def rows_of(connection: Connection, table: Table) -> AsyncIterator[Row]:
    """A table's rows in the order of its key. The connection is in a transaction."""
    async for record in connection.cursor(SQL[f"live_{table.name}"], prefetch=_PREFETCH):
        yield {name: _value(name, value) for name, value in record.items()}


def _value(name: str, value: Any) -> Any:
    return json.loads(value) if name in _JSON and isinstance(value, str) else value
