"""Counts refused attempts, by request or by event, so that a flood of them makes few audit entries.

The first ones of one operator, operation and code in a minute have an entry each. Those beyond are counted, in the
transaction that records them otherwise, and `RefusalSums` tells how many they were once the minute is over.
"""

from __future__ import annotations

from typing import Final

from muniment.runtime.delivery.refusal_rules import has_own_entry, minute_of
from muniment.runtime.delivery.transaction import Tx
from muniment.runtime.sql import load_queries

SQL: Final = load_queries("muniment.runtime.delivery", "refusals")


async def count_refusal(
    tx: Tx, *, operator: str, authenticated_by: str, operation: str, code: str, resource: str
) -> bool:
    """Count one refusal; whether it is among the first of its minute, and so has an entry of its own.

    `resource` is what the sum's entry names, if it comes to one: that of the minute's first refusal.
    """
    count = await tx.connection.fetchval(
        SQL["count_refusal"], operator, authenticated_by, operation, code, minute_of(tx.now), resource
    )
    return has_own_entry(count)
