"""What the registry does with validated publications: commit them, or keep them as candidates for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muniment.contracts.canonical import sha256_hex
from muniment.contracts.errors import Rejected, Transient
from muniment.contracts.events import Change, ModelValidated, RegistryChanged
from muniment.contracts.ids import model_key
from muniment.registry.commits import record, reject
from muniment.registry.domain import (
    Commit,
    Draft,
    Sealed,
    branch_refusal,
    deleted_before,
    draft,
    name_conflict,
    parent_unknown,
    reproduces_unknown,
)
from muniment.registry.sealing import Sealer
from muniment.registry.store import SQL, known_versions
from muniment.registry.tracks import Tracks
from muniment.runtime.delivery.handler import Handler
from muniment.runtime.delivery.incoming import Incoming
from muniment.runtime.delivery.transaction import Transactions, Tx

_PARENT_PATIENCE = 7
"""Attempts for which a child waits for a parent that may still be on its way: a little over three minutes."""


@dataclass(frozen=True, slots=True)
class CommitValidated(Handler[ModelValidated, Sealed | None]):
    """model-validated: seal the bytes, then record the version. One that waits for a person becomes a candidate."""

    sealer: Sealer
    tracks: Tracks
    transactions: Transactions

    async def prepare(self, item: Incoming[ModelValidated]) -> Sealed | None:
        """Seal the draft in the store; nothing for a candidate."""
        publication = item.data
        if publication.commit == "manual":
            return None
        made = draft(publication, await self.tracks.all(knowing=publication.track))
        await self.check(made, patient=item.attempt <= _PARENT_PATIENCE)
        return await self.sealer.seal(made)

    async def check(self, made: Draft, *, patient: bool) -> None:
        """Refuse before anything is locked what the transaction would refuse anyway: a lock cannot be taken back.

        Raises `Rejected`, or `Transient` (`parent_not_yet_known`) while a parent may still be on its way.
        """
        publication = made.publication
        stands = await self.transactions.pool.fetchrow(
            SQL["standing"], model_key(publication.model), publication.branch, made.id
        )
        if stands is not None:
            if stands["name"] != publication.model:
                raise name_conflict(publication.model, stands["name"])
            if stands["deleted_number"] is not None:
                raise deleted_before(publication.model, stands["deleted_number"])
            error = branch_refusal(
                publication.branch,
                is_pointer=stands["is_pointer"],
                closed=stands["closed"],
                protected=stands["protected"],
            )
            if error is not None and not stands["is_there"]:
                raise error
        parents = [parent.id for parent in publication.facts.parents]
        original = publication.reproduces
        if not parents and original is None:
            return
        known = await known_versions(self.transactions.pool, [*parents, *([original] if original else [])])
        if original is not None and original not in known:
            raise reproduces_unknown(original)
        for parent in parents:
            if parent not in known:
                if patient:
                    raise Transient("parent_not_yet_known", "a parent is not committed yet", expected=parent)
                raise parent_unknown(parent)

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[ModelValidated], Sealed | None]]) -> None:
        """Record versions and candidates."""
        sealed = [(item, seal) for item, seal in items if seal is not None]
        commits = [
            Commit(seal, item.data.operator, item.data.authenticated_by, f"event {item.event.id}")
            for item, seal in sealed
        ]
        if commits:
            await record(tx, commits, [item.cause for item, _ in sealed])
        candidates = [item for item, seal in items if seal is None]
        if candidates:
            await _keep_candidates(tx, candidates)

    async def reject(self, tx: Tx, item: Incoming[ModelValidated], error: Rejected) -> None:
        """End the publication in a rejection."""
        publication = item.data
        reject(
            tx,
            publication,
            error,
            operator=publication.operator,
            authenticated_by=publication.authenticated_by,
            cause=item.cause,
        )


async def _keep_candidates(tx: Tx, items: Sequence[Incoming[ModelValidated]]) -> None:
    texts = [item.data.model_dump_json(exclude_none=True).encode() for item in items]
    await tx.connection.execute(
        SQL["insert_candidate"],
        [item.data.publication_id for item in items],
        [item.data.model for item in items],
        [item.data.operator for item in items],
        texts,
        tx.now,
    )
    for item, text in zip(items, texts, strict=True):
        publication = item.data
        changes = (Change(path="state", after="waiting"),)
        tx.emit(
            RegistryChanged(
                kind="candidate-added",
                model=publication.model,
                operator=publication.operator,
                publication_id=publication.publication_id,
                branch=publication.branch,
                changes=changes,
            ),
            model=publication.model,
            correlation=publication.publication_id,
            identity=("candidate-added", publication.publication_id),
            cause=item.event.id,
        )
        tx.audit(
            action="candidate.added",
            resource=f"publications/{publication.publication_id}",
            model=publication.model,
            operator=publication.operator,
            authenticated_by=publication.authenticated_by,
            cause=item.cause,
            changes=(*changes, Change(path="publication", after=f"sha256:{sha256_hex(text)}")),
            correlation=publication.publication_id,
        )
