"""`muniment branch ls|show|create|close|reopen|protect|unprotect` and `muniment pointer ls|show|history|set|rm`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from muniment.cli.arguments import Command, Option
from muniment.cli.session import DEFAULTS, At, Column, Common, Limit
from muniment.cli.text import cell, moment, short

app = Command(
    "muniment branch",
    "Named lines of versions in a model. main is the master; a closed branch keeps its versions.",
    example="muniment branch create digits exp/dropout --from digits@main",
)
pointer_app = Command(
    "muniment pointer",
    "Named references that move, with their history. The baseline moves by promote and rollback alone.",
    example="muniment pointer set digits champion digits/3 --reason 'best of the sweep'",
)
Reason = Annotated[str | None, Option("Why; it is kept in the history and in the audit log.")]

_BRANCHES: tuple[Column, ...] = (
    ("BRANCH", lambda item: cell(item["name"])),
    ("HEAD", lambda item: cell(item.get("head_number"))),
    ("ID", lambda item: short(item.get("head_id"))),
    ("STATE", lambda item: _state(item)),
    ("MOVED", lambda item: moment(item.get("moved_at"))),
)
_MOVES: tuple[Column, ...] = (
    ("WHEN", lambda item: moment(item.get("moved_at"))),
    ("VERB", lambda item: cell(item.get("verb"))),
    ("FROM", lambda item: cell(item.get("from_number"))),
    ("TO", lambda item: cell(item.get("to_number"))),
    ("OPERATOR", lambda item: cell(item.get("operator"))),
    ("REASON", lambda item: cell(item.get("reason"))),
)


@app.command("ls")
def ls(model: str, /, *, at: At = None, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """List a model's branches and their heads."""
    with common.client() as client:
        common.rows(
            (item.raw for item in client.branches(model, at=at)),
            name=lambda item: item["name"],
            table=_BRANCHES,
            limit=limit,
            empty=f"{model} has no branches",
        )


@app.command("show")
def show(model: str, branch: str, /, *, common: Common = DEFAULTS) -> None:
    """Show one branch and its latest movements."""
    with common.client() as client:
        _show(common, client.branch(model, branch), model)


@app.command("create")
def create(
    model: str,
    branch: str,
    /,
    *,
    start: Annotated[str | None, Option("The version it starts at; main's head without it.", ("--from",))] = None,
    reason: Reason = None,
    common: Common = DEFAULTS,
) -> None:
    """Start a branch at a version."""
    with common.client() as client:
        made = client.create_branch(model, branch, ref=start, reason=reason)
    _show(common, made, model)
    common.next(f"muniment publish DIR --model {model} --branch {branch}")


@app.command("close")
def close(model: str, branch: str, /, *, reason: Reason = None, common: Common = DEFAULTS) -> None:
    """Close a branch: it keeps its versions and takes no more."""
    _change(common, model, branch, closed=True, reason=reason)


@app.command("reopen")
def reopen(model: str, branch: str, /, *, reason: Reason = None, common: Common = DEFAULTS) -> None:
    """Open a closed branch again."""
    _change(common, model, branch, closed=False, reason=reason)


@app.command("protect")
def protect(model: str, branch: str, /, *, reason: Reason = None, common: Common = DEFAULTS) -> None:
    """Let only promoted versions reach a branch (role promoter)."""
    _change(common, model, branch, protected=True, reason=reason)


@app.command("unprotect")
def unprotect(model: str, branch: str, /, *, reason: Reason = None, common: Common = DEFAULTS) -> None:
    """Let publications reach a branch again (role promoter)."""
    _change(common, model, branch, protected=False, reason=reason)


@pointer_app.command("ls")
def pointer_ls(model: str, /, *, at: At = None, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """List a model's pointers."""
    with common.client() as client:
        common.rows(
            client.pointers(model, at=at),
            name=lambda item: item["name"],
            table=(
                ("POINTER", lambda item: cell(item["name"])),
                ("VERSION", lambda item: cell(item.get("number"))),
                ("ID", lambda item: short(item.get("id"))),
                ("MOVED", lambda item: moment(item.get("moved_at"))),
                ("BY", lambda item: cell(item.get("moved_by"))),
            ),
            limit=limit,
            empty=f"{model} has no pointers",
            then=f"muniment pointer history {model} NAME",
        )


@pointer_app.command("show")
def pointer_show(model: str, pointer: str, /, *, common: Common = DEFAULTS) -> None:
    """Show where a pointer leads."""
    with common.client() as client:
        found = client.pointer(model, pointer)
    common.show(found, name=found["id"], facts=found.items())
    common.next(f"muniment pointer history {model} {pointer}")


@pointer_app.command("history")
def pointer_history(model: str, pointer: str, /, *, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """List every movement of a pointer, newest first."""
    with common.client() as client:
        common.rows(
            client.pointer_moves(model, pointer),
            name=lambda item: item["seq"],
            table=_MOVES,
            limit=limit,
            empty=f"{model} never had a pointer {pointer}",
        )


@pointer_app.command("set")
def pointer_set(
    model: str,
    pointer: str,
    ref: str,
    /,
    *,
    reason: Reason = None,
    expected: Annotated[int | None, Option("Only if the pointer's revision is this one; 0: only if it is new.")] = None,
    common: Common = DEFAULTS,
) -> None:
    """Make a pointer, or move it."""
    with common.client() as client:
        found = client.set_pointer(model, pointer, ref, reason=reason, expected=expected)
    common.show(found, name=found["id"], facts=found.items())
    common.next(f"muniment download {model}@{pointer} DIR")


@pointer_app.command("rm")
def pointer_rm(model: str, pointer: str, /, *, reason: Reason = None, common: Common = DEFAULTS) -> None:
    """Take a pointer away; its history stays."""
    with common.client() as client:
        client.delete_pointer(model, pointer, reason=reason)
    common.show({"model": model, "pointer": pointer, "deleted": True}, name=pointer, facts=[("deleted", pointer)])


def _change(common: Common, model: str, branch: str, **changes: Any) -> None:
    with common.client() as client:
        _show(common, client.change_branch(model, branch, **changes), model)


def _show(common: Common, found: Mapping[str, Any], model: str) -> None:
    common.show(
        found,
        name=found["name"],
        facts=[
            ("branch", f"{model}@{found['name']}"),
            ("head", f"{model}/{found['head_number']}  {short(found['head_id'])}"),
            ("versions", found.get("versions")),
            ("state", _state(found)),
            ("created", f"{moment(found.get('created_at'))} by {found.get('created_by')}"),
            *((moment(move["moved_at"]), _move(move)) for move in found.get("moves", [])),
        ],
    )


def _move(move: Mapping[str, Any]) -> str:
    start = "started at" if move["from_number"] is None else f"{move['from_number']} ->"
    return f"{start} {move['to_number']} by {move['operator']}" + (f": {move['reason']}" if move["reason"] else "")


def _state(item: Mapping[str, Any]) -> str:
    words = [word for word, holds in (("protected", item.get("protected")), ("closed", item.get("closed_at"))) if holds]
    return ", ".join(words) or "open"
