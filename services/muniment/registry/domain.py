"""What a commit decides, without asking anyone: numbers, branch heads, and what is refused. Pure.

`plan` takes the locked state of the models involved and the requests in order, and says what to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from muniment.contracts.errors import Conflict, Rejected
from muniment.contracts.events import Authentication, ModelValidated, Stability
from muniment.contracts.ids import MAIN, ModelName, VersionId, model_key
from muniment.contracts.manifest import Manifest, ManifestFile, manifest_bytes, manifest_id
from muniment.contracts.oms.judging import UNSIGNED, Judgement
from muniment.ports.blobs import Location

PRODUCTION: Final = "production"
EXPERIMENTAL: Final = "experimental"


@dataclass(frozen=True, slots=True)
class Track:
    """Where versions are kept and under which rules. `retention_s` is counted from the commit.

    `bucket` is where releases go (None: the default one); `formats` is what files may be (None: anything); `checks`
    must have been passed by what is promoted on the track or released into it; `signature_required` asks for a verified
    signature over all files of whatever is published, promoted or released there.
    """

    name: str
    lock_mode: str
    retention_s: int
    bucket: str | None = None
    formats: frozenset[str] | None = None
    checks: tuple[str, ...] = ()
    signature_required: bool = False

    def check_formats(self, formats: Iterable[tuple[str, str]]) -> None:
        """Raise `Rejected` (`format_not_allowed`) for the first (path, format) that the track does not take."""
        for path, found in formats:
            if self.formats is not None and found not in self.formats:
                raise Rejected(
                    "format_not_allowed",
                    f"the track {self.name!r} does not take {path}",
                    expected=f"one of {', '.join(sorted(self.formats))}",
                    actual=found,
                    hint="convert the file, or choose another track: --track NAME",
                )

    def check_signature(self, status: str, code: str | None, uncovered: int) -> None:
        """Raise `Conflict` (`signature_required`) for a signature that came out otherwise than the track asks for."""
        if not self.signature_required or (status == "verified" and not uncovered):
            return
        raise Conflict(
            "signature_required",
            f"the track {self.name!r} takes what is signed by a signer it trusts, and nothing else",
            expected="a verified signature over every file",
            actual=signature_text(status, code, uncovered),
            hint="sign the files with a trusted key and publish them with model.sig, or choose another track",
        )


@dataclass(frozen=True, slots=True)
class Draft:
    """A publication with everything its version will be made of; nothing is committed yet."""

    publication: ModelValidated
    manifest: bytes
    id: VersionId
    track: Track


@dataclass(frozen=True, slots=True)
class Sealed:
    """A draft whose bytes are locked and whose manifest lies in the store: what is left is the record."""

    draft: Draft
    manifest: Location
    locked_until: datetime
    signature: Judgement = UNSIGNED


@dataclass(frozen=True, slots=True)
class Commit:
    """A request to record one sealed draft. `operator` is who caused it: the publisher, or who picked the candidate."""

    sealed: Sealed
    operator: str
    authenticated_by: Authentication
    cause: str
    gated: bool = False
    """It has passed the promotion's gates: it may go onto a protected branch, and is stable."""


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """A version that exists."""

    id: VersionId
    model_id: int
    model: ModelName
    number: int
    branch: str
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model as its locked row tells it."""

    id: int
    name: ModelName
    last_number: int
    created: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a branch."""

    number: int
    id: VersionId
    closed: bool = False
    protected: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """What the database held when the models' rows were locked."""

    models: Mapping[str, ModelState]
    versions: Mapping[VersionId, KnownVersion]
    heads: Mapping[tuple[int, str], Head]
    pointers: frozenset[tuple[int, str]] = frozenset()
    """Those of the commits' branch names that pointers have."""


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version to write."""

    commit: Commit
    model: ModelState
    number: int
    previous: Head | None
    stability: Stability
    first_of_model: bool
    first_of_branch: bool


@dataclass(frozen=True, slots=True)
class Matched:
    """The manifest exists: the publication ends in that version. `move` tells the head it puts on another branch."""

    commit: Commit
    version: KnownVersion
    move: tuple[str, Head | None] | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A commit that contradicts the registry's state."""

    commit: Commit
    error: Rejected


