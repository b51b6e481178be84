"""Comparing the versions that references name. Reads alone; a deleted version still has its manifest."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import asyncpg

from muniment.contracts.errors import Transient
from muniment.contracts.events import Direction
from muniment.contracts.model import rfc3339
from muniment.ports.blobs import BlobStore, Location
from muniment.registry.comparing.headers import StoredFile
from muniment.registry.comparing.manifests import Row, check_count, compare_manifests
from muniment.registry.comparing.tensors import Compared, compare_tensors
from muniment.registry.contract import contract_of, contract_row
from muniment.registry.references import find_version
from muniment.registry.store import SQL

Json = dict[str, Any]

MAX_ROWS: Final = 1000
"""Of each section."""
MAX_TENSOR_ROWS: Final = 10_000
_AT_ONCE: Final = 2
"""Comparisons of tensors that run at a time: each takes a core and some tens of MiB."""
_COME_AGAIN_S: Final = 5


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Comparisons of one registry."""

    pool: asyncpg.Pool[Any]
    blobs: BlobStore
    max_bytes: int
    """Bytes of tensors that one comparison may read, of both sides together."""
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def compare(self, refs: Sequence[str], *, only_changed: bool = True) -> Json:
        """`versions`, and `sections`: rows by section, each at most `MAX_ROWS`; `cut` has how many there were.

        Metrics have the directions that the first version's model gives them in its contract. Raises as
        `compare_manifests` and `find_version` do.
        """
        check_count(len(refs))
        async with self.pool.acquire(timeout=30) as connection:
            versions = [await find_version(connection, ref) for ref in refs]
            contract = contract_of(await contract_row(connection, versions[0]["model_id"]))
        directions: dict[str, Direction] = {
            one.metric: one.direction for one in contract.tolerances if one.slice is None and one.dataset is None
        }
        manifests = [json.loads(version["manifest"]) for version in versions]
        sections = compare_manifests(manifests, directions, only_changed=only_changed)
        return {
            "versions": [_version(version) for version in versions],
            "only_changed": only_changed,
            "sections": {name: [_fields(row) for row in rows[:MAX_ROWS]] for name, rows in sections.items()},
            "cut": {name: len(rows) for name, rows in sections.items() if len(rows) > MAX_ROWS},
        }

    async def diff(self, old: str, new: str, *, tensors: bool = True, only_changed: bool = True) -> Json:
        """As `compare` of two, and `tensors`: None where not asked for.

        `tensors` has `counts` by status, `rows` (at most `MAX_TENSOR_ROWS`; `cut` has how many there were),
        `same_files` (not read) and `bytes_read`; or `skipped` where a version was deleted. Raises as
        `compare_tensors` does, too, and `Transient` (`compare_busy`).
        """
        answer = await self.compare([old, new], only_changed=only_changed)
        answer["tensors"] = None
        if tensors and any(version["deleted"] for version in answer["versions"]):
            answer["tensors"] = {"skipped": "version_deleted"}
        elif tensors:
            # By number: a name may have moved meanwhile.
            files = [await self._files(version["model"], version["number"]) for version in answer["versions"]]
            answer["tensors"] = _tensors(await self._compared(*files, with_same=not only_changed), only_changed)
        return answer

    async def _files(self, model: str, number: int) -> list[StoredFile]:
        async with self.pool.acquire(timeout=30) as connection:
            version = await find_version(connection, f"{model}/{number}")
            rows = await connection.fetch(SQL["files"], version["model_id"], number)
        return [
            StoredFile(row["path"], row["sha256"], row["size"], Location(row["bucket"], row["key"], row["version_id"]))
            for row in rows
            if row["format"] == "safetensors"
        ]

    async def _compared(self, old: list[StoredFile], new: list[StoredFile], *, with_same: bool) -> Compared:
        if self._slots.locked():
            busy = Transient("compare_busy", f"{_AT_ONCE} comparisons of tensors are under way", hint="ask again soon")
            busy.retry_after = _COME_AGAIN_S
            raise busy
        cancel = threading.Event()
        async with self._slots:
            try:
                return await asyncio.to_thread(
                    compare_tensors,
                    self.blobs,
                    old,
                    new,
                    max_bytes=self.max_bytes,
                    cancel=cancel,
                    with_same=with_same,
                )
            finally:
                cancel.set()


def _version(row: asyncpg.Record) -> Json:
    return {
        "id": row["id"],
        "model": row["model"],
        "number": row["number"],
        "branch": row["branch"],
        "operator": row["operator"],
        "committed_at": rfc3339(row["committed_at"]),
        "deleted": row["deleted_at"] is not None,
    }


def _fields(row: Row) -> Json:
    """A row as JSON; what is of metrics only is left out of the others."""
    return {name: value for name, value in asdict(row).items() if value is not None}


def _tensors(compared: Compared, only_changed: bool) -> Json:
    shown = [row for row in compared.rows if not only_changed or row.status != "unchanged"]
    return {
        "counts": dict(Counter(row.status for row in compared.rows)),
        "same_files": compared.same_files,
        "bytes_read": compared.bytes_read,
        "rows": [row.fields() for row in shown[:MAX_TENSOR_ROWS]],
        "cut": len(shown) if len(shown) > MAX_TENSOR_ROWS else None,
    }
