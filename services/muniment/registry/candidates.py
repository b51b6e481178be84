"""Candidates: validated publications that wait for a person, who commits or refuses each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from muniment.contracts import ids, strict_json
from muniment.contracts.codec import parse
from muniment.contracts.errors import Conflict, NotFound, Rejected
from muniment.contracts.events import Cause, Change, ModelValidated, RegistryChanged, Tags
from muniment.contracts.identity import Principal
from muniment.contracts.model import BranchField, Payload, Prose, Reason, Word
from muniment.registry.commits import record
from muniment.registry.domain import Commit, Refused, draft
from muniment.registry.handlers import CommitValidated
from muniment.registry.store import SQL
from muniment.runtime.delivery.transaction import Transactions, Tx


class Decision(Payload):
    """What a person says of a candidate. What is left out stays as the publisher gave it; tags are added."""

    tags: Tags = {}
    description: Prose | None = None
    experiment_id: Word | None = None
    branch: BranchField | None = None
    track: Word | None = None


class Refusal(Payload):
    """Why a candidate is not to become a version."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Candidates:
    """Decides candidates. Each decision is one transaction with its audit entry."""

    transactions: Transactions
    committing: CommitValidated

    async def commit(self, publication_id: str, decision: Decision, by: Principal, cause: Cause) -> str:
        """Make the candidate a version; returns the version's id. Doing it again returns the same id.

        Raises `NotFound` (`candidate_not_found`), `Conflict` (`candidate_refused`), and what a commit may be
        refused for; the candidate keeps waiting then, so that the person can correct the decision.
        """
        row = await self._row(publication_id)
        if row["state"] == "committed":
            return str(row["version_id"])
        if row["state"] == "refused":
            raise _refused_before(publication_id, row["reason"])
        publication = decided(parse(ModelValidated, strict_json.loads(row["publication"], max_bytes=2**24)), decision)
        made = draft(publication, await self.committing.tracks.all(knowing=publication.track))
        await self.committing.check(made, patient=False)
        sealed = await self.committing.sealer.seal(made)
        async with self.transactions.begin() as tx:
            locked = await tx.connection.fetchrow(SQL["lock_candidate"], UUID(publication_id))
            if locked is not None and locked["state"] == "committed":
                return str(locked["version_id"])
            if locked is None or locked["state"] != "waiting":
                raise _refused_before(publication_id, None)
            commit = Commit(sealed, by.operator, by.authenticated_by, f"request {cause.id}")
            plan = await record(tx, [commit], [cause])
            outcome = plan.outcomes[0]
            if isinstance(outcome, Refused):
                raise outcome.error  # rolls back: nothing was decided
            await self._decide(tx, publication_id, row["model"], "committed", by, cause, None, made.id)
        return made.id

    async def refuse(self, publication_id: str, reason: str, by: Principal, cause: Cause) -> None:
        """End the candidate without a version. Doing it again changes nothing."""
        async with self.transactions.begin() as tx:
            row = await tx.connection.fetchrow(SQL["lock_candidate"], UUID(publication_id))
            if row is None:
                raise _not_found(publication_id)
            if row["state"] == "refused":
                return
            if row["state"] == "committed":
                raise Conflict(
                    "candidate_committed", "the candidate is a version already", actual=str(row["version_id"])
                )
            full = await tx.connection.fetchrow(SQL["candidate"], UUID(publication_id))
            assert full is not None  # noqa: S101  # reason: its row is locked
            await self._decide(tx, publication_id, full["model"], "refused", by, cause, reason, None)
            tx.emit(
                RegistryChanged(
                    kind="candidate-refused",
                    model=full["model"],
                    operator=by.operator,
                    publication_id=ids.publication_id(publication_id),
                    changes=(
                        Change(path="state", before="waiting", after="refused"),
                        Change(path="reason", after=reason),
                    ),
                ),
                model=full["model"],
                correlation=publication_id,
                identity=("candidate-refused", publication_id),
                cause=cause.id,
            )

    async def _decide(
        self,
        tx: Tx,
        publication_id: str,
        model: str,
        state: str,
        by: Principal,
        cause: Cause,
        reason: str | None,
        version_id: str | None,
    ) -> None:
        await tx.connection.execute(
            SQL["decide_candidate"], UUID(publication_id), state, tx.now, by.operator, reason, version_id
        )
        tx.audit(
            action=f"candidate.{state}",
            resource=f"publications/{publication_id}",
            model=model,
            operator=by.operator,
            authenticated_by=by.authenticated_by,
            cause=cause,
            changes=[
                Change(path="state", before="waiting", after=state),
                *([] if version_id is None else [Change(path="version", after=version_id)]),
            ],
            reason=reason,
            correlation=publication_id,
        )

    async def _row(self, publication_id: str) -> Any:
        row = await self.transactions.pool.fetchrow(SQL["candidate"], UUID(publication_id))
        if row is None:
            raise _not_found(publication_id)
        return row


def decided(publication: ModelValidated, decision: Decision) -> ModelValidated:
    """The publication as the person wants it committed."""
    changed: dict[str, Any] = {"tags": {**publication.tags, **decision.tags}, "commit": "auto"}
    for name in ("description", "branch", "track"):
        if (value := getattr(decision, name)) is not None:
            changed[name] = value
    if decision.experiment_id is not None:
        changed["facts"] = publication.facts.model_copy(update={"experiment_id": decision.experiment_id})
    return publication.model_copy(update=changed)


def _not_found(publication_id: str) -> NotFound:
    return NotFound(
        "candidate_not_found",
        "no candidate has this publication id",
        actual=publication_id,
        hint="muniment candidates ls",
    )


def _refused_before(publication_id: str, reason: str | None) -> Rejected:
    return Conflict(
        "candidate_refused", f"the candidate was refused: {reason or 'by someone else'}", actual=publication_id
    )
