"""A model's contract: tolerances, required checks, approvals, freeze; and what is reported on its versions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Final

import asyncpg
from pydantic import Field, StrictBool, StrictInt, model_validator

from muniment.contracts.errors import PreconditionFailed
from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.ids import ModelName
from muniment.contracts.model import Label, Line, Payload, Reason, Word, rfc3339
from muniment.registry.changing import Changes, Changing
from muniment.registry.gates import Contract, Freeze
from muniment.registry.pointers import version_deleted
from muniment.registry.store import POINTERS
from muniment.registry.tolerances import Tolerance

FROZEN: Final = "contract.frozen"
"""What a freeze, or its end, is kept as, to be reverted; its entry is one of `contract.changed`."""


class Demands(Payload):
    """What a version must pass to become the baseline; the whole of it is replaced."""

    tolerances: Annotated[tuple[Tolerance, ...], Field(max_length=500)] = ()
    checks: Annotated[tuple[Label, ...], Field(max_length=100)] = ()
    approvals: Annotated[StrictInt, Field(ge=0, le=100)] = 0
    reason: Line | None = None

    @model_validator(mode="after")
    def _each_once(self) -> Demands:
        keys = [str(tolerance.key) for tolerance in self.tolerances]
        if len(set(keys)) != len(keys) or len(set(self.checks)) != len(self.checks):
            raise ValueError("demand_repeated: each metric (with its dataset and slice) and each check stands once")
        return self

    def fields(self) -> dict[str, Any]:
        """As JSON, without the reason."""
        return self.model_dump(mode="json", exclude={"reason"}, exclude_none=True)


class Why(Payload):
    """A reason, which must be given."""

    reason: Reason


class Approval(Payload):
    """A person's word on a version."""

    ref: Word
    approved: StrictBool = True
    comment: Line | None = None


class CheckReport(Payload):
    """The outcome of a check of a version."""

    ref: Word
    name: Label
    passed: StrictBool
    details: Line | None = None


@dataclass(frozen=True, slots=True)
class Contracts:
    """The verbs. Each is one change."""

    changes: Changes

    async def put(self, model: ModelName, demands: Demands, by: Principal, cause: Cause, if_match: str | None) -> Any:
        """Replace the demands; with `if_match` only if the contract's revision still is this one.

        Raises `PreconditionFailed` (`contract_changed`).
        """
        async with self.changes.of(model, by, cause) as change:
            row = await contract_row(change.connection, change.model.id)
            actual = f'"{row["revision"] if row else 0}"'
            if if_match is not None and if_match not in {"*", actual}:
                raise PreconditionFailed(
                    "contract_changed",
                    "the contract is not in the state that was named",
                    expected=if_match,
                    actual=actual,
                    hint="look again: muniment contract show MODEL",
                )
            await put_demands(change, demands)
            return await _row(change)

    async def freeze(self, model: ModelName, why: Why | None, reason: str, by: Principal, cause: Cause) -> Any:
        """Stop promotions with `why`, or let them pass again without. What is so already changes nothing."""
        async with self.changes.of(model, by, cause) as change:
            await put_freeze(change, why, reason)
            return await _row(change)

    async def approve(self, model: ModelName, approval: Approval, by: Principal, cause: Cause) -> Any:
        """Say yes or no to a version; the newest word of each operator counts.

        Raises `Conflict` (`version_deleted`).
        """
        async with self.changes.of(model, by, cause) as change:
            version = await _there(change, approval.ref)
            number = version["number"]
            await change.connection.execute(
                POINTERS["insert_approval"],
                change.model.id,
                number,
                by.operator,
                approval.approved,
                approval.comment,
                change.tx.now,
            )
            changes = [Change(path=f"approvals/{by.operator}", after=approval.approved)]
            change.tell("version-approved", changes, number=number, version=version["id"], reason=approval.comment)
            change.audit("version.approved", f"versions/{number}", changes, reason=approval.comment)
            return await change.connection.fetch(POINTERS["approvals"], change.model.id, number)

    async def check(self, model: ModelName, report: CheckReport, by: Principal, cause: Cause) -> Any:
        """Keep the outcome of a check; the newest of each name counts. Raises `Conflict` (`version_deleted`)."""
        async with self.changes.of(model, by, cause) as change:
            version = await _there(change, report.ref)
            number = version["number"]
            await change.connection.execute(
                POINTERS["insert_check"],
                change.model.id,
                number,
                report.name,
                report.passed,
                report.details,
                by.operator,
                change.tx.now,
            )
            changes = [Change(path=f"checks/{report.name}", after=report.passed)]
            change.tell("version-checked", changes, number=number, version=version["id"], reason=report.details)
            change.audit("version.checked", f"versions/{number}", changes, reason=report.details)
            return await change.connection.fetch(POINTERS["checks"], change.model.id, number)


