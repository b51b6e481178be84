"""Reaching the baseline: `promote` and `rollback`, both through the same gates, with the model's row locked.

`promote` brings a version onto main and makes it the baseline:

- main's head is behind it: main moves forward to it;
- it is on main's line already: main stays;
- the lines have parted: a merge version is made, with the version's files and facts and both heads as parents.

`rollback` moves the baseline alone, after the target's bytes were read again. Main and its history stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg
from pydantic import StrictBool

from muniment.contracts.errors import Conflict, Rejected, Transient
from muniment.contracts.events import BaselineChanged, Cause, Change, Gate, VersionName
from muniment.contracts.identity import Principal
from muniment.contracts.ids import MAIN, ModelName
from muniment.contracts.model import Payload, Reason, Word
from muniment.contracts.reference import BASELINE
from muniment.registry import gates as gating
from muniment.registry.bytes_check import CommittedBytes
from muniment.registry.changing import Changes, Changing
from muniment.registry.commits import record
from muniment.registry.contract import contract_of, contract_row
from muniment.registry.domain import Commit, NewVersion, Refused, Sealed, draft
from muniment.registry.gates import Candidate
from muniment.registry.measuring import values_of
from muniment.registry.merging import merged
from muniment.registry.pointers import move
from muniment.registry.references import find_version
from muniment.registry.release_records import version_files
from muniment.registry.scrubbing.rules import integrity_gate
from muniment.registry.sealing import Sealer
from muniment.registry.signature_reads import outcome_of
from muniment.registry.store import POINTERS, RELEASES, SCRUBBING, SQL, track_of
from muniment.registry.track_rules import check_gates, signature_gates
from muniment.registry.tracks import Tracks

_TRIES = 5
"""Times that main may move on while a merge version is being sealed."""


class Promotion(Payload):
    """The version that is to become the baseline, and why. `dry_run` judges and changes nothing. `force` opens the gate
    that damage shuts, and no other: for admins.
    """

    ref: Word
    reason: Reason
    dry_run: StrictBool = False
    force: StrictBool = False


class Rollback(Payload):
    """Where the baseline is to go back to (by default the one before), and why. `force` as for a promotion."""

    to: Word | None = None
    reason: Reason
    force: StrictBool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `line`: how main stands to the version; `undone`: baselines that a rollback left behind."""

    changed: bool
    line: Literal["forward", "on main", "merge", "untouched"]
    version: asyncpg.Record
    previous: asyncpg.Record | None
    gates: Sequence[Gate]
    undone: Sequence[asyncpg.Record] = ()


class _MergeNeeded(Exception):  # reason: it is no error, it ends a transaction that found more to do
    def __init__(self, version: asyncpg.Record, head: asyncpg.Record) -> None:
        super().__init__()
        self.version = version
        self.head = head


