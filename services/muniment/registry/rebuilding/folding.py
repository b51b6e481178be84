"""From a model's audit entries, in order, to its history. A table from action to function: a new verb adds a line.

Pure. What an entry must carry for its action stands in docs/rebuilding.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from muniment.ports.blobs import Location
from muniment.registry.domain import stability_of
from muniment.registry.rebuilding import reported
from muniment.registry.rebuilding.entries import Entry
from muniment.registry.rebuilding.history import History, Row, new_branch

Apply = Callable[[History, Entry], None]

OF_BYTES: Final = frozenset({"integrity.violated", "scrub.requested", "version.handed_out"})
"""What happened to stored bytes and moved nothing: known, and nothing is made of it."""


def fold(name: str, entries: Iterable[Entry]) -> History:
    """The history of one model. Refuses nothing: what cannot be applied is counted (`unknown`) or told (`problems`)."""
    history = History(name)
    for entry in entries:
        apply_entry(history, entry)
    return history


def apply_entry(history: History, entry: Entry) -> None:
    """Apply one entry more."""
    if entry.action in OF_BYTES:
        return
    apply = ACTIONS.get(entry.action)
    if apply is None:
        history.unknown[entry.action] += 1
        return
    try:
        apply(history, entry)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # A log is data of the past: an entry of another form is told, and the next one is still read.
        history.problem(entry, f"is not of the form that its action has: {error!r}")


def _model_created(history: History, entry: Entry) -> None:
    history.name, history.created = entry.after("name"), entry


def _version_committed(history: History, entry: Entry) -> None:
    version_id, number = entry.after("version"), entry.after("number")
    (moved, before, _), *_ = entry.below("branches")
    if number != len(history.versions) + 1:
        history.problem(entry, f"gives number {number} after {len(history.versions)} versions")
    manifest = entry.after("manifest") or {}
    digest = str(version_id).removeprefix("sha256:")
    history.numbers[version_id] = number
    history.versions[number] = {
        "id": version_id,
        "publication_id": entry.after("publication") or entry.correlation,
        "branch": moved,
        "previous_number": history.number(before, entry),
        "stability": entry.after("stability") or stability_of(moved),  # older entries do not say it
        "track": entry.after("track"),
        "operator": entry.operator,
        "authenticated_by": entry.authenticated_by,
        "committed_at": entry.at,
        "manifest_bucket": manifest.get("bucket"),
        "manifest_key": f"manifests/{entry.model}/{digest}.json",
        "manifest_version_id": manifest.get("version_id"),
        "description": _known(history, entry, "description", None),
        "tags": _known(history, entry, "tags", {}),
    }
    _apply_moves(history, entry, reason=None)
    _apply_signature(history, entry, number)


def _version_matched(history: History, entry: Entry) -> None:
    _apply_moves(history, entry, reason=None)  # its reason tells why there is no new version, not why the head moved


def _version_described(history: History, entry: Entry) -> None:
    version = history.versions[int(entry.name("versions"))]
    if entry.says("description"):
        version["description"] = _known(history, entry, "description", None)
    if entry.says("tags"):
        version["tags"] = _known(history, entry, "tags", {})
    for name, _, text in entry.below("tags"):
        version["tags"] = {key: value for key, value in version["tags"].items() if key != name}
        if text is not None:
            version["tags"][name] = text


def _version_deleted(history: History, entry: Entry) -> None:
    number = int(entry.name("versions"))
    history.tombstones[number] = {"reason": entry.reason, "operator": entry.operator, "deleted_at": entry.at}


def _version_reproduced(history: History, entry: Entry) -> None:
    history.reproductions[int(entry.name("versions"))] = {
        "of_id": entry.after("reproduces"),
        "outcome": entry.after("outcome"),
        "judged_by": entry.after("judged_by"),
        "differences": _known(history, entry, "differences", {}),
        "judged_at": entry.at,
    }


def _version_signature_checked(history: History, entry: Entry) -> None:
    _apply_signature(history, entry, int(entry.name("versions")))


def _apply_signature(history: History, entry: Entry, number: int) -> None:
    outcome = _known(history, entry, "signature", None) if entry.says("signature") else None
    if outcome is not None:
        history.signatures.append({"uncovered": 0, **outcome, "number": number, "judged_at": entry.at})


def _branch_created(history: History, entry: Entry) -> None:
    name, head = entry.name("branches"), entry.after("head")
    if head in history.numbers:  # made from a version that exists; otherwise the entry of its first version follows
        history.move_branch(name, None, head, entry, entry.reason)
    else:
        history.branches[name] = new_branch(entry)


def _branch_closed(history: History, entry: Entry) -> None:
    history.branches[entry.name("branches")] |= {"closed_at": entry.at, "closed_by": entry.operator}


def _branch_reopened(history: History, entry: Entry) -> None:
    history.branches[entry.name("branches")] |= {"closed_at": None, "closed_by": None}


def _branch_protected(history: History, entry: Entry) -> None:
    history.branches[entry.name("branches")]["protected"] = entry.after("protected")


def _moved_by(verb: str) -> Apply:
    def apply(history: History, entry: Entry) -> None:
        _apply_moves(history, entry, reason=entry.reason)
        for name, before, after in entry.below("pointers"):
            history.move_pointer(name, before, after, entry, verb)
        _apply_stability(history, entry)

    return apply


def _apply_stability(history: History, entry: Entry) -> None:
    for place, _, after in entry.below("versions"):
        number, _, column = place.partition("/")
        if column == "stability":
            history.versions[int(number)]["stability"] = after


def _release_published(history: History, entry: Entry) -> None:
    manifest = entry.after("manifest") or {}
    digest = str(entry.after("release")).removeprefix("sha256:")
    history.releases[entry.name("releases")] = {
        "id": entry.after("release"),
        "number": history.number(entry.after("source"), entry),
        "precedence": bytes.fromhex(entry.after("precedence") or ""),
        "prerelease": bool(entry.after("prerelease")),
        "track": entry.after("track"),
        "copy": entry.after("copy"),
        "notes": _known(history, entry, "notes", None),
        "operator": entry.operator,
        "released_at": entry.at,
        "manifest_bucket": manifest.get("bucket"),
        "manifest_key": manifest.get("key") or f"manifests/{entry.model}/{digest}.json",
        "manifest_version_id": manifest.get("version_id"),
    }
    _apply_stability(history, entry)


def _bytes_restored(history: History, entry: Entry) -> None:
    """A repair: the files that it names lie where the good bytes are."""
    ((before, after),) = ((old, new) for name, old, new in entry.sides() if name == "location")
    good = Location(**after)
    if (damaged := Location(**before)) == good:  # the store itself has got them back
        return
    history.replaced.pop(good, None)  # a place that is good once more, and not a circle
    history.replaced[damaged] = good
    for name, _, _ in entry.sides():
        holder, found, path = name.partition("/files/")
        if found:
            history.repaired.setdefault(holder, {})[path] = good


_CONTRACT: Final[Mapping[str, Any]] = {
    "tolerances": [],
    "checks": [],
    "approvals": 0,
    "frozen_at": None,
    "frozen_by": None,
    "freeze_reason": None,
}


def _contract_changed(history: History, entry: Entry) -> None:
    contract: Row = dict(history.contract or {**_CONTRACT, "revision": 0})
    for field in _CONTRACT:
        if entry.says(field):
            contract[field] = _known(history, entry, field, _CONTRACT[field])
    contract |= {"revision": contract["revision"] + 1, "changed_at": entry.at, "changed_by": entry.operator}
    history.contract = contract


def _candidate_added(history: History, entry: Entry) -> None:
    history.candidates[entry.resource.removeprefix("publications/")] = {
        "model": entry.model,
        "operator": entry.operator,
        "state": entry.after("state"),
        "publication": entry.after("publication"),
        "validated_at": entry.at,
        "decided_at": None,
        "decided_by": None,
        "reason": None,
        "version_id": None,
    }


def _candidate_decided(history: History, entry: Entry) -> None:
    history.candidates[entry.resource.removeprefix("publications/")] |= {
        "state": entry.after("state"),
        "decided_at": entry.at,
        "decided_by": entry.operator,
        "reason": entry.reason,
        "version_id": entry.after("version"),
    }


ACTIONS: Final[Mapping[str, Apply]] = {
    "model.created": _model_created,
    "version.committed": _version_committed,
    "version.matched": _version_matched,
    "version.described": _version_described,
    "version.deleted": _version_deleted,
    "version.reproduced": _version_reproduced,
    "version.signature_checked": _version_signature_checked,
    "branch.created": _branch_created,
    "branch.closed": _branch_closed,
    "branch.reopened": _branch_reopened,
    "branch.protected": _branch_protected,
    "pointer.moved": _moved_by("set"),
    "pointer.deleted": _moved_by("delete"),
    "baseline.promoted": _moved_by("promote"),
    "baseline.rolled_back": _moved_by("rollback"),
    "pointer.reverted": _moved_by("revert"),
    "baseline.reverted": _moved_by("revert"),
    "release.published": _release_published,
    "contract.changed": _contract_changed,
    "candidate.added": _candidate_added,
    "candidate.committed": _candidate_decided,
    "candidate.refused": _candidate_decided,
    "version.approved": reported.approved,
    "version.checked": reported.checked,
    "version.evaluation": reported.measured,
    "version.observation": reported.measured,
    "deployment.reported": reported.deployed,
    "integrity.restored": _bytes_restored,
    "baseline.diverged": reported.judged,
    "baseline.recovered": reported.judged,
}


def _apply_moves(history: History, entry: Entry, *, reason: str | None) -> None:
    for name, before, after in entry.below("branches"):
        history.move_branch(name, before, after, entry, reason)


def _known(history: History, entry: Entry, path: str, nothing: Any) -> Any:
    """A field's value; where the log holds only its digest, nothing, and that is told."""
    value = entry.after(path)
    if isinstance(value, dict) and value.keys() == {"value_sha256", "value_size"}:
        history.problem(entry, f"holds {path} by its digest alone ({value['value_size']} bytes)")
        return nothing
    return nothing if value is None else value
