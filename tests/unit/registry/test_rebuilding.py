"""From audit entries to a model's rows, on entries as the audit log makes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.audit.domain import MAX_LEAF, Request, build_entry
from muniment.contracts.events import AuditRequested, Change
from muniment.registry.long_values import joined, whole
from muniment.registry.rebuilding.comparing import TABLES, compared, differences
from muniment.registry.rebuilding.entries import Entry, read_entry
from muniment.registry.rebuilding.folding import fold
from muniment.registry.rebuilding.history import History

START = datetime(2026, 1, 1, tzinfo=UTC)
IDS = [f"sha256:{number:064x}" for number in range(10)]


class Log:
    """Entries of the model `digits`, one a second."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(
        self, action: str, resource: str, *changes: Change, reason: str | None = None, refused: bool = False
    ) -> Log:
        """One entry more, made by the audit service's own code."""
        index = len(self.entries)
        request = AuditRequested.model_validate(
            {
                "action": action,
                "outcome": "refused" if refused else "done",
                "service": "registry",
                "operator": "muniment|ada",
                "authenticated_by": "token",
                "model": "digits",
                "resource": f"models/digits/{resource}",
                "changes": changes,
                "reason": reason,
                "cause": {"kind": "request", "id": f"r{index}"},
                "occurred_at": START + timedelta(seconds=index),
            }
        )
        entry, data = build_entry(Request(f"e{index}", f"00000000-0000-0000-0000-{index:012}", request), START)
        assert len(data) <= MAX_LEAF
        read = read_entry(index, entry)
        if read is not None:
            self.entries.append(read)
        return self

    def version(self, number: int, branch: str = "main", before: int | None = None, *more: Change) -> Log:
        """A version, on a branch whose head was `before`."""
        return self.add(
            "version.committed",
            f"versions/{number}",
            Change(path="version", after=IDS[number]),
            Change(path="number", after=number),
            Change(path=f"branches/{branch}", before=None if before is None else IDS[before], after=IDS[number]),
            Change(path="track", after="production"),
            Change(path="stability", after="candidate"),
            Change(path="manifest", after={"bucket": "b", "version_id": f"v{number}"}),
            *more,
        )

    def move(self, action: str, pointer: str, before: int | None, after: int | None, **more: Any) -> Log:
        """A pointer that moves."""
        sides = {
            side: None if number is None else IDS[number] for side, number in (("before", before), ("after", after))
        }
        return self.add(action, f"pointers/{pointer}", Change(path=f"pointers/{pointer}", **sides), **more)

    def folded(self) -> History:
        """What they add up to."""
        return fold("digits", self.entries)


def test_names_move_and_every_movement_is_kept() -> None:
    log = Log().version(1).version(2, "main", 1)
    log.add("branch.created", "branches/exp/a", Change(path="head", after=IDS[1]))
    log.version(3, "exp/a", 1)
    log.add("branch.protected", "branches/main", Change(path="protected", before=False, after=True))
    log.add("branch.closed", "branches/exp/a")
    log.move("baseline.promoted", "baseline", None, 2, reason="good")
    log.move("baseline.promoted", "baseline", 2, 3, reason="better")
    log.move("baseline.rolled_back", "baseline", 3, 2, reason="worse")
    log.move("pointer.moved", "champion", None, 1).move("pointer.deleted", "champion", 1, None)
    found = log.folded()
    assert found.problems == []
    assert {name: row["head_number"] for name, row in found.branches.items()} == {"main": 2, "exp/a": 3}
    assert found.branches["main"]["protected"]
    assert found.branches["exp/a"]["closed_by"] == "muniment|ada"
    assert [(m["branch"], m["from_number"], m["to_number"]) for m in found.branch_moves] == [
        ("main", None, 1), ("main", 1, 2), ("exp/a", None, 1), ("exp/a", 1, 3),
    ]  # fmt: skip
    assert found.pointers.keys() == {"baseline"}
    assert (found.pointers["baseline"]["number"], found.pointers["baseline"]["revision"]) == (2, 3)
    assert [(m["verb"], m["to_number"], m["reason"]) for m in found.pointer_moves] == [
        ("promote", 2, "good"), ("promote", 3, "better"), ("rollback", 2, "worse"), ("set", 1, None),
        ("delete", None, None),
    ]  # fmt: skip