@dataclass(slots=True)
class Plan:
    """What to write, in order."""

    outcomes: list[NewVersion | Matched | Refused] = field(default_factory=list)

    @property
    def new(self) -> list[NewVersion]:
        """The versions to write."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, NewVersion)]


def draft(publication: ModelValidated, tracks: Mapping[str, Track]) -> Draft:
    """The draft of a publication. Raises `Rejected` (`track_unknown`, `format_not_allowed`)."""
    track = find_track(tracks, publication.track or default_track(publication.branch))
    track.check_formats((file.path, file.format) for file in publication.files)
    files = tuple(
        ManifestFile(path=file.path, size=file.size, sha256=file.sha256, format=file.format, role=file.role)
        for file in publication.files
    )
    text = manifest_bytes(Manifest(model=publication.model, files=files, facts=publication.facts))
    return Draft(publication, text, manifest_id(text), track)


def signature_text(status: str, code: str | None, uncovered: int) -> str:
    """How a signature came out, in a few words."""
    left_out = f", {uncovered} files left out" if uncovered else ""
    return status + left_out + ("" if code is None else f" ({code})")


def find_track(tracks: Mapping[str, Track], name: str) -> Track:
    """The track with this name. Raises `Rejected` (`track_unknown`)."""
    track = tracks.get(name)
    if track is None:
        raise Rejected(
            "track_unknown",
            f"there is no track {name!r}",
            expected=f"one of {', '.join(sorted(tracks))}",
            actual=name,
            hint=f"muniment tracks set {name} makes one",
        )
    return track


def default_track(branch: str) -> str:
    """The master's versions are kept for production, every other branch's as experiments."""
    return PRODUCTION if branch == MAIN else EXPERIMENTAL


def stability_of(branch: str) -> Stability:
    """How stable a version is by its branch alone: nothing is stable before it is promoted or released."""
    return "candidate" if branch == MAIN else "experimental"


def plan(state: State, commits: Iterable[Commit]) -> Plan:
    """Decide the commits in order, each seeing what those before it have done."""
    models = dict(state.models)
    versions = dict(state.versions)
    heads = dict(state.heads)
    result = Plan()
    for commit in commits:
        publication = commit.sealed.draft.publication
        key = model_key(publication.model)
        model = models[key]
        branch = publication.branch
        head = heads.get((model.id, branch))
        known = versions.get(commit.sealed.draft.id)
        # The same manifest again is the same version, whatever has become of its branch since: nothing moves.
        stays = known is not None and (known.branch == branch or (head is not None and head.id == known.id))
        error = _refusal(commit, model, versions)
        if error is None and not stays:
            error = branch_refusal(
                branch,
                is_pointer=(model.id, branch) in state.pointers,
                closed=head is not None and head.closed and not commit.gated,
                protected=head is not None and head.protected and not commit.gated,
            )
        if error is not None:
            result.outcomes.append(Refused(commit, error))
            continue
        if known is not None:
            move = None
            if not stays:
                move = (branch, head)
                heads[model.id, branch] = _moved(head, known.number, known.id)
            result.outcomes.append(Matched(commit, known, move))
            continue
        number = model.last_number + 1
        new = NewVersion(
            commit=commit,
            model=model,
            number=number,
            previous=head,
            stability="stable" if commit.gated else stability_of(branch),
            first_of_model=model.created and number == 1,
            first_of_branch=head is None,
        )
        result.outcomes.append(new)
        models[key] = replace(model, last_number=number)
        heads[model.id, branch] = _moved(head, number, commit.sealed.draft.id)
        versions[commit.sealed.draft.id] = KnownVersion(commit.sealed.draft.id, model.id, model.name, number, branch)
    return result


def _moved(head: Head | None, number: int, version: VersionId) -> Head:
    return Head(number, version) if head is None else replace(head, number=number, id=version)


def branch_refusal(branch: str, *, is_pointer: bool, closed: bool, protected: bool) -> Conflict | None:
    """Why a publication may not go onto a branch, if it may not."""
    if is_pointer:
        return name_taken(branch, "pointer")
    if closed:
        return Conflict(
            "branch_closed",
            f"the branch {branch!r} is closed",
            expected="an open branch",
            actual="closed",
            hint=f"publish onto another branch, or reopen it: muniment branch reopen MODEL {branch}",
        )
    if protected:
        return branch_protected(branch)
    return None


def branch_protected(branch: str) -> Conflict:
    """Nothing reaches a protected branch but through the gate."""
    return Conflict(
        "branch_protected",
        f"the branch {branch!r} is protected",
        expected="a version that was promoted",
        actual="a change from elsewhere",
        hint="publish onto an experiment's branch, then: muniment promote MODEL@BRANCH --reason TEXT",
    )


def name_taken(name: str, kind: str) -> Conflict:
    """Branches, pointers and releases of a model share one namespace."""
    return Conflict(
        "name_taken",
        f"the model has a {kind} with this name",
        expected="a name that no branch, pointer or release of the model has",
        actual=name,
        hint="choose another name; muniment branch ls MODEL and muniment pointer ls MODEL show those that are there",
    )


def _refusal(commit: Commit, model: ModelState, versions: Mapping[VersionId, KnownVersion]) -> Rejected | None:
    publication = commit.sealed.draft.publication
    if model.name != publication.model:
        return name_conflict(publication.model, model.name)
    for parent in publication.facts.parents:
        if parent.id == commit.sealed.draft.id:
            return Rejected("parent_is_itself", "a version cannot be its own parent", actual=parent.id)
        if parent.id not in versions:
            return parent_unknown(parent.id)
    if publication.reproduces is not None and publication.reproduces not in versions:
        return reproduces_unknown(publication.reproduces)
    known = versions.get(commit.sealed.draft.id)
    if known is not None and known.deleted:
        return deleted_before(known.model, known.number)
    return None


def deleted_before(model: str, number: int) -> Conflict:
    """The manifest is that of a deleted version."""
    return Conflict(
        "version_deleted",
        "this very version was deleted, and its number is not given again",
        actual=f"{model}/{number}",
        hint="publish it as a run of its own: another run id makes another version",
    )


def name_conflict(asked: str, existing: str) -> Conflict:
    """Two names that differ only in case would be one model to half of the world."""
    return Conflict(
        "model_name_conflict",
        "a model exists whose name differs only in case",
        expected=existing,
        actual=asked,
        hint=f"publish to {existing!r}, or choose another name",
    )


def parent_unknown(parent: str) -> Rejected:
    """A parent that no version has as its id."""
    return Rejected(
        "parent_unknown",
        "a parent is no version of this registry",
        expected="the id of a committed version",
        actual=parent,
        hint="commit the parent first",
    )


def reproduces_unknown(of_id: str) -> Rejected:
    """The version that a run is said to repeat is none."""
    return Rejected(
        "reproduces_unknown",
        "the run is said to reproduce what is no version of this registry",
        expected="the id of a committed version",
        actual=of_id,
        hint="name an existing version (muniment versions ls MODEL), or leave --reproduces out",
    )
