"""`muniment promote|rollback|revert|approve|check` and `muniment contract show|set|freeze|unfreeze`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from muniment.cli.arguments import Command, Option
from muniment.cli.failures import CONFLICT, OK, Usage
from muniment.cli.session import DEFAULTS, Common
from muniment.cli.text import columns
from muniment.contracts.errors import Conflict

promote_app = Command(
    "muniment promote",
    "Bring a version onto main and make it the baseline, if it passes every gate of the model's contract.",
    example="muniment promote digits@exp/dropout --reason 'two points better on every slice'",
)
rollback_app = Command(
    "muniment rollback",
    "Lead the baseline back, by default to the one before. The target's bytes are read again first.",
    example="muniment rollback digits --to digits/3 --reason 'drift in production'",
)
revert_app = Command(
    "muniment revert",
    "Reverse what an audit entry tells of, as a new change: pointers, branches, descriptions, tags, contracts.",
    example="muniment revert 4711 --reason 'set by mistake'",
)
approve_app = Command(
    "muniment approve",
    "Say that a version may become the baseline, or with --no that it may not.",
    example="muniment approve digits@exp/dropout --comment 'looked at the errors'",
)
check_app = Command(
    "muniment check",
    "Keep the outcome of a check of a version.",
    example="muniment check digits/7 bias --passed",
)
contract_app = Command(
    "muniment contract",
    "What a version must pass to become the baseline.",
    example="muniment contract set digits --tolerance accuracy=0.01 --check bias --approvals 1",
)
Force = Annotated[bool, Option("Although its bytes are damaged: admins alone; it is audited.")]
Why = Annotated[str, Option("Why; it is kept in the history and in the audit log.")]


@promote_app.default
def promote(
    ref: str,
    /,
    *,
    reason: Why,
    dry_run: Annotated[bool, Option("Judge the gates and change nothing; 6 where one is shut.")] = False,
    force: Force = False,
    common: Common = DEFAULTS,
) -> int:
    """Make a version the baseline."""
    with common.client() as client:
        try:
            outcome = client.promote(ref, reason=reason, dry_run=dry_run, force=force)
        except Conflict as error:
            _say_gates(common, error)
            raise
    if not dry_run:
        _outcome(common, outcome, "promoted" if outcome["changed"] else "is already")
        return OK
    passes = all(gate["passed"] for gate in outcome["gates"])
    _outcome(common, outcome, "would be promoted" if passes else "would be refused", is_done=False)
    if passes:
        common.next(f"muniment promote {ref} --reason TEXT")
        return OK
    for hint in (gate["hint"] for gate in outcome["gates"] if gate.get("hint")):
        common.next(hint)
    return CONFLICT


@rollback_app.default
def rollback(
    model: str,
    /,
    *,
    reason: Why,
    to: Annotated[str | None, Option("The version to go back to.")] = None,
    force: Force = False,
    common: Common = DEFAULTS,
) -> None:
    """Lead the baseline back."""
    common.say("reading the target's bytes again")
    with common.client() as client:
        try:
            outcome = client.rollback(model, reason=reason, to=to, force=force)
        except Conflict as error:
            _say_gates(common, error)
            raise
    _outcome(common, outcome, "rolled back")


@revert_app.default
def revert(
    index: Annotated[int, Option("The audit entry's index.")], /, *, reason: Why, common: Common = DEFAULTS
) -> None:
    """Reverse an audited change."""
    with common.client() as client:
        done = client.revert(index, reason=reason)
    common.show(
        done,
        name=done["target"],
        facts=[
            ("reverted", f"{done['action']} of {done['target']}"),
            ("from", json.dumps(done["from"])),
            ("to", json.dumps(done["to"])),
        ],
    )
    common.next("muniment audit ls --newest --limit 3")


@approve_app.default
def approve(
    ref: str,
    /,
    *,
    no: Annotated[bool, Option("Say no.")] = False,
    comment: str | None = None,
    common: Common = DEFAULTS,
) -> None:
    """Say yes or no to a version."""
    with common.client() as client:
        said = client.approve(ref, approved=not no, comment=comment)
    common.show(
        said,
        name=ref,
        facts=[(one["operator"], "yes" if one["approved"] else "no") for one in said["items"]],
    )
    common.next(f"muniment promote {ref} --reason TEXT")


@check_app.default
def check(
    ref: str,
    name: str,
    /,
    *,
    passed: bool = False,
    failed: bool = False,
    details: str | None = None,
    common: Common = DEFAULTS,
) -> None:
    """Keep the outcome of a check."""
    if passed == failed:
        raise Usage("the outcome is missing", expected="--passed or --failed", actual="both" if passed else "neither")
    with common.client() as client:
        said = client.report_check(ref, name, passed=passed, details=details)
    common.show(said, name=ref, facts=[(one["name"], "passed" if one["passed"] else "failed") for one in said["items"]])


@contract_app.command("show")
def contract_show(model: str, /, *, common: Common = DEFAULTS) -> None:
    """Show a model's contract."""
    with common.client() as client:
        _contract(common, client.contract(model), model)


