"""The audit log over HTTP, for auditors: the tree's head, entries by index, and searches."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from muniment.audit.store import MAX_INDEX, AuditLog, Search, StoredEntry, StoredHead
from muniment.contracts.cloudevent import check_time
from muniment.contracts.errors import Rejected
from muniment.contracts.identity import Principal
from muniment.contracts.strict_json import check_text
from muniment.runtime.http.auth import role
from muniment.runtime.http.pages import Page, page_of
from muniment.runtime.http.routes import Routes

Auditor = Annotated[Principal, Depends(role("auditor"))]
Paged = Annotated[Page, Depends(page_of)]
Word = Annotated[str | None, Query(max_length=256)]
Line = Annotated[str | None, Query(max_length=2000)]
Moment = Annotated[str | None, Query(max_length=40, description="RFC 3339, e.g. 2026-05-17T12:00:00Z")]
Index = Annotated[int | None, Query(ge=-1, lt=MAX_INDEX)]


def router(log: AuditLog) -> APIRouter:
    """The routes, all for auditors alone: the log tells what everyone did."""
    routes = Routes(prefix="/audit", tags=["audit"])

    @routes.get("/head")
    async def audit_head(_: Auditor) -> dict[str, Any]:
        """The newest head of the tree: its size (entries) and RFC 6962 root hash."""
        return _head(await log.head())

    @routes.get("/entries")
    async def list_audit_entries(
        _: Auditor,
        page: Paged,
        model: Word = None,
        action: Word = None,
        operator: Word = None,
        resource: Line = None,
        correlation: Annotated[str | None, Query(max_length=1024, description="a publication's id")] = None,
        outcome: Literal["done", "refused"] | None = None,
        since: Moment = None,
        until: Moment = None,
        after_index: Index = None,
        order: Literal["oldest", "newest"] = "oldest",
    ) -> dict[str, Any]:
        """Entries that match every filter, oldest first unless asked otherwise.

        `since` (included) and `until` (not) bound the log time, `after_index` the index: to follow the log, ask for
        what comes after the last index you have.
        """
        for text in (model, action, operator, resource, correlation):
            check_text(text or "")  # a NUL is nothing that the database could look for
        previous = page.after(int)
        search = Search(
            model=model,
            action=action,
            operator=operator,
            resource=resource,
            correlation=correlation,
            outcome=outcome,
            since=moment_of("since", since),
            until=moment_of("until", until),
            after_index=after_index,
            oldest_first=order == "oldest",
            previous=None if previous is None else previous[0],
        )
        rows = await log.search(search, limit=page.fetch)
        return page.answer(rows, item=_entry, key=lambda row: (row.index,))

    @routes.get("/entries/{index}")
    async def get_audit_entry(_: Auditor, index: int) -> dict[str, Any]:
        """One entry, and `covered_by`: the head under which it became part of the log."""
        found, covering = await log.entry(index)
        return {**_entry(found), "covered_by": _head(covering)}

    return routes


def _entry(row: StoredEntry) -> dict[str, Any]:
    """As on the audit-log topic: `entry`'s RFC 8785 text is what `leaf_hash` is the hash of."""
    return {
        "index": row.index,
        "leaf_hash": row.leaf_hash.hex(),
        "tree_size": row.index + 1,
        "root_hash": row.root_hash.hex(),
        "entry": json.loads(row.data),
    }


def _head(head: StoredHead) -> dict[str, Any]:
    return {"size": head.size, "root_hash": head.root.hex()}


def moment_of(name: str, text: str | None) -> datetime | None:
    """The time of a query parameter. Raises `Rejected` (`time_invalid`)."""
    if text is None:
        return None
    try:
        return check_time(text)
    except Rejected as error:
        raise Rejected(
            "time_invalid",
            f"{name} is not a time",
            expected="RFC 3339 with a zone, such as 2026-05-17T12:00:00Z",
            actual=repr(text),
            hint="in a query a plus sign is written %2B",
        ) from error
