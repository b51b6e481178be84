"""Deleting a version: a tombstone with a reason. Its row, number, manifest and lineage stay; its bytes may go.

What refuses it: a branch whose head it is (closed ones too), a pointer to it, a deployment that is started or running.
What does not: a version made from it, since the link between them is lineage and stays; a release of it, since a
release is a copy of its own whose bytes are never collected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from muniment.contracts.errors import Conflict, Gone
from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.ids import ModelName
from muniment.contracts.model import Payload, Reason, Word
from muniment.registry.changing import Changes
from muniment.registry.pointers import version_deleted
from muniment.registry.store import LINEAGE


class Deletion(Payload):
    """Which version, and why."""

    ref: Word
    reason: Reason


@dataclass(frozen=True, slots=True)
class Deleting:
    """The verb."""

    changes: Changes

    async def delete(self, model: ModelName, wanted: Deletion, by: Principal, cause: Cause) -> str:
        """Bury a version; returns a reference to it.

        Raises `Conflict` (`version_needed`, audited as refused; `version_deleted`; `release_stays` where a release is
        named), `Rejected` (`reference_elsewhere`).
        """
        async with self.changes.of(model, by, cause) as change:
            row = await change.version(wanted.ref)
            if row["release"] is not None:
                raise _release_stays(row)
            if row["deleted_at"] is not None:
                raise version_deleted(row)
            number = row["number"]
            needs = await change.connection.fetch(LINEAGE["needed_by"], change.model.id, number)
            if needs:
                change.audit("version.deleted", f"versions/{number}", reason=wanted.reason, refused=True)
            else:
                await change.connection.execute(
                    LINEAGE["bury"], change.model.id, number, wanted.reason, by.operator, change.tx.now
                )
                changes = [Change(path=f"versions/{number}", before=row["id"])]
                change.tell("version-deleted", changes, version=row["id"], number=number, reason=wanted.reason)
                change.audit("version.deleted", f"versions/{number}", changes, reason=wanted.reason)
        if needs:
            raise _needed(f"{row['model']}/{number}", needs)
        return f"{row['model']}/{number}"


def _release_stays(row: Any) -> Conflict:
    """Who names a release means the release, and not the version that it was copied from."""
    version = f"{row['model']}/{row['number']}"
    return Conflict(
        "release_stays",
        f"{row['model']}@{row['release']} is a release, and a release is never deleted",
        expected="a version by its number, branch, pointer or digest",
        actual=f"the release {row['release']} of {version}",
        hint=f"muniment versions delete {version} --reason TEXT deletes the version it is a copy of; the release stays",
    )


def _needed(ref: str, needs: Sequence[Any]) -> Conflict:
    said = [f"{need['kind']} {need['name']}" + (f" by {need['by']}" if need["by"] else "") for need in needs]
    return Conflict(
        "version_needed",
        f"{ref} is needed",
        expected="a version that no branch begins at, no pointer names and no deployment runs",
        actual=", ".join(said),
        hint="move the branches and pointers elsewhere, and report the deployments stopped",
        details={"needed_by": [{name: value for name, value in need.items() if value is not None} for need in needs]},
    )


def deletion_of(row: Any) -> dict[str, Any] | None:
    """`{"at", "by", "reason"}` of a deleted version's row (`deleted_at`, `deleted_by`, `deleted_reason`)."""
    if row["deleted_at"] is None:
        return None
    return {"at": row["deleted_at"], "by": row["deleted_by"], "reason": row["deleted_reason"]}


def bytes_gone(row: Any) -> Gone:
    """What is answered to who wants a deleted version's files."""
    return Gone(
        "version_deleted",
        f"{row['model']}/{row['number']} was deleted",
        expected="a version that is there",
        actual=f"deleted by {row['deleted_by']}: {row['deleted_reason']}",
        hint="its manifest and lineage are still there; a release of it, too",
    )
