"""Judging a version's signature again: keys come to be trusted, and cease to be. Each new outcome stays as a row."""

from __future__ import annotations

from dataclasses import dataclass

from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.ids import ModelName
from muniment.contracts.model import Line, Payload, Word
from muniment.contracts.oms.trust import Trust
from muniment.ports.blobs import BlobStore
from muniment.ports.clock import Clock
from muniment.registry.changing import Changes
from muniment.registry.deleting import bytes_gone
from muniment.registry.long_values import whole
from muniment.registry.references import find_version
from muniment.registry.release_records import version_files
from muniment.registry.signature_reads import signature_of
from muniment.registry.signatures import judged
from muniment.registry.store import write_signatures

ACTION = "version.signature_checked"


class SignatureCheck(Payload):
    """Which version."""

    ref: Word
    reason: Line | None = None


@dataclass(frozen=True, slots=True)
class SignatureChecks:
    """The verb."""

    changes: Changes
    blobs: BlobStore
    clock: Clock
    trust: Trust

    async def check(self, model: ModelName, wanted: SignatureCheck, by: Principal, cause: Cause) -> str:
        """Judge a version's signature; returns a reference to the version. The outcome it has already changes nothing.

        Raises `Rejected` (`reference_elsewhere`, `bytes_missing`), `Gone` (`version_deleted`).
        """
        row = await find_version(self.changes.pool, wanted.ref)
        if row["deleted_at"] is not None:
            raise bytes_gone(row)
        ref = f"{row['model']}/{row['number']}"
        # A version's files never change, so they can be judged before its model's row is held.
        now = await judged(self.blobs, await version_files(self.changes.pool, row), self.trust, self.clock.now())
        if now.status == "unsigned":
            return ref
        async with self.changes.of(model, by, cause) as change:
            row = await change.version(ref)
            known = await signature_of(change.connection, row)
            facts = now.as_json()
            before = {name: value for name, value in known.items() if name != "judged_at" and value}
            if before == facts:
                return ref
            await write_signatures(change.tx, [(change.model.id, row["number"], now)])
            changes = [Change(path="before", after=before), *whole({"signature": facts})]
            number = row["number"]
            change.tell("version-checked", changes, version=row["id"], number=number, reason=wanted.reason)
            change.audit(ACTION, f"versions/{number}", changes, reason=wanted.reason)
        return ref
