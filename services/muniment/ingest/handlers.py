"""What ingest does with events: the way in, and the later topics that tell how publications fare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from muniment.contracts.errors import Conflict
from muniment.contracts.events import ModelRejected, ModelTrained, TrainingCompleted, VersionAvailable
from muniment.contracts.identity import Author, check_operator
from muniment.contracts.ids import PublicationId, publication_id_of
from muniment.contracts.integrity import IntegrityRestored, IntegrityViolated
from muniment.contracts.model import Payload
from muniment.ingest import announcements, domain, stages
from muniment.ingest.domain import Declaration, Refusal
from muniment.ingest.files import FileFinder, missing_bytes
from muniment.ingest.records import NewPublication
from muniment.ingest.stages import Advance
from muniment.ingest.store import Store
from muniment.ingest.waiting import Waiters
from muniment.runtime.delivery.handler import Handler, SimpleHandler
from muniment.runtime.delivery.incoming import Incoming
from muniment.runtime.delivery.transaction import Tx
from muniment.runtime.identity.producers import Producers

E = TypeVar("E", bound=Payload)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An attributed publication and the event that it leads to."""

    id: PublicationId
    author: Author
    declaration: Declaration
    event: ModelTrained | ModelRejected


@dataclass(frozen=True)
class TrainingCompletedHandler(Handler[TrainingCompleted, Prepared]):
    """Takes publications from Kafka.

    What can be attributed ends as a publication: trained or rejected. What cannot (no valid signature, somebody else's
    name in the payload, an id that was used before) is a dead letter, so that nobody takes an id from its owner.
    """

    producers: Producers
    files: FileFinder
    store: Store

    async def prepare(self, item: Incoming[TrainingCompleted]) -> Prepared:
        """Who produced it, and where its files are."""
        author = await self.producers.author_of(item)
        check_operator(item.data.operator, author)
        declaration = Declaration.of(item.data)
        publication_id = publication_id_of(item.event.source, item.event.id)
        return Prepared(publication_id, author, declaration, await self._judge(publication_id, declaration, author))

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[TrainingCompleted], Prepared]]) -> None:
        """Record the publications in one statement, and say what became of each."""
        first: dict[str, tuple[Incoming[TrainingCompleted], Prepared]] = {}
        for item, prepared in items:
            first.setdefault(prepared.id, (item, prepared))
        inserted = await self.store.insert(tx.connection, [_new(*pair) for pair in first.values()], tx.now)
        repeated = [one for _, one in items if one.id not in inserted or first[one.id][1] is not one]
        if repeated:
            await self._check_same(tx, repeated)
        for item, prepared in first.values():
            if prepared.id in inserted:
                _announce(tx, item, prepared)

    async def _judge(
        self, publication_id: PublicationId, declaration: Declaration, author: Author
    ) -> ModelTrained | ModelRejected:
        declared = declaration.declared
        found = domain.check(declaration) or await self.files.pin(declared.files)
        if isinstance(found, Refusal):
            return domain.rejected(publication_id, declared, author, found)
        if found.missing:
            return domain.rejected(publication_id, declared, author, missing_bytes(found.missing[0]))
        return domain.trained(publication_id, declared, author, found.files)

    async def _check_same(self, tx: Tx, repeated: Sequence[Prepared]) -> None:
        """Raise `Conflict` (`publication_conflict`) if an id stands for another publication: the first one holds."""
        known = await self.store.known(tx.connection, [prepared.id for prepared in repeated])
        for prepared in repeated:
            if known[prepared.id] != (prepared.author.operator, prepared.declaration.sha256):
                raise Conflict(
                    "publication_conflict",
                    "an event with this source and id was published before with other content or by another operator",
                    actual=prepared.id,
                    hint="give each event an id of its own",
                ).by(prepared.author.operator, prepared.author.authenticated_by)


def _new(item: Incoming[TrainingCompleted], prepared: Prepared) -> NewPublication:
    event = prepared.event
    accepted = isinstance(event, ModelTrained)
    return NewPublication(
        id=prepared.id,
        declaration=prepared.declaration,
        author=prepared.author,
        stage="trained" if accepted else "rejected",
        cause=item.event.id,
        files=event.files if isinstance(event, ModelTrained) else (),
        rejection=stages.rejection_of(event) if isinstance(event, ModelRejected) else None,
        event_source=item.event.source,
        event_id=item.event.id,
    )


def _announce(tx: Tx, item: Incoming[TrainingCompleted], prepared: Prepared) -> None:
    digest = prepared.declaration.sha256
    if isinstance(prepared.event, ModelTrained):
        announcements.accepted(tx, prepared.event, prepared.author, item.cause, digest=digest, before=None)
    else:
        announcements.refused(tx, prepared.event, prepared.author, item.cause, digest=digest)


@dataclass(frozen=True)
class StageHandler(SimpleHandler[E]):
    """Keeps the stage of publications from one of the later topics.

    `advance_of` says what an event means for its publication, or None. Events of unknown publications change nothing:
    they are of another region, or older than the database.
    """

    idempotent = True  # a stage only rises

    store: Store
    waiters: Waiters
    advance_of: Callable[[E, str], Advance | None]

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[E], None]]) -> None:
        """Bring all publications of the batch forward in one statement."""
        told = (self.advance_of(item.data, item.event.id) for item, _ in items)
        advances = stages.join(advance for advance in told if advance is not None)
        if not advances:
            return
        reached = await self.store.advance(tx.connection, advances, tx.now)
        settled = [one for one, stage in reached.items() if stage in stages.SETTLED]
        tx.after_commit(lambda: self.waiters.wake(settled))


class RejectedHandler(StageHandler[ModelRejected]):
    """Rejected ones end; held bytes that the validator found fault with are not relied on again."""

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[ModelRejected], None]]) -> None:
        """As for any stage; and forget held bytes."""
        await super().apply(tx, items)
        doubted = [item.data.publication_id for item, _ in items if item.data.stage == "validation"]
        if doubted:
            await self.store.forget_held_by_rejected(tx.connection, doubted)


class DamagedHandler(SimpleHandler[IntegrityViolated]):
    """Held bytes that are damaged are not relied on: the next publication of them brings good ones, and so repairs."""

    idempotent = True

    def __init__(self, store: Store) -> None:
        self._store = store

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[IntegrityViolated], None]]) -> None:
        """Forget where they are."""
        places = {(item.data.sha256, item.data.location.version_id) for item, _ in items}
        await self._store.forget_damaged(tx.connection, sorted(places))


class RestoredHandler(SimpleHandler[IntegrityRestored]):
    """Good bytes with a damaged one's digest are held again, where they are now."""

    idempotent = True

    def __init__(self, store: Store) -> None:
        self._store = store

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[IntegrityRestored], None]]) -> None:
        """Forget the damaged place, learn the good one."""
        told = [item.data for item, _ in items]
        before = {(one.sha256, one.previous.version_id) for one in told if one.previous != one.location}
        await self._store.forget_damaged(tx.connection, sorted(before))
        await self._store.hold(tx.connection, told)


class AvailableHandler(StageHandler[VersionAvailable]):
    """Committed ones end; where their bytes are is learnt, so that equal files need no second upload."""

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[VersionAvailable], None]]) -> None:
        """As for any stage; and learn held bytes."""
        await super().apply(tx, items)
        await self.store.hold(tx.connection, [file for item, _ in items for file in item.data.files])
