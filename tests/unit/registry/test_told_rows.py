"""Rows in audit entries: few as they are, many by their digest, which anybody can make again."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from muniment.audit.domain import MAX_LEAF, Request, build_entry
from muniment.contracts.canonical import canonical_json
from muniment.contracts.events import AuditRequested
from muniment.registry.rebuilding.comparing import TABLES, Difference
from muniment.registry.rebuilding.digested import without_digested
from muniment.registry.rebuilding.entries import Entry, read_entry
from muniment.registry.rebuilding.folding import fold
from muniment.registry.rebuilding.history import Told
from muniment.registry.rebuilding.reported import edges_of
from muniment.registry.told_rows import FEW, RowsDigest, edge_cells, measurement_cells, told

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = "00000000-0000-0000-0000-000000000001"
texts = st.text(st.characters(codec="utf-8"), max_size=40)
cells = st.lists(st.none() | texts, min_size=1, max_size=6)


def entry_of(action: str, resource: str, changes: Any, model: str | None = "digits") -> Entry:
    """An entry as the audit service makes it, and the rebuild reads it."""
    request = AuditRequested.model_validate(
        {
            "action": action,
            "service": "registry",
            "operator": "muniment|ada",
            "authenticated_by": "token",
            "model": model,
            "resource": resource,
            "changes": changes,
            "cause": {"kind": "request", "id": "r1"},
            "occurred_at": NOW,
        }
    )
    entry, data = build_entry(Request("e1", None, request), NOW)
    assert len(data) <= MAX_LEAF
    read = read_entry(0, entry)
    assert read is not None
    return read


@given(st.lists(cells, max_size=40))
def test_a_digest_is_of_the_canonical_json_of_the_rows_and_few_come_back(rows: list[list[str | None]]) -> None:
    text = canonical_json(rows)
    entry = entry_of("version.evaluation", "models/digits/versions/1", told("points", rows))
    assert entry.after("points") == {"count": len(rows), "sha256": hashlib.sha256(text).hexdigest()}
    assert entry.after("points/rows") == (rows if len(text) <= FEW else None)


def test_rows_that_just_fit_and_those_that_do_not() -> None:
    row = "x" * (FEW - len('[["",null]]'))
    assert len(told("points", [[row, None]])) > 1
    assert len(told("points", [[f"{row}x", None]])) == 1


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_value_reads_back_as_the_same_double(value: float) -> None:
    told_value = measurement_cells("m", value, None, "", "", NOW)[1]
    assert told_value is not None
    assert str(float(told_value)) == str(value)


def upload(*changes: Any) -> list[Entry]:
    """Entries of a version's uploads."""
    said = {"path": "measurements", "after": {"batch": BATCH, "kind": "observation", "count": 2, "sha256": "ab"}}
    return [entry_of("version.observation", "models/digits/versions/1", [said, *(c.model_dump() for c in changes)])]


def test_an_upload_whose_entry_is_of_before_is_known_by_its_count() -> None:
    history = fold("digits", upload())
    assert (history.problems, history.points) == ([], [])
    (batch,) = history.batches
    assert (batch["number"], batch["count"], batch["operator"]) == (1, 2, "muniment|ada")
    assert (history.digested[BATCH].count, history.digested[BATCH].sha256) == (2, None)


def test_units_that_an_entry_tells_by_digest_alone_are_a_problem_of_the_report() -> None:
    many = told("units", [[f"metric-{n}" * 10, "ms"] for n in range(500)])
    history = fold("digits", upload(*told("points", []), *many))
    assert "500 new units" in history.problems[0]


def test_a_place_with_slashes_is_taken_from_its_own_fields() -> None:
    version = "sha256:" + "0" * 64
    committed = [
        {"path": "version", "after": version},
        {"path": "number", "after": 1},
        {"path": "branches/main", "after": version},
    ]
    place = {
        "path": "deployments/a/b/c",
        "after": {"version": version, "state": "running", "at": "2026-01-01T00:00:00Z"},
    }
    said = [{"path": "environment", "after": "a/b"}, {"path": "deployer", "after": "c"}]
    entries = [
        entry_of("version.committed", "models/digits/versions/1", committed),
        entry_of("deployment.reported", "models/digits/deployments/a/b/c", [place, *said]),
        entry_of("deployment.reported", "models/digits/deployments/a/b/c", [place]),
    ]
    history = fold("digits", entries)
    assert [(one["environment"], one["deployer"]) for one in history.deployments] == [("a/b", "c"), ("a", "b/c")]


def test_edges_of_runs_are_read_from_entries_of_no_model() -> None:
    common = [{"path": "job", "after": "etl/scan"}, {"path": "occurred_at", "after": "2026-01-01T00:00:00.000000Z"}]
    few = [change.model_dump() for change in told("edges", [edge_cells("input", "s3://raw", "")])]
    rows, by_digest = edges_of(entry_of("lineage.received", "lineage/runs/7", [*common, *few], None))
    assert ([(row["run_id"], row["way"], row["cause"]) for row in rows], by_digest) == (
        [("7", "input", "request r1")],
        None,
    )
    rows, by_digest = edges_of(entry_of("lineage.received", "lineage/runs/7", [{"path": "edges", "after": 3}], None))
    assert by_digest is not None
    assert (rows, by_digest.count, by_digest.sha256) == ([], 3, None)


async def test_stored_rows_are_held_against_the_digest_and_the_rest_goes_on() -> None:
    table = next(table for table in TABLES if table.name == "external_edge")
    common = {"job": "etl"}

    def row(cause: str, name: str, job: str = "etl") -> dict[str, Any]:
        return {"run_id": "7", "cause": cause, "way": "input", "name": name, "digest": "", "job": job}

    async def live() -> Any:
        for cause, name in (("a", "1"), ("a", "2"), ("b", "3"), ("c", "4")):
            yield row(cause, name, "other" if name == "2" else "etl")

    def digest(*names: str) -> str:
        made = RowsDigest()
        for name in names:
            made.add(edge_cells("input", name, ""))
        return made.hexdigest()

    expected = {
        ("7", "a"): Told(2, digest("1", "2"), common),
        ("7", "c"): Told(1, digest("5"), common),
        ("7", "d"): Told(1, digest("6"), common),
    }
    found: list[Difference] = []
    passed = [one async for one in without_digested(table, live(), expected, lambda _, more: found.extend(more))]
    assert [one["name"] for one in passed] == ["3"]
    assert [(one.key, one.column) for one in found] == [
        (("7", "a", "input", "2", ""), "job"),
        (("7", "c"), "rows"),
        (("7", "d"), "rows"),
    ]
    assert found[-1].live == "0 rows"
    assert json.loads(json.dumps(found[1].as_json()))["rebuilt"] == f"1 rows, sha256 {digest('5')}"