@contract_app.command("set")
def contract_set(
    model: str,
    /,
    *,
    tolerance: Annotated[
        tuple[str, ...], Option("METRIC=AMOUNT (or AMOUNT%) that it may be worse; METRIC- where lower is better.")
    ] = (),
    check: Annotated[tuple[str, ...], Option("A check that must be reported as passed.")] = (),
    approvals: Annotated[int | None, Option("How many others than the author must approve.")] = None,
    file: Annotated[Path | None, Option("The whole contract as JSON; the options are added to it.")] = None,
    reason: str | None = None,
    common: Common = DEFAULTS,
) -> None:
    """Replace a model's contract (role promoter)."""
    demands = _demands(file) if file else {}
    demands["tolerances"] = [*demands.get("tolerances", []), *map(_tolerance, tolerance)]
    demands["checks"] = [*demands.get("checks", []), *check]
    if approvals is not None:
        demands["approvals"] = approvals
    if reason is not None:
        demands["reason"] = reason
    with common.client() as client:
        _contract(common, client.put_contract(model, demands), model)


@contract_app.command("freeze")
def freeze(model: str, /, *, reason: Why, common: Common = DEFAULTS) -> None:
    """Let nothing become the baseline until it is unfrozen (role promoter)."""
    with common.client() as client:
        _contract(common, client.freeze(model, reason=reason), model)


@contract_app.command("unfreeze")
def unfreeze(model: str, /, *, reason: Why, common: Common = DEFAULTS) -> None:
    """Let promotions pass again (role promoter)."""
    with common.client() as client:
        _contract(common, client.freeze(model, reason=reason, frozen=False), model)


def _demands(file: Path) -> dict[str, Any]:
    """The contract in a file. Raises `Usage` where it is no JSON object."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise Usage("--file is no JSON", expected="a JSON object", actual=f"{file}: {error}") from error
    if not isinstance(found, dict):
        raise Usage("--file holds no contract", expected="a JSON object", actual=f"{file}: {type(found).__name__}")
    return found


def _tolerance(text: str) -> dict[str, Any]:
    name, equals, amount = text.rpartition("=")
    share = amount.endswith("%")
    try:
        value = float(amount.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not equals or not name.removesuffix("-") or not 0 <= value < math.inf:
        raise Usage(
            "--tolerance is not understood",
            expected="METRIC=AMOUNT, METRIC=AMOUNT% or METRIC-=AMOUNT, the amount a finite number from 0 on",
            actual=repr(text),
        )
    return {
        "metric": name.removesuffix("-"),
        "direction": "lower" if name.endswith("-") else "higher",
        **({"relative": value / 100} if share else {"absolute": value}),
    }


def _contract(common: Common, found: Mapping[str, Any], model: str) -> None:
    tolerances = [
        f"{one['metric']}" + (f"[{one['slice']}]" if one.get("slice") else "") + f" ({one['direction']} is better): "
        f"{_amount(one)}"
        for one in found["tolerances"]
    ]
    common.show(
        found,
        name=model,
        facts=[
            ("model", model),
            ("revision", found["revision"]),
            ("tolerances", tolerances),
            ("checks", found["checks"]),
            ("approvals", found["approvals"]),
            ("frozen", f"by {found['freeze']['by']}: {found['freeze']['reason']}" if found.get("freeze") else None),
        ],
    )
    common.next(f"muniment promote {model}@BRANCH --reason TEXT --dry-run")


def _amount(tolerance: Mapping[str, Any]) -> str:
    words = []
    if tolerance.get("absolute") is not None:
        words.append(f"at most {tolerance['absolute']:g} worse")
    if tolerance.get("relative") is not None:
        words.append(f"at most {tolerance['relative']:.4g} of the baseline's worse")
    if tolerance.get("bound") is not None:
        words.append(f"never beyond {tolerance['bound']:g}")
    return ", ".join(words)


def _outcome(common: Common, outcome: Mapping[str, Any], word: str, *, is_done: bool = True) -> None:
    baseline, previous = outcome["baseline"], outcome.get("previous")
    if not common.json and not common.quiet and outcome["gates"]:
        common.say("\n".join(_gates(outcome["gates"])))
    common.show(
        outcome,
        name=baseline["id"],
        facts=[
            (word, f"{baseline['model']}/{baseline['number']}"),
            ("id", baseline["id"]),
            ("previous", previous and f"{baseline['model']}/{previous['number']}"),
            ("main", None if outcome["line"] == "untouched" else outcome["line"]),
            (
                "undone",
                [
                    f"{move['from_number'] or '(none)'} -> {move['to_number'] or '(none)'} by {move['operator']}: "
                    f"{move['reason']}"
                    for move in outcome["undone"]
                ],
            ),
        ],
    )
    if is_done:
        common.next(f"muniment pointer history {baseline['model']} baseline")


def _say_gates(common: Common, refusal: Conflict) -> None:
    """How each gate came out, where that is why it was refused."""
    if gates := (refusal.details or {}).get("gates"):
        common.say("\n".join(_gates(gates)))


def _gates(gates: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = [
        ["open" if gate["passed"] else "SHUT", gate["name"], gate.get("expected") or "", gate.get("actual") or ""]
        for gate in gates
    ]
    return columns(["GATE", "WHAT", "EXPECTED", "ACTUAL"], cells)
