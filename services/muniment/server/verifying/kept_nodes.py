"""The hashes that Postgres keeps for proofs, against the entries: of each full tile the nodes below its root.

Nothing is decided by them, for each proof is tried before it is handed out; but one that was changed makes all proofs
fail that need it, and this names it.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from muniment.server.verifying.mirrors import SQL, Progress
from muniment.verifier.hashing import node_hash
from muniment.verifier.report import Finding
from muniment.verifier.tiles import hashes_of
from muniment.verifier.tree import WIDTH

if TYPE_CHECKING:
    import asyncpg

NODES = "tile_nodes"


async def verify_nodes(connection: asyncpg.Connection[Any], progress: Progress) -> tuple[int, Finding | None]:
    """How many tiles were compared, and the first that differs: its index is that of the first entry below it."""
    count = 0
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for row in connection.cursor(SQL["every_nodes"], prefetch=50):
            if (finding := _differs(row)) is not None:
                return count, finding
            count += 1
            progress(NODES, count)
    return count, None


def _differs(row: asyncpg.Record) -> Finding | None:
    hashes, where = row["hashes"] or b"", f"tile {row['index']} of level {row['level']}"
    first = row["index"] * WIDTH ** (row["level"] + 1)
    if len(hashes) != WIDTH * 32:
        message = f"the kept nodes of {where} have no full tile below them"
        return Finding(NODES, first, "nodes_differ", message, f"{WIDTH} hashes", f"{len(hashes) // 32} hashes")
    rows = [hashes_of(hashes, WIDTH)]
    while len(rows[-1]) > 1:
        rows.append([node_hash(left, right) for left, right in zip(rows[-1][::2], rows[-1][1::2], strict=True)])
    *below, (root,) = rows
    expected, kept = list(chain(*below)), bytes(row["nodes"])
    for place, one in enumerate(expected):
        if (found := kept[32 * place : 32 * place + 32]) != one:
            message = f"a kept node of {where} is not the hash of what is below it"
            return Finding(NODES, first, "nodes_differ", message, one.hex(), found.hex())
    if row["root"] is not None and bytes(row["root"]) != root:
        message = f"the kept root of {where} is not the hash of what is below it"
        return Finding(NODES, first, "root_differs", message, root.hex(), bytes(row["root"]).hex())
    return None
