"""Stored rows held against the digest that the log has of them, where the log has not the rows themselves. Pure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from muniment.registry.rebuilding.comparing import Difference, Key, Row, Table, key_of, plain
from muniment.registry.rebuilding.history import Told
from muniment.registry.told_rows import Cells, RowsDigest, edge_cells, measurement_cells

CELLS: Final[Mapping[str, Callable[[Row], Cells]]] = {
    "measurement": lambda row: measurement_cells(
        row["metric"], row["value"], row["unit"], row["dataset"], row["slice"], row["measured_at"]
    ),
    "external_edge": lambda row: edge_cells(row["way"], row["name"], row["digest"]),
}
"""The tables that have such rows, and which cells of theirs the digest is of. The first two columns of the key tell
which entry a row is of."""


async def without_digested(
    table: Table, rows: AsyncIterator[Row], digested: Mapping[Key, Told], met: Callable[[int, list[Difference]], None]
) -> AsyncIterator[Row]:
    """The rows whose entries hold them. `met` hears of the others: (1, what differs) of a row, (0, ...) of an entry."""
    left = dict(digested)
    group: Key | None = None
    expected: Told | None = None
    digest = RowsDigest()
    async for row in rows:
        key = key_of(table, row)
        if key[:2] != group:
            if expected is not None and group is not None:
                met(0, _differences(table, group, expected, digest))
            group, expected, digest = key[:2], left.pop(key[:2], None), RowsDigest()
        if expected is None:
            yield row
            continue
        digest.add(CELLS[table.name](row))
        found = [
            Difference(table.name, key, column, plain(row[column]), plain(value))
            for column, value in expected.common.items()
            if plain(row[column]) != plain(value)
        ]
        met(1, found)
    if expected is not None and group is not None:
        met(0, _differences(table, group, expected, digest))
    for key, missing in left.items():
        met(0, _differences(table, key, missing, RowsDigest()))


def _differences(table: Table, key: Key, expected: Told, found: RowsDigest) -> list[Difference]:
    sha256 = found.hexdigest() if found.count and expected.sha256 is not None else None
    if (found.count, sha256) == (expected.count, expected.sha256):
        return []
    live, rebuilt = _words(found.count, sha256), _words(expected.count, expected.sha256)
    return [Difference(table.name, key, "rows", live, rebuilt)]


def _words(count: int, sha256: str | None) -> str:
    return f"{count} rows" + (f", sha256 {sha256}" if sha256 else "")