async def put_demands(change: Changing, demands: Demands) -> None:
    """Write the demands, with the event and the entry, where they differ from what there is."""
    before = demands_of(await contract_row(change.connection, change.model.id))
    fields = demands.fields()
    if fields == before:
        return
    await change.connection.execute(
        POINTERS["put_contract"],
        change.model.id,
        json.dumps(fields["tolerances"]),
        list(demands.checks),
        demands.approvals,
        change.tx.now,
        change.by.operator,
    )
    changes = [
        Change(path=name, before=before[name], after=fields[name]) for name in fields if before[name] != fields[name]
    ]
    change.tell("contract-changed", changes, reason=demands.reason)
    event = change.audit("contract.changed", "contract", changes, reason=demands.reason)
    await change.keep(event, "contract.changed", "contract", before, fields)


async def put_freeze(change: Changing, why: Why | None, reason: str) -> None:
    """Freeze the model with `why`, or unfreeze it without, with the event and the entry, where it is not so yet."""
    row = await contract_row(change.connection, change.model.id)
    before = contract_of(row).freeze
    if (before is None) == (why is None):
        return
    now, operator = change.tx.now, change.by.operator
    after = None if why is None else Freeze(operator, why.reason, now)
    await change.connection.execute(
        POINTERS["freeze"],
        change.model.id,
        after and after.at,
        after and after.by,
        after and after.reason,
        now,
        operator,
    )
    changes = [
        Change(path="frozen_at", before=before and rfc3339(before.at), after=after and rfc3339(after.at)),
        Change(path="frozen_by", before=before and before.by, after=after and after.by),
        Change(path="freeze_reason", before=before and before.reason, after=after and after.reason),
    ]
    change.tell("contract-changed", changes, reason=reason)
    event = change.audit("contract.changed", "contract", changes, reason=reason)
    await change.keep(event, FROZEN, "contract", freeze_of(row), _freeze_fields(after))


def freeze_of(row: asyncpg.Record | None) -> dict[str, str] | None:
    """Who froze the model, why and when, as JSON; None where it is not frozen."""
    return _freeze_fields(contract_of(row).freeze)


def _freeze_fields(freeze: Freeze | None) -> dict[str, str] | None:
    return None if freeze is None else {"by": freeze.by, "reason": freeze.reason, "at": rfc3339(freeze.at)}


async def contract_row(source: Any, model_id: int) -> asyncpg.Record | None:
    """The row of a model's contract, if it has one."""
    row: asyncpg.Record | None = await source.fetchrow(POINTERS["contract"], model_id)
    return row


async def _row(change: Changing) -> Any:
    return await contract_row(change.connection, change.model.id)


async def _there(change: Changing, ref: str) -> asyncpg.Record:
    version = await change.version(ref)
    if version["deleted_at"] is not None:
        raise version_deleted(version)
    return version


def demands_of(row: asyncpg.Record | None) -> dict[str, Any]:
    """The demands of a row as JSON, as `Demands.fields` gives them."""
    if row is None:
        return Demands().fields()
    return {"tolerances": json.loads(row["tolerances"]), "checks": list(row["checks"]), "approvals": row["approvals"]}


def contract_of(row: asyncpg.Record | None) -> Contract:
    """The row as the gates read it."""
    if row is None:
        return Contract()
    return Contract(
        revision=row["revision"],
        tolerances=tuple(Tolerance.model_validate(fields) for fields in json.loads(row["tolerances"])),
        checks=tuple(row["checks"]),
        approvals=row["approvals"],
        freeze=None if row["frozen_at"] is None else Freeze(row["frozen_by"], row["freeze_reason"], row["frozen_at"]),
    )
