"""Rows that an audit entry tells of: always their count and digest, and the rows themselves where they are few.

A row is a list of texts, None where nothing stands; numbers are texts too, so that no reader rounds them. The digest is
the SHA-256 of the canonical JSON (RFC 8785) of the list of rows, in the order in which the entry says they are: whoever
has the rows can make it again. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from muniment.contracts.events import Change
from muniment.contracts.model import rfc3339
from muniment.registry.long_values import whole

Cells = Sequence[str | None]

FEW: Final = 8 * 1024
"""Bytes of canonical JSON up to which rows stand in their entry: the log is kept for ever."""
_FEW_ROWS: Final = FEW // 3
"""No more rows than these can have so few bytes: `[],` is the shortest."""
_AT_ONCE: Final = 500
"""Rows that are written out together: one by one takes twice as long."""
# Of lists of texts and nulls this is RFC 8785 already: shortest escapes, no spaces.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class RowsDigest:
    """The digest of rows that come one after the other. `count` is of those."""

    def __init__(self) -> None:
        self.count = 0
        self._size = 2
        self._hash = hashlib.sha256(b"[")
        self._waiting: list[list[str | None]] = []

    def add(self, row: Cells) -> None:
        """One row more."""
        self._waiting.append(list(row))
        self.count += 1
        if len(self._waiting) >= _AT_ONCE:
            self._take()

    def size(self) -> int:
        """Bytes of the canonical JSON of the rows so far."""
        self._take()
        return self._size

    def hexdigest(self) -> str:
        """SHA-256 of the rows so far, in lower-case hexadecimal."""
        self._take()
        whole_list = self._hash.copy()
        whole_list.update(b"]")
        return whole_list.hexdigest()

    def _take(self) -> None:
        if not self._waiting:
            return
        text = _encode(self._waiting)[1:-1].encode()
        if self.count > len(self._waiting):
            text = b"," + text
        self._hash.update(text)
        self._size += len(text)
        self._waiting = []


def told(path: str, rows: Iterable[Cells]) -> list[Change]:
    """The changes that tell of rows: `path` has `{"count", "sha256"}`, `path/rows` the rows if they are few."""
    digest = RowsDigest()
    few: list[list[str | None]] = []
    for row in rows:
        digest.add(row)
        if digest.count <= _FEW_ROWS:
            few.append(list(row))
    changes = [Change(path=path, after={"count": digest.count, "sha256": digest.hexdigest()})]
    if digest.size() <= FEW:
        changes += whole({f"{path}/rows": few})
    return changes


def measurement_cells(
    metric: str, value: float, unit: str | None, dataset: str, slice_: str, measured_at: datetime
) -> list[str | None]:
    """A measurement. The value is the shortest decimal that reads back as the same double."""
    return [metric, repr(value), unit, dataset, slice_, rfc3339(measured_at)]


def edge_cells(way: str, name: str, digest: str) -> list[str | None]:
    """What a run elsewhere has read or written."""
    return [way, name, digest]
