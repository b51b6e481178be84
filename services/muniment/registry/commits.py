"""Recording sealed drafts: lock the models' rows, decide, write, emit. All in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from muniment.contracts.errors import Rejected
from muniment.contracts.events import (
    Authentication,
    Cause,
    Change,
    ModelRejected,
    ModelValidated,
    ObjectLocation,
    RegistryChanged,
    VersionAvailable,
    VersionFile,
)
from muniment.contracts.ids import printable
from muniment.registry.baselines import Baseline, load_baselines, told
from muniment.registry.domain import Commit, Matched, NewVersion, Plan, plan
from muniment.registry.long_values import whole
from muniment.registry.reproductions import judge_reproductions
from muniment.registry.scrubbing.repairs import offer
from muniment.registry.store import load_state, write_moves, write_versions
from muniment.runtime.delivery.transaction import Tx
from muniment.runtime.stop_point import reached


async def record(tx: Tx, commits: Sequence[Commit], causes: Sequence[Cause]) -> Plan:
    """Record the commits in order, one cause each; the outcomes come in the same order.

    Holds the models' row locks until the transaction ends, so numbers and heads have one order for each model.
    """
    state = await load_state(tx, commits)
    decided = plan(state, commits)
    await write_versions(tx, decided.new)
    await write_moves(tx, decided)
    await offer(tx, [outcome for outcome in decided.outcomes if isinstance(outcome, Matched)])
    baselines = await load_baselines(tx, decided.new)
    for outcome, cause in zip(decided.outcomes, causes, strict=True):
        if isinstance(outcome, NewVersion):
            _announce(tx, outcome, cause, baselines.get(outcome.model.id))
        elif isinstance(outcome, Matched):
            _announce_match(tx, outcome, cause)
        else:
            commit = outcome.commit
            reject(
                tx,
                commit.sealed.draft.publication,
                outcome.error,
                operator=commit.operator,
                authenticated_by=commit.authenticated_by,
                cause=cause,
            )
    await judge_reproductions(tx, decided, causes)
    reached("registry.recorded")
    return decided


def reject(
    tx: Tx,
    publication: ModelValidated,
    error: Rejected,
    *,
    operator: str,
    authenticated_by: Authentication,
    cause: Cause,
) -> None:
    """End a publication in a rejection: the event and the entry."""
    tx.emit(
        ModelRejected(
            publication_id=publication.publication_id,
            model=publication.model,
            operator=operator,
            stage="commit",
            code=error.code,
            message=printable(error.message),
            expected=None if error.expected is None else printable(error.expected),
            actual=None if error.actual is None else printable(error.actual),
            hint=None if error.hint is None else printable(error.hint),
        ),
        model=publication.model,
        correlation=publication.publication_id,
        identity=("commit", publication.publication_id),
        cause=cause.id,
    )
    tx.audit(
        action="commit.rejected",
        resource=f"publications/{publication.publication_id}",
        model=publication.model,
        operator=operator,
        authenticated_by=authenticated_by,
        cause=cause,
        refused=True,
        reason=printable(f"{error.code}: {error}"),
        correlation=publication.publication_id,
    )


def _announce(tx: Tx, new: NewVersion, cause: Cause, baseline: Baseline | None) -> None:
    draft = new.commit.sealed.draft
    publication = draft.publication
    manifest = new.commit.sealed.manifest
    resource = f"models/{publication.model}/versions/{new.number}"
    files = tuple(VersionFile(**file.model_dump(exclude={"findings"})) for file in publication.files)
    tx.emit(
        VersionAvailable(
            publication_id=publication.publication_id,
            model=publication.model,
            number=new.number,
            id=draft.id,
            branch=publication.branch,
            previous=new.previous.id if new.previous else None,
            stability=new.stability,
            track=draft.track.name,
            operator=new.commit.operator,
            committed_at=tx.now,
            description=publication.description,
            tags=publication.tags,
            metrics=publication.facts.metrics,
            **told(baseline, publication.facts.metrics),
            manifest=ObjectLocation.model_validate(manifest, from_attributes=True),
            files=files,
        ),
        model=publication.model,
        correlation=publication.publication_id,
        identity=(draft.id,),
        cause=cause.id,
        subject=resource,
    )
    if new.first_of_model:
        created = [Change(path="name", after=publication.model)]
        _entry(tx, new.commit, cause, "model.created", f"models/{publication.model}", created)
    if new.first_of_branch:
        branch = f"models/{publication.model}/branches/{publication.branch}"
        _entry(tx, new.commit, cause, "branch.created", branch, [Change(path="head", after=draft.id)])
    head = new.previous.id if new.previous else None
    changes = [
        Change(path="version", after=draft.id),
        Change(path="number", before=new.number - 1 or None, after=new.number),
        Change(path=f"branches/{publication.branch}", before=head, after=draft.id),
        Change(path="track", after=draft.track.name),
        Change(path="files", after=len(publication.files)),
        # What neither the manifest nor the entry's other fields say: with these the row can be made again.
        Change(path="stability", after=new.stability),
        Change(path="manifest", after={"bucket": manifest.bucket, "version_id": manifest.version_id}),
    ]
    signature = new.commit.sealed.signature
    said = {"description": publication.description, "tags": publication.tags, "signature": signature.as_json()}
    if signature.status == "unsigned":
        del said["signature"]
    changes += whole({path: value for path, value in said.items() if value})
    _entry(tx, new.commit, cause, "version.committed", resource, changes)


def _announce_match(tx: Tx, matched: Matched, cause: Cause) -> None:
    version = matched.version
    publication = matched.commit.sealed.draft.publication
    changes = []
    if matched.move is not None:
        branch, head = matched.move
        changes = [Change(path=f"branches/{branch}", before=head.id if head else None, after=version.id)]
    tx.emit(
        RegistryChanged(
            kind="publication-matched",
            model=version.model,
            operator=matched.commit.operator,
            publication_id=publication.publication_id,
            version=version.id,
            number=version.number,
            branch=version.branch,
            changes=tuple(changes),
        ),
        model=version.model,
        correlation=publication.publication_id,
        identity=("publication-matched", publication.publication_id),
        cause=cause.id,
    )
    _entry(
        tx,
        matched.commit,
        cause,
        "version.matched",
        f"models/{version.model}/versions/{version.number}",
        changes,
        reason="the manifest is that of an existing version",
    )


def _entry(
    tx: Tx,
    commit: Commit,
    cause: Cause,
    action: str,
    resource: str,
    changes: Sequence[Change],
    *,
    reason: str | None = None,
) -> None:
    publication = commit.sealed.draft.publication
    tx.audit(
        action=action,
        resource=resource,
        model=publication.model,
        operator=commit.operator,
        authenticated_by=commit.authenticated_by,
        cause=cause,
        changes=changes,
        reason=reason,
        correlation=publication.publication_id,
    )
