"""The gates between a version and the baseline: what each asks, and how a version comes out. Pure.

Every verb that reaches a protected pointer or branch goes through `judge_gates`, with the model's row locked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from muniment.contracts.events import Gate
from muniment.contracts.ids import ModelName, VersionId
from muniment.registry import tolerances
from muniment.registry.tolerances import Tolerance, Values


@dataclass(frozen=True, slots=True)
class Freeze:
    """Nothing is promoted for now."""

    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Contract:
    """What a model's versions must pass to become its baseline. The empty one asks for nothing."""

    revision: int = 0
    tolerances: tuple[Tolerance, ...] = ()
    checks: tuple[str, ...] = ()
    approvals: int = 0
    """How many people other than the version's author must approve."""
    freeze: Freeze | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """The version that wants to become the baseline, and what is known of it."""

    model: ModelName
    number: int
    id: VersionId
    author: str
    values: Values
    deleted: str | None = None
    """Why it was deleted."""
    was_baseline: bool = False
    """It has passed these gates before: what it is measured against is the contract's own bounds, not the baseline
    that is being left."""
    checks: Mapping[str, bool] = field(default_factory=dict)
    """The newest outcome of each check that was reported."""
    approved_by: Sequence[str] = ()
    """Operators whose newest word on it is yes."""
    integrity: Gate | None = None
    """The gate that damage of its bytes shuts, or that force has opened; None where every byte is right."""

    @property
    def ref(self) -> str:
        """What names it in a command."""
        return f"{self.model}/{self.number}"


def judge_gates(contract: Contract, candidate: Candidate, baseline: Values | None) -> tuple[Gate, ...]:
    """Each gate with its outcome, all of them whatever the first says: one sees all that is missing at once."""
    gates = [_deleted(candidate), _frozen(contract, candidate.model)]
    if candidate.integrity is not None:
        gates.append(candidate.integrity)
    gates += tolerances.judge(contract.tolerances, None if candidate.was_baseline else baseline, candidate.values)
    gates += [check_gate(name, candidate.checks.get(name), candidate.ref) for name in contract.checks]
    if contract.approvals:
        gates.append(_approvals(contract.approvals, candidate))
    return tuple(gates)


def passes(gates: Sequence[Gate]) -> bool:
    """Whether the way is open."""
    return all(gate.passed for gate in gates)


def summary(gates: Sequence[Gate]) -> str:
    """The gates that are shut, in one line."""
    shut = [f"{gate.name}: expected {gate.expected}, actual {gate.actual}" for gate in gates if not gate.passed]
    return "; ".join(shut)[:1900] or "all gates are open"


def _deleted(candidate: Candidate) -> Gate:
    actual = "there" if candidate.deleted is None else f"deleted: {candidate.deleted}"
    hint = None if candidate.deleted is None else f"name another version: muniment versions ls {candidate.model}"
    return Gate(name="version", passed=candidate.deleted is None, expected="there", actual=actual, hint=hint)


def _frozen(contract: Contract, model: ModelName) -> Gate:
    freeze = contract.freeze
    if freeze is None:
        return Gate(name="freeze", passed=True, expected="not frozen", actual="not frozen")
    return Gate(
        name="freeze",
        passed=False,
        expected="not frozen",
        actual=f"frozen by {freeze.by}: {freeze.reason}",
        hint=f"muniment contract unfreeze {model} --reason TEXT",
    )


def check_gate(name: str, outcome: bool | None, ref: str) -> Gate:
    """The gate of a check that the version `ref` needs; `outcome` is its newest, None where it was never reported."""
    return Gate(
        name=f"check {name}",
        passed=outcome is True,
        expected="passed",
        actual="not reported" if outcome is None else "passed" if outcome else "failed",
        hint=None if outcome else f"muniment check {ref} {name} --passed",
    )


def _approvals(needed: int, candidate: Candidate) -> Gate:
    others = sorted(set(candidate.approved_by) - {candidate.author})
    return Gate(
        name="approvals",
        passed=len(others) >= needed,
        expected=f"{needed} by others than {candidate.author}",
        actual=f"{len(others)}: {', '.join(others)}"[:1000] if others else "none",
        hint=None if len(others) >= needed else f"muniment approve {candidate.ref}",
    )
