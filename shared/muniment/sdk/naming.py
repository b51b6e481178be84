"""Calls on a model's names and its baseline: branches, pointers, contract, promotion, rollback, revert."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from muniment.contracts.errors import NotFound
from muniment.sdk.calls import parsed
from muniment.sdk.exchange import Call, Listing, Request, ask, ask_json, request

_READING: Final = {"promote", "rollback", "revert"}
"""Verbs for which the server reads a version's bytes, or waits for a store that does not answer."""
_READ_WAIT_S: Final = 1800.0
"""How long it may take for that. A client that gives up before is not told what came of it."""


def create_branch(model: str, name: str, ref: str | None, reason: str | None) -> Call[Any]:
    """Start a branch."""
    body = _given(name=name, ref=ref, reason=reason)
    return (yield from ask_json(request("registry", "POST", _place(model, "branches"), body=body)))


def branch(model: str, name: str) -> Call[Any]:
    """One branch with its latest movements."""
    return (yield from ask_json(request("registry", "GET", _place(model, "branches", name))))


def change_branch(model: str, name: str, changes: Mapping[str, Any]) -> Call[Any]:
    """Close, open, protect or unprotect a branch. Doing it again changes nothing."""
    place = _place(model, "branches", name)
    return (yield from ask_json(request("registry", "PATCH", place, body=dict(changes), safe=True)))


def pointers(model: str, at: str | None) -> Listing:
    """A model's pointers."""
    return Listing("registry", _place(model, "pointers"), {"at": at})


def pointer(model: str, name: str) -> Call[Any]:
    """One pointer."""
    return (yield from ask_json(request("registry", "GET", _place(model, "pointers", name))))


def pointer_moves(model: str, name: str) -> Listing:
    """Every movement of a pointer, newest first."""
    return Listing("registry", _place(model, "pointer-moves"), {"name": name})


def set_pointer(model: str, name: str, ref: str, reason: str | None, expected: int | None) -> Call[Any]:
    """Make or move a pointer; with `expected` only if its revision is that one (0: if there is none)."""
    wanted = request("registry", "PUT", _place(model, "pointers", name), body=_given(ref=ref, reason=reason))
    return (yield from ask_json(_if_revision(wanted, expected)))


def delete_pointer(model: str, name: str, reason: str | None) -> Call[None]:
    """Take a pointer away."""
    yield from ask(request("registry", "DELETE", _place(model, "pointers", name), query={"reason": reason}))


def contract(model: str) -> Call[Any]:
    """A model's contract."""
    return (yield from ask_json(request("registry", "GET", _place(model, "contract"))))


def put_contract(model: str, demands: Mapping[str, Any], expected: int | None) -> Call[Any]:
    """Replace the demands; with `expected` only if the contract's revision is that one."""
    wanted = request("registry", "PUT", _place(model, "contract"), body=dict(demands), safe=True)
    return (yield from ask_json(_if_revision(wanted, expected)))


def act(model: str, verb: str, body: Mapping[str, Any], *, safe: bool = False) -> Call[Any]:
    """A verb of a model: freeze, unfreeze, approvals, checks, promote, rollback, revert, describe."""
    given = {name: value for name, value in body.items() if value is not None}
    wait = _READ_WAIT_S if verb in _READING else 0.0
    return (yield from ask_json(request("registry", "POST", _place(model, verb), body=given, safe=safe, wait=wait)))


def said(ref: str) -> Call[Any]:
    """Approvals and checks of a version."""
    return (yield from ask_json(request("registry", "GET", "/approvals", query={"ref": ref})))


def describe(ref: str, description: str | None, tags: Mapping[str, str | None], *, clear: bool) -> Call[Any]:
    """Change a version's texts; `clear` takes the description away."""
    body: dict[str, Any] = {"ref": str(parsed(ref)), "tags": dict(tags)}
    if description is not None or clear:
        body["description"] = description
    place = _place(parsed(ref).model, "describe")
    return (yield from ask_json(request("registry", "POST", place, body=body, safe=True)))


def revert(entry: int | str, reason: str, model: str | None) -> Call[Any]:
    """Reverse the change of an audit entry: by its index, or by its event id with the model's name."""
    if not isinstance(entry, int) and model is not None:
        return (yield from act(model, "revert", {"event_id": entry, "reason": reason}))
    found = (yield from ask_json(request("audit", "GET", f"/audit/entries/{int(entry):d}")))["entry"]
    changed = "changed nothing" if found["outcome"] == "refused" else "made no change that can be put back"
    refusal = NotFound(
        "not_reversible",
        f"entry {entry} {changed}",
        expected="the entry of a changed pointer, branch, description, tag, contract or freeze",
        actual=f"{found['action']} ({found['outcome']})",
        hint=f"muniment audit show {entry}",
    )
    if found.get("model") is None:
        raise refusal
    try:
        return (yield from act(found["model"], "revert", {"event_id": found["event_id"], "reason": reason}))
    except NotFound as error:
        if error.code != "not_reversible":
            raise
        raise refusal from error  # the registry knows the event's id alone, not the entry


def _place(model: str, *words: str) -> str:
    return "/".join(["/models", quote(model, safe=""), *(quote(word, safe="/") for word in words)])


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _if_revision(wanted: Request, expected: int | None) -> Request:
    if expected is None:
        return wanted
    condition = {"If-None-Match": "*"} if expected == 0 else {"If-Match": f'"{expected}"'}
    return replace(wanted, headers={**wanted.headers, **condition})