@dataclass(frozen=True, slots=True)
class Promotions:
    """The two verbs."""

    changes: Changes
    sealer: Sealer
    tracks: Tracks
    committed: CommittedBytes

    async def promote(self, model: ModelName, wanted: Promotion, by: Principal, cause: Cause) -> Outcome:
        """Make a version the baseline. A version that is it already changes nothing.

        Raises `Conflict` (`promotion_refused`, with every gate in `details`), after that was told and audited.
        """
        if wanted.force:
            by.require("admin")
        seal: tuple[str, Sealed] | None = None
        for _ in range(_TRIES):
            try:
                return await self._promote(model, wanted, by, cause, seal)
            except _MergeNeeded as needed:
                if wanted.dry_run:
                    gates = await self._judged(needed.version, force=wanted.force)
                    return Outcome(False, "merge", needed.version, None, gates)
                seal = needed.head["head_id"], await self._seal_merge(needed, by)
        raise Transient("main_moves_on", "main moved on each time the merge version was ready", hint="try again")

    async def rollback(
        self,
        model: ModelName,
        wanted: Rollback,
        by: Principal,
        cause: Cause,
        verb: Literal["rollback", "revert"] = "rollback",
    ) -> Outcome:
        """Lead the baseline back. The target's bytes are read again first, every one of them.

        Raises `Conflict` (`rollback_refused`, `no_earlier_baseline`, `baseline_already`) and `Rejected`
        (`bytes_damaged`).
        """
        if wanted.force:
            by.require("admin")
        target = await self._rollback_target(model, wanted)
        try:
            await self.committed.check(await version_files(self.changes.pool, target))
        except Rejected as trouble:
            if not wanted.force:
                async with self.changes.of(model, by, cause) as change:
                    self._refuse(change, "rollback", target, wanted.reason, trouble.message)
                raise
        async with self.changes.of(model, by, cause) as change:
            now = await _baseline(change)
            if now is not None and now["number"] == target["number"]:
                raise Conflict(
                    "baseline_already",
                    "the version is the baseline",
                    expected="a version other than the one that is there",
                    actual=f"{model}/{target['number']}",
                    hint=f"muniment pointer history {model} baseline",
                )
            gates = await _gates(change.connection, target, now, force=wanted.force)
            if gating.passes(gates):
                undone = await self._undone(change, target["number"])
                action = "baseline.rolled_back" if verb == "rollback" else "baseline.reverted"
                await move(change, BASELINE, verb, now, target, wanted.reason, action, _forced(gates))
                _announce(change, verb, target, now, wanted.reason, gates)
                return Outcome(True, "untouched", target, now, gates, undone)
            self._refuse(change, "rollback", target, wanted.reason, gating.summary(gates))
        raise _shut("rollback", target, gates)

    async def _promote(
        self, model: ModelName, wanted: Promotion, by: Principal, cause: Cause, seal: tuple[str, Sealed] | None
    ) -> Outcome:
        async with self.changes.of(model, by, cause) as change:
            target = await change.version(wanted.ref)
            now = await _baseline(change)
            gates = await _gates(change.connection, target, now, force=wanted.force)
            if now is not None and now["number"] == target["number"]:
                return Outcome(False, "on main", target, now, gates)
            if wanted.dry_run or gating.passes(gates):
                head = await _main(change)
                line = await _line(change, target, head)
                if line == "merge" and head is not None:
                    if seal is None or seal[0] != head["head_id"] or wanted.dry_run:
                        raise _MergeNeeded(target, head)
                    target = await _record_merge(change, seal[1])
                if wanted.dry_run:
                    return Outcome(False, line, target, now, gates)
                await _reach(change, target, head, now, line, wanted.reason, gates)
                return Outcome(True, line, target, now, gates)
            self._refuse(change, "promote", target, wanted.reason, gating.summary(gates))
        raise _shut("promotion", target, gates)

    async def _judged(self, target: asyncpg.Record, *, force: bool) -> Sequence[Gate]:
        pool = self.changes.pool
        now = await pool.fetchrow(POINTERS["pointer"], target["model_id"], BASELINE)
        return await _gates(pool, target, now, force=force)

    async def _seal_merge(self, needed: _MergeNeeded, by: Principal) -> Sealed:
        files = await self.changes.pool.fetch(SQL["files"], needed.version["model_id"], needed.version["number"])
        publication = merged(dict(needed.version), [dict(file) for file in files], needed.head["head_id"], by)
        return await self.sealer.seal(draft(publication, await self.tracks.all()))

    async def _rollback_target(self, model: ModelName, wanted: Rollback) -> asyncpg.Record:
        pool = self.changes.pool
        if wanted.to is not None:
            row = await find_version(pool, wanted.to)
            if row["model"].lower() != model.lower():
                raise Rejected(
                    "reference_elsewhere",
                    "the reference names a version of another model",
                    expected=f"a version of {model}",
                    actual=wanted.to,
                    hint=f"muniment pointer history {model} baseline",
                )
            return row
        current = await find_version(pool, f"{model}@{BASELINE}")
        moves = await pool.fetch(POINTERS["pointer_moves"], current["model_id"], BASELINE, None, 1)
        if not moves or moves[0]["from_number"] is None:
            raise Conflict(
                "no_earlier_baseline", "the model had no baseline before this one", hint="name one: --to REF"
            )
        return await find_version(pool, f"{model}/{moves[0]['from_number']}")

    @staticmethod
    async def _undone(change: Changing, number: int) -> Sequence[asyncpg.Record]:
        moves = await change.connection.fetch(POINTERS["pointer_moves"], change.model.id, BASELINE, None, 1000)
        since = next((place for place, one in enumerate(moves) if one["to_number"] == number), len(moves))
        return list(moves[:since])

    @staticmethod
    def _refuse(change: Changing, verb: str, target: asyncpg.Record, reason: str, why: str) -> None:
        changes = [Change(path=f"pointers/{BASELINE}", after=target["id"])]
        number = target["number"]
        change.tell("promotion-refused", changes, version=target["id"], number=number, reason=why)
        action = "baseline.promoted" if verb == "promote" else "baseline.rolled_back"
        text = f"{reason}: refused: {why}"[:1990]
        change.audit(action, f"pointers/{BASELINE}", changes, reason=text, refused=True)


async def _baseline(change: Changing) -> asyncpg.Record | None:
    row: asyncpg.Record | None = await change.connection.fetchrow(POINTERS["pointer"], change.model.id, BASELINE)
    return row


async def _main(change: Changing) -> asyncpg.Record | None:
    rows = await change.connection.fetch(SQL["heads"], [change.model.id], [MAIN])
    return rows[0] if rows else None


async def _line(
    change: Changing, target: asyncpg.Record, head: asyncpg.Record | None
) -> Literal["forward", "on main", "merge"]:
    if head is None:
        return "forward"

    async def leads(start: int, to: int) -> bool:
        return bool(await change.connection.fetchval(POINTERS["reaches"], change.model.id, start, to))

    if await leads(head["head_number"], target["number"]):
        return "on main"
    return "forward" if await leads(target["number"], head["head_number"]) else "merge"


