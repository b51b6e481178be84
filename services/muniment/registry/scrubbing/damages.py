"""Damage in the record: an object's row is marked, and every model that holds its bytes is told.

What is damaged is a property of the object alone. Versions and releases are damaged while one of their files refers to
a damaged object, so nothing has to be kept in step, and a version made of the same bytes later is damaged as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from muniment.contracts.events import Cause, Change, ObjectLocation
from muniment.contracts.identity import Principal
from muniment.contracts.integrity import IntegrityRestored, IntegrityViolated
from muniment.contracts.model import rfc3339
from muniment.ports.blobs import Location
from muniment.registry.bytes_check import Damage
from muniment.registry.diverging import SERVICE
from muniment.registry.scrubbing.rules import Holders, by_model, repair_hint, resource_of
from muniment.registry.store import SCRUBBING
from muniment.runtime.delivery.transaction import Transactions, Tx

log = structlog.get_logger(__name__)

VIOLATED: Final = "integrity.violated"
RESTORED: Final = "integrity.restored"
MAX_HOLDERS: Final = 10_000
"""Files that are told of one object's damage. Those beyond are damaged all the same."""
_CHANGES: Final = 90


@dataclass(frozen=True, slots=True)
class Damages:
    """Records what was found."""

    transactions: Transactions

    async def found(self, place: Location, damage: Damage) -> None:
        """Record damage that was found on the way to something else. Nothing for bytes that no version has."""
        object_id = await self.transactions.pool.fetchval(
            SCRUBBING["object_at"], place.bucket, place.key, place.version_id
        )
        if object_id is not None:
            await self.record(object_id, damage)

    async def record(self, object_id: int, damage: Damage, epoch: int | None = None) -> bool:
        """Mark an object as damaged; whether it was not before. With `epoch` only under that lease of the scrubber."""
        async with self.transactions.begin() as tx:
            row = await tx.connection.fetchrow(SCRUBBING["lock_object"], object_id)
            if row is None or (epoch is not None and row["scrub_epoch"] != epoch):
                return False
            await tx.connection.execute(SCRUBBING["mark_damaged"], object_id, tx.now, damage.code, damage.actual)
            if row["damaged_at"] is not None:
                return False
            cause = cause_of(object_id, rfc3339(tx.now))
            for held in by_model(await tx.connection.fetch(SCRUBBING["holders"], object_id, MAX_HOLDERS)):
                self.tell(tx, row, damage, held, cause)
        log.error("committed bytes are damaged", code=damage.code, expected=damage.expected, actual=damage.actual)
        return True

    async def healed(self, object_id: int, epoch: int) -> None:
        """The bytes of a damaged object are right again, where they are: the store itself has got them back."""
        async with self.transactions.begin() as tx:
            row = await tx.connection.fetchrow(SCRUBBING["lock_object"], object_id)
            if row is None or row["scrub_epoch"] != epoch:
                return
            await tx.connection.execute(SCRUBBING["mark_healed"], object_id)
            if row["damaged_at"] is not None:
                cause = cause_of(object_id, rfc3339(tx.now))
                holders = await tx.connection.fetch(SCRUBBING["holders"], object_id, MAX_HOLDERS)
                tell_restored(tx, row, location_of(row), holders, SERVICE, cause)

    @staticmethod
    def tell(tx: Tx, row: Any, damage: Damage, held: Holders, cause: Cause) -> None:
        """Tell a model of damage to what it holds; `row` is that of the object."""
        first = held.files[0]
        ref = f"{held.model}@{first.release}" if first.release else f"{held.model}/{first.version.number}"
        event = IntegrityViolated(
            model=held.model,
            operator=SERVICE.operator,
            code=damage.code,
            sha256=row["sha256"],
            size=row["size"],
            location=location_of(row),
            expected=damage.expected,
            actual=damage.actual,
            hint=repair_hint(ref, first.path),
            files=held.files,
            more=held.more,
            found_at=tx.now,
        )
        tx.emit(
            event,
            model=held.model,
            correlation=cause.id,
            identity=(held.model, str(row["id"]), rfc3339(tx.now)),
            cause=cause.id,
        )
        tx.audit(
            action=VIOLATED,
            resource=f"models/{held.model}/objects/{row['sha256']}",
            model=held.model,
            operator=SERVICE.operator,
            authenticated_by=SERVICE.authenticated_by,
            cause=cause,
            changes=_changes(held, damage.expected, damage.actual),
            reason=damage.code,
        )


def tell_restored(
    tx: Tx, damaged: Any, place: ObjectLocation, holders: Sequence[Any], by: Principal, cause: Cause
) -> None:
    """Tell every model that holds the bytes of a damaged object (its row) that good ones lie at `place`."""
    right = f"sha256:{damaged['sha256']}, {damaged['size']} B"
    for held in by_model(holders):
        event = IntegrityRestored(
            model=held.model,
            operator=by.operator,
            sha256=damaged["sha256"],
            size=damaged["size"],
            location=place,
            previous=location_of(damaged),
            files=held.files,
            more=held.more,
            restored_at=tx.now,
        )
        tx.emit(
            event,
            model=held.model,
            correlation=cause.id,
            identity=(held.model, str(damaged["id"]), place.version_id, rfc3339(damaged["damaged_at"])),
            cause=cause.id,
        )
        moved = Change(path="location", before=_plain(location_of(damaged)), after=_plain(place))
        tx.audit(
            action=RESTORED,
            resource=f"models/{held.model}/objects/{damaged['sha256']}",
            model=held.model,
            operator=by.operator,
            authenticated_by=by.authenticated_by,
            cause=cause,
            changes=[moved, *_changes(held, damaged["damage_actual"], right)],
        )


def cause_of(object_id: int, moment: str) -> Cause:
    """The cause of what the scrubber finds: the schedule, and which reading of which object."""
    return Cause(kind="schedule", id=f"scrub {object_id} {moment}")


def location_of(row: Any) -> ObjectLocation:
    """Where an object's row says that it lies."""
    return ObjectLocation(bucket=row["bucket"], key=row["key"], version_id=row["version_id"])


def _changes(held: Holders, before: str, after: str) -> list[Change]:
    """A change for each file, as many as an entry takes; the event names them all."""
    changes = [Change(path=resource_of(file), before=before, after=after) for file in held.files[:_CHANGES]]
    rest = len(held.files) - len(changes) + held.more
    return [*changes, Change(path="more_files", after=rest)] if rest else changes


def _plain(place: ObjectLocation) -> dict[str, str]:
    return {"bucket": place.bucket, "key": place.key, "version_id": place.version_id}
