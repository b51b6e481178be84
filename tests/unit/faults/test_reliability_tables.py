"""The measured tables of docs/reliability.md hold every run that was kept, failures too."""

from __future__ import annotations

import json

from tests.bench.tables import read
from tests.faults.reliability import chaos_table, singles_table

MACHINE = {"machine": "A Processor", "commit": "abc123", "at": "2026-05-17T10:00:00+00:00"}


def kept(*figures: dict[str, object]) -> list[str]:
    return ["\n".join(json.dumps(line) for line in (MACHINE, *figures))]


def caught_up(fault: str, value: float, violations: int = 0) -> dict[str, object]:
    return {"metric": "fault_caught_up_s", "value": value, "unit": "s", "fault": fault, "violations": violations}


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_a_row_has_how_often_it_was_tried_and_seen_and_the_seconds_it_took() -> None:
    name = "kill at audit.before-commit"
    lines = read(kept(caught_up(name, 4.0), caught_up(name, 9.0), caught_up(name, 5.0), caught_up("stop audit", 2.0)))
    assert rows(singles_table(lines)) == [
        [name, "3", "3", "5.0", "9.0", "0"],
        ["stop audit", "1", "1", "2.0", "2.0", "0"],
    ]


def test_what_failed_or_broke_an_invariant_is_told() -> None:
    failed = {"metric": "fault_failed", "value": 1, "unit": "faults", "fault": "pause ingest"}
    lines = read(kept(failed, caught_up("stop ingest", 3.0, violations=2)))
    assert rows(singles_table(lines)) == [
        ["pause ingest", "1", "0", "-", "-", "0"],
        ["stop ingest", "1", "1", "3.0", "3.0", "2"],
    ]


def test_a_run_of_chaos_has_what_was_begun_and_what_was_seen() -> None:
    run = {"seed": 7, "seconds": 60, "begun": 12, "seen": {"kill registry": 2, "cut database": 9}, "violations": 0}
    lines = read(kept({"metric": "chaos_settled_s", "value": 8.25, "unit": "s", **run}))
    assert rows(chaos_table(lines)) == [["7", "60", "12", "11", "8.2", "0", "2026-05-17, abc123"]]
