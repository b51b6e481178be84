"""`muniment rebuild`: the registry's state from the audit log and the manifests, into a fresh database."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from muniment.adapters.postgres import connect, migrate, open_pool
from muniment.audit.merkle import leaf_hash
from muniment.audit.store import AuditLog, Search, StoredEntry
from muniment.contracts.errors import Rejected
from muniment.contracts.ids import ModelName, model_key
from muniment.registry.app import service as registry
from muniment.registry.rebuilding.entries import NO_MODEL, RECEIVED, Entry, read_entry
from muniment.registry.rebuilding.manifests import Manifests
from muniment.registry.rebuilding.work import Log, Rebuild
from muniment.registry.rebuilding.writing import SQL
from muniment.runtime.settings import Settings
from muniment.server.endpoints import reached_parts
from muniment.server.store import open_store
from muniment.server.wiring import schemas

if TYPE_CHECKING:
    from muniment.registry.rebuilding.work import Connection

_PAGE: Final = 1000
_DATABASE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_LONGEST_LINE: Final = 1024 * 1024


async def rebuild(
    settings: Settings, into: str, entries: Path | None, *, compare: bool, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Rebuild into the database at `into`; with `compare` hold the live one against it. Returns the report.

    `into` is a DSN, or a name: a database of that name is made beside the live one.

    `entries`: a file of audit entries as `muniment audit ls --json --limit 0` prints them, instead of the audit
    service's own tables. Raises `Conflict` (`database_not_empty`), `Rejected` (`entries_invalid`).
    """
    async with AsyncExitStack() as stack:
        endpoints = await stack.enter_async_context(reached_parts(settings, progress))
        blobs = await stack.enter_async_context(open_store(settings, endpoints))
        into = into if "://" in into else await _beside(endpoints.postgres_dsn, into)
        await migrate(into, [one for one in schemas((registry,)) if one.name == registry.schema])
        target = await connect(into, registry.schema)
        stack.push_async_callback(target.close)
        live: Connection | None = None
        if compare or entries is None:  # with a file of entries the live database may be lost
            live = await connect(endpoints.postgres_dsn, registry.schema)
            stack.push_async_callback(live.close)
        log: Log
        if entries is None:
            pool = await open_pool(endpoints.postgres_dsn, "audit", max_size=1)
            stack.push_async_callback(pool.close)
            log = StoredLog(AuditLog(pool))
        else:
            log = await asyncio.to_thread(file_log, entries)
        work = Rebuild(log, Manifests(blobs, settings.s3.bucket), progress)
        await work.write(target, await _tracks(settings, live))
        if compare and live is not None:
            await work.compare(live, target)
    return work.report.as_json()


async def _beside(dsn: str, name: str) -> str:
    """A database of this name on the server of `dsn`, made if it is not there; its DSN."""
    if not _DATABASE_NAME.fullmatch(name):
        raise Rejected(
            "database_name_invalid",
            "the name cannot be a database's",
            expected="a DSN, or [a-z][a-z0-9_]*, at most 63 characters",
            actual=name[:100],
        )
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    except asyncpg.DuplicateDatabaseError:
        pass  # whether it is empty is asked before anything is written
    finally:
        await connection.close()
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def _tracks(settings: Settings, live: Connection | None) -> list[tuple[str, str, int]]:
    """The live registry's tracks (rules of now, not history), and at least those that exist from the start."""
    first = {"production": settings.registry.production, "experimental": settings.registry.experimental}
    found = {name: (name, track.lock_mode, track.retention_s) for name, track in first.items()}
    rows = [] if live is None else await live.fetch(SQL["tracks"])
    return list(
        {**found, **{row["name"]: (row["name"], row["lock_mode"], row["retention_s"]) for row in rows}}.values()
    )


@dataclass(frozen=True, slots=True)
class StoredLog:
    """The log in the audit service's tables."""

    log: AuditLog

    async def models(self) -> list[str]:
        """Every model that was created, or has a candidate."""
        found: dict[str, str] = {}
        for action in ("model.created", "candidate.added"):
            async for entry in self._search(Search(action=action)):
                found.setdefault(model_key(ModelName(entry.model)), entry.model)
        return list(found.values())

    def entries(self, model: str) -> AsyncIterator[Entry]:
        """A model's entries."""
        return self._search(Search(model=model))

    def received(self) -> AsyncIterator[Entry]:
        """The entries of runs elsewhere."""
        return self._search(Search(action=RECEIVED))

    async def _search(self, search: Search) -> AsyncIterator[Entry]:
        while True:
            page = await self.log.search(search, limit=_PAGE)
            for row in page:
                entry = _entry_in(row)
                if entry is not None:
                    yield entry
            if len(page) < _PAGE:
                return
            search = Search(model=search.model, action=search.action, after_index=page[-1].index)


def _entry_in(row: StoredEntry) -> Entry | None:
    """The entry of a row. Raises `Rejected` (`entry_damaged`): a state made from what was changed would agree with it.

    Who changed the leaf hash as well is found by `audit verify` alone, which reads the tree.
    """
    if (found := leaf_hash(row.data)) != row.leaf_hash:
        raise Rejected(
            "entry_damaged",
            f"entry {row.index} of the audit log in Postgres is not the one that was appended",
            expected=row.leaf_hash.hex(),
            actual=found.hex(),
            hint="`muniment audit verify` tells which layers still hold it; take the topic's entries (--entries)",
        )
    return read_entry(row.index, json.loads(row.data))


@dataclass(frozen=True, slots=True)
class FileLog:
    """A log in a file of JSON lines: where each model's lines begin is kept in memory, the lines are not."""

    path: Path
    offsets: dict[str, list[int]]
    names: dict[str, str]

    async def models(self) -> list[str]:
        """Every model that an entry names."""
        return [name for name in self.names.values() if name != NO_MODEL]

    def entries(self, model: str) -> AsyncIterator[Entry]:
        """A model's entries."""
        return self._at(model_key(ModelName(model)))

    def received(self) -> AsyncIterator[Entry]:
        """The entries of runs elsewhere."""
        return self._at(NO_MODEL)

    async def _at(self, key: str) -> AsyncIterator[Entry]:
        with self.path.open("rb") as file:
            for offset in self.offsets.get(key, ()):
                file.seek(offset)
                entry = _entry_of(file.readline(_LONGEST_LINE), self.path, offset)
                if entry is not None:
                    yield entry


def file_log(path: Path) -> FileLog:
    """The log in a file, whose lines are in the order of the log. Raises `Rejected` (`entries_invalid`)."""
    log = FileLog(path, {}, {})
    with path.open("rb") as file:
        offset = 0
        while line := file.readline(_LONGEST_LINE):
            entry = _entry_of(line, path, offset)
            if entry is not None:
                key = model_key(ModelName(entry.model))
                log.offsets.setdefault(key, []).append(offset)
                log.names.setdefault(key, entry.model)
            offset += len(line)
    return log


def _entry_of(line: bytes, path: Path, offset: int) -> Entry | None:
    try:
        value = json.loads(line)
        return read_entry(value["index"], value["entry"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Rejected(
            "entries_invalid",
            f"{path} holds a line that is no audit entry, at byte {offset}: {error!r}",
            expected="lines as `muniment audit ls --json --limit 0` prints them",
            actual=repr(line[:120]),
        ) from error