async def _record_merge(change: Changing, sealed: Sealed) -> asyncpg.Record:
    commit = Commit(sealed, change.by.operator, change.by.authenticated_by, f"request {change.cause.id}", gated=True)
    outcome = (await record(change.tx, [commit], [change.cause])).outcomes[0]
    if isinstance(outcome, Refused):
        raise outcome.error
    number = outcome.number if isinstance(outcome, NewVersion) else outcome.version.number
    return await find_version(change.connection, f"{change.model.name}/{number}")


async def _reach(
    change: Changing,
    target: asyncpg.Record,
    head: asyncpg.Record | None,
    now: asyncpg.Record | None,
    line: str,
    reason: str,
    gates: Sequence[Gate],
) -> None:
    """Write what a promotion changes: main's head, the version's stability, the baseline."""
    more = _forced(gates)
    if line == "forward":
        await _forward(change, target, head, reason)
        more.append(Change(path=f"branches/{MAIN}", before=head["head_id"] if head else None, after=target["id"]))
    if target["stability"] != "stable":
        await change.connection.execute(POINTERS["make_stable"], change.model.id, target["number"])
        path = f"versions/{target['number']}/stability"
        more.append(Change(path=path, before=target["stability"], after="stable"))
    await move(change, BASELINE, "promote", now, target, reason, "baseline.promoted", more)
    _announce(change, "promote", target, now, reason, gates)


async def _forward(change: Changing, target: asyncpg.Record, head: asyncpg.Record | None, reason: str) -> None:
    by, cause, now = change.by.operator, f"request {change.cause.id}", change.tx.now
    if head is None:
        await change.connection.execute(
            POINTERS["create_branch"], change.model.id, MAIN, target["number"], now, by, cause, reason
        )
        return
    await change.connection.execute(
        POINTERS["move_branch"], change.model.id, MAIN, head["head_number"], target["number"], now, by, cause, reason
    )
    changes = [Change(path=f"branches/{MAIN}", before=head["head_id"], after=target["id"])]
    change.tell("branch-moved", changes, branch=MAIN, version=target["id"], number=target["number"], reason=reason)


def _announce(
    change: Changing,
    verb: Literal["promote", "rollback", "revert"],
    target: asyncpg.Record,
    now: asyncpg.Record | None,
    reason: str,
    gates: Sequence[Gate],
) -> None:
    change.emit(
        BaselineChanged(
            model=change.model.name,
            operator=change.by.operator,
            verb=verb,
            current=VersionName(number=target["number"], id=target["id"]),
            previous=None if now is None else VersionName(number=now["number"], id=now["id"]),
            reason=reason,
            gates=tuple(gates),
            changed_at=change.tx.now,
        )
    )


def _forced(gates: Sequence[Gate]) -> list[Change]:
    """What the audit entry says of damage that was forced past."""
    return [Change(path="force", after=gate.actual) for gate in gates if gate.name == "integrity"]


async def _gates(
    source: Any, target: asyncpg.Record, now: asyncpg.Record | None, *, force: bool = False
) -> tuple[Gate, ...]:
    """Judge a version by its model's contract, against the baseline of now."""
    model_id, number = target["model_id"], target["number"]
    checks = await source.fetch(POINTERS["checks"], model_id, number)
    words = await source.fetch(POINTERS["approvals"], model_id, number)
    damaged = await source.fetch(SCRUBBING["damaged_of_version"], model_id, number)
    candidate = Candidate(
        model=target["model"],
        number=number,
        id=target["id"],
        author=target["operator"],
        values=await values_of(source, model_id, number),
        deleted=target["deleted_reason"],
        was_baseline=await source.fetchval(POINTERS["last_move_to"], model_id, BASELINE, number) is not None,
        checks={row["name"]: row["passed"] for row in checks},
        approved_by=[row["operator"] for row in words if row["approved"]],
        integrity=integrity_gate(f"{target['model']}/{number}", damaged, force=force),
    )
    contract = contract_of(await contract_row(source, model_id))
    track = track_of(await source.fetchrow(RELEASES["track"], target["track"]))
    baseline = None if now is None else await values_of(source, model_id, now["number"])
    return (
        *gating.judge_gates(contract, candidate, baseline),
        *check_gates(track, candidate.checks, candidate.ref),
        *signature_gates(track, *await outcome_of(source, target), candidate.ref),
    )


def _shut(what: str, target: asyncpg.Record, gates: Sequence[Gate]) -> Conflict:
    missing = next((gate.hint for gate in gates if not gate.passed and gate.hint), None)
    return Conflict(
        f"{what}_refused",
        f"{target['model']}/{target['number']} does not pass the gates",
        expected="every gate open",
        actual=gating.summary(gates),
        hint=missing,
        details={"gates": [gate.model_dump(exclude_none=True) for gate in gates]},
    )