def test_a_closed_branch_opens_a_version_is_described_and_deleted() -> None:
    log = Log().version(1, "main", None, Change(path="tags", after={"a": "1", "b": "2"}))
    log.add("branch.closed", "branches/main").add("branch.reopened", "branches/main")
    described = [
        Change(path="description", after="new"),
        Change(path="tags/a", before="1"),
        Change(path="tags/c", after="3"),
    ]
    log.add("version.described", "versions/1", *described)
    log.add("version.deleted", "versions/1", reason="wrong data")
    log.add("contract.changed", "contract", Change(path="approvals", after=2))
    log.add("contract.changed", "contract", Change(path="checks", after=["bias"]))
    found = log.folded()
    assert found.branches["main"]["closed_at"] is None
    assert (found.versions[1]["description"], found.versions[1]["tags"]) == ("new", {"b": "2", "c": "3"})
    assert found.tombstones[1]["reason"] == "wrong data"
    assert found.contract is not None
    assert (found.contract["revision"], found.contract["approvals"], found.contract["checks"]) == (2, 2, ["bias"])


def test_a_gap_in_the_log_is_told_and_so_is_a_verb_that_nobody_knows() -> None:
    log = Log().version(1).version(3, "main", 2)
    log.move("pointer.moved", "champion", 1, 3)
    log.add("model.painted", "colour").add("branch.closed", "branches/none")
    found = log.folded()
    assert found.unknown == {"model.painted": 1}
    for word in (
        "gives number 3 after 1",
        f"names {IDS[2]}",
        "but its head was number 1",
        "on number None",
        "not of the form",
    ):
        assert any(word in problem for problem in found.problems), word


def test_what_was_refused_changes_nothing() -> None:
    assert Log().move("baseline.promoted", "baseline", None, 1, refused=True).entries == []


@given(st.text(max_size=20_000) | st.dictionaries(st.text(max_size=60), st.text(max_size=256), max_size=60))
def test_a_long_value_comes_back_whole_from_a_real_entry(value: Any) -> None:
    log = Log().version(1, "main", None, *whole({"description": value}))
    assert log.folded().versions[1]["description"] == value
    assert log.folded().problems == []


@pytest.mark.parametrize("text", ['"' * 20_000, "\u00e9" * 20_000, "\u6f22" * 17_000])
def test_the_longest_descriptions_fit(text: str) -> None:
    assert Log().version(1, "main", None, *whole({"description": text})).folded().versions[1]["description"] == text


def test_one_that_cannot_fit_is_told_not_lost_silently() -> None:
    found = Log().version(1, "main", None, *whole({"description": "\U0001f600" * 20_000})).folded()
    assert found.versions[1]["description"] is None
    assert "by its digest alone" in found.problems[0]


def test_two_long_values_share_an_entrys_room() -> None:
    tags = {f"tag{number}": "\u00e9" * 250 for number in range(80)}
    found = Log().version(1, "main", None, *whole({"description": "\u00e9" * 20_000, "tags": tags})).folded()
    assert found.versions[1]["description"] == "\u00e9" * 20_000
    assert "holds tags by its digest alone" in found.problems[0]


def test_pieces_of_two_values_do_not_mix() -> None:
    both = [*whole({"description": "a" * 3000, "tags": {"x": "b" * 3000}}), Change(path="files", after=1)]
    found = {change["path"]: change["after"] for change in joined(change.model_dump() for change in both)}
    assert found == {"description": "a" * 3000, "tags": {"x": "b" * 3000}, "files": 1}


ROWS = st.dictionaries(st.tuples(st.sampled_from(["a", "b", "B"]), st.integers(1, 4)), st.integers(0, 2), max_size=8)


@given(ROWS, ROWS)
async def test_two_streams_meet_at_their_keys(live: dict[Any, int], rebuilt: dict[Any, int]) -> None:
    table = next(table for table in TABLES if table.name == "version")

    async def stream(rows: dict[Any, int]) -> Any:
        for (model, number), value in sorted(rows.items()):
            yield {"model": model, "number": number, "size_bytes": value}

    found: list[Sequence[Any]] = []
    async for key, left, right in compared(table, stream(live), stream(rebuilt)):
        found += [(one.key, one.column, one.live, one.rebuilt) for one in differences(table, key, left, right)]
    wanted = []
    for key in sorted(live.keys() | rebuilt.keys()):
        if key not in live or key not in rebuilt:
            wanted.append((key, None, "there" if key in live else None, "there" if key in rebuilt else None))
        elif live[key] != rebuilt[key]:
            wanted.append((key, "size_bytes", live[key], rebuilt[key]))
    assert found == wanted
