"""Two registries held against each other, row by row: what one says and the other does not. Pure but for the streams.

Both sides give a table's rows in the order of its key, so two of any size are compared in the memory of two rows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from muniment.contracts.model import rfc3339

Row = Mapping[str, Any]
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is compared. `key` are its first columns, by which its rows are ordered."""

    name: str
    key: tuple[str, ...]


TABLES: Final = (
    Table("model", ("model",)),
    Table("version", ("model", "number")),
    Table("version_file", ("model", "number", "path")),
    Table("version_parent", ("model", "number", "parent_id")),
    Table("branch", ("model", "name")),
    Table("branch_move", ("model", "branch", "place")),
    Table("pointer", ("model", "name")),
    Table("pointer_move", ("model", "name", "place")),
    Table("release", ("model", "semver")),
    Table("release_file", ("model", "semver", "path")),
    Table("tombstone", ("model", "number")),
    Table("reproduction", ("model", "number")),
    Table("version_signature", ("model", "number", "judged_at")),
    Table("contract", ("model",)),
    Table("approval", ("model", "number", "place")),
    Table("version_check", ("model", "number", "place")),
    Table("measurement_batch", ("model", "batch")),
    Table("measurement", ("model", "batch", "place")),
    Table("metric_unit", ("model", "metric")),
    Table("deployment", ("model", "place")),
    Table("external_edge", ("run_id", "cause", "way", "name", "digest")),
    Table("version_dataset", ("model", "number", "place")),
    Table("version_code", ("model", "number")),
)
CANDIDATE: Final = Table("candidate", ("publication_id",))

MANIFEST_LOCK: Final = "manifest_locked_until"
LOCKS: Final = frozenset({"locked_until", MANIFEST_LOCK})
"""Ends of locks. The store's word counts, which the rebuilt side has: the live one may only promise less."""
PLACE: Final = frozenset({"bucket", "key", "version_id", "lock_mode", "locked_until"})
"""Where a file's bytes lie, and the lock there."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One column of one row. Without a column the whole row is missing on the side that is None."""

    table: str
    key: Key
    column: str | None
    live: Any
    rebuilt: Any

    def as_json(self) -> dict[str, Any]:
        """The difference with its key as a text: `digits/3/model.bin`."""
        return {
            "table": self.table,
            "key": "/".join(map(str, self.key)),
            "column": self.column,
            "live": self.live,
            "rebuilt": self.rebuilt,
        }


async def compared(
    table: Table, live: AsyncIterator[Row], rebuilt: AsyncIterator[Row]
) -> AsyncIterator[tuple[Key, Row | None, Row | None]]:
    """Both sides' rows by key, None where a side has no such row."""
    left, right = await anext(live, None), await anext(rebuilt, None)
    while left is not None or right is not None:
        key_left, key_right = _key(table, left), _key(table, right)
        if key_right is None or (key_left is not None and key_left < key_right):
            yield key_left or (), left, None
            left = await anext(live, None)
        elif key_left is None or key_right < key_left:
            yield key_right, None, right
            right = await anext(rebuilt, None)
        else:
            yield key_left, left, right
            left, right = await anext(live, None), await anext(rebuilt, None)


def differences(table: Table, key: Key, live: Row | None, rebuilt: Row | None) -> Iterator[Difference]:
    """What two rows of one key differ in."""
    if live is None or rebuilt is None:
        there = "there"
        yield Difference(table.name, key, None, live and there, rebuilt and there)
        return
    for column, value in live.items():
        other = rebuilt[column]
        same = value <= other if column in LOCKS else value == other
        if not same:
            yield Difference(table.name, key, column, plain(value), plain(other))


def plain(value: Any) -> Any:
    """A column's value as JSON has it."""
    if isinstance(value, datetime):
        return rfc3339(value)
    return str(value) if isinstance(value, UUID) else value


def key_of(table: Table, row: Row) -> Key:
    """A row's key."""
    return tuple(row[column] for column in table.key)


def _key(table: Table, row: Row | None) -> Key | None:
    return None if row is None else key_of(table, row)
