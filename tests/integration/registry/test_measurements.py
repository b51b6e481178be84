"""Evaluations and observations: recorded once, kept as they are, listed as series, held against the baseline."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from muniment.contracts import topics
from muniment.registry.measuring import SQL, metric_values, values_of
from muniment.registry.store import SQL as READS
from muniment.registry.tolerances import Measured
from muniment.server.parts import Parts

from .conftest import Registry

NDJSON = {"content-type": "application/x-ndjson"}


def later(seconds: float) -> str:
    """A time that is after every version of a test, and not in the future by more than clocks may be apart."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def measure(
    registry: Registry, verb: str, ref: str, *points: dict[str, Any], as_: str = "ada", **given: Any
) -> Any:
    body = {"ref": ref, "measurements": list(points)}
    path = f"/models/{ref.partition('/')[0]}/{verb}"
    return await registry.call("POST", path, as_=as_, status=201, json=body, **given)


async def make_baseline(registry: Registry, number: int, *tolerances: dict[str, Any]) -> None:
    await registry.pool.execute(
        "INSERT INTO pointer (model_id, name, number, created_at, created_by, moved_at, moved_by) "
        "VALUES (1, 'baseline', $1, now(), 'pam', now(), 'pam')",
        number,
    )
    await registry.pool.execute(
        "INSERT INTO contract (model_id, tolerances, changed_at, changed_by) VALUES (1, $1, now(), 'pam')",
        json.dumps(tolerances),
    )


async def test_a_hundred_thousand_points_go_in_as_one_batch_and_only_once(registry: Registry) -> None:
    await registry.commit()
    began = datetime.now(UTC)
    lines = [
        {"metric": "latency", "value": n / 7, "unit": "ms", "at": (began + timedelta(microseconds=n)).isoformat()}
        for n in range(100_000)
    ]
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    given: dict[str, Any] = {
        "params": {"ref": "digits/1"},
        "content": body,
        "headers": {**NDJSON, "idempotency-key": "nightly"},
    }
    first = await registry.call("POST", "/models/digits/observations", as_="ada", status=201, **given)
    again = await registry.call("POST", "/models/digits/observations", as_="ada", status=201, **given)
    assert (first["count"], first["repeated"], again["repeated"]) == (100_000, False, True)
    assert again["batch"] == first["batch"]
    assert await registry.pool.fetchval("SELECT count(*) FROM measurement") == 100_000
    (entry,) = await registry.audits("version.observation")
    assert entry["changes"][0]["after"]["count"] == 100_000
    assert entry["changes"][0]["after"]["sha256"] == first["sha256"]
    told = [one for one in await registry.sent(topics.REGISTRY_CHANGED) if one["kind"] == "version-evaluated"]
    assert len(told) == 1
    given["content"] = json.dumps(lines[0]).encode()
    await registry.refused("POST", "/models/digits/observations", "idempotency_key_reused", as_="ada", **given)
    page = await registry.get("/models/digits/series", metric="latency", over="time", ref="digits/1", limit=2)
    rest = await registry.get(
        "/models/digits/series",
        metric="latency",
        over="time",
        ref="digits/1",
        limit=1,
        page_token=page["next_page_token"],
    )
    assert [item["value"] for item in page["items"] + rest["items"]] == [0, 1 / 7, 2 / 7]


@pytest.mark.parametrize("statement", ["UPDATE {} SET operator = 'x'", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
async def test_what_was_measured_stays_even_for_a_superuser(registry: Registry, parts: Parts, statement: str) -> None:
    await registry.commit()
    await measure(registry, "evaluations", "digits/1", {"metric": "accuracy", "value": 0.9})
    database = await registry.pool.fetchval("SELECT current_database()")
    admin = await asyncpg.connect(parts.postgres.dsn.replace("/muniment?", f"/{database}?"))
    try:
        assert await admin.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = session_user")
        await admin.execute("SET search_path TO registry")
        for table in ("measurement", "measurement_batch"):
            with pytest.raises(asyncpg.RestrictViolationError):
                await admin.execute(statement.format(table))
    finally:
        await admin.close()


async def test_gates_see_the_newest_evaluation_over_the_manifest_and_no_observation(registry: Registry) -> None:
    await registry.commit(accuracy=0.9, loss=0.3)
    await registry.commit(accuracy=0.8)
    await registry.commit()
    first, second = later(1), later(2)
    await measure(
        registry,
        "evaluations",
        "digits/1",
        {"metric": "accuracy", "value": 0.93, "at": second},
        {"metric": "accuracy", "value": 0.91, "at": first},
        {"metric": "accuracy", "value": 0.7, "dataset": "test", "slice": "sevens"},
    )
    await measure(registry, "observations", "digits/1", {"metric": "accuracy", "value": 0.1, "at": later(9)})
    assert await values_of(registry.pool, 1, 1) == {
        Measured("accuracy"): 0.93,
        Measured("loss"): 0.3,
        Measured("accuracy", "test", "sevens"): 0.7,
    }
    assert await metric_values(registry.pool, 1, "accuracy") == {1: 0.93, 2: 0.8}
    assert await metric_values(registry.pool, 1, "accuracy", "test", "sevens") == {1: 0.7}
    series = await registry.get("/models/digits/series", metric="accuracy")
    assert [(item["number"], item["source"]) for item in series["items"]] == [(1, "evaluation"), (2, "manifest")]
    listed = await registry.get("/measurements", ref="digits/1", kind="evaluation", limit=2)
    assert [item["value"] for item in listed["items"]] == [0.7, 0.91], "those recorded last come first"
    assert (listed["items"][0]["slice"], listed["items"][1]["slice"]) == ("sevens", None)
    rest = await registry.get(
        "/measurements", ref="digits/1", kind="evaluation", limit=2, page_token=listed["next_page_token"]
    )
    assert [item["value"] for item in rest["items"]] == [0.93]


@pytest.mark.parametrize("metric", [None, "m1"])
@pytest.mark.parametrize("statistics", [False, True])
async def test_a_page_is_read_in_the_order_of_an_index_with_statistics_and_without(
    registry: Registry, parts: Parts, metric: str | None, statistics: bool
) -> None:
    await registry.commit()
    batch = uuid.uuid4()
    await registry.pool.execute(
        SQL["insert_batch"], batch, 1, 1, "observation", 20_000, "0" * 64, "ada", datetime.now(UTC)
    )
    await registry.pool.execute(
        "INSERT INTO measurement (batch_id, model_id, number, kind, metric, value, dataset, slice, measured_at, recorded_at,"
        " operator) SELECT $1, 1, 1, 'observation', 'm' || n % 3, n, '', '', now(), now(), 'ada'"
        " FROM generate_series(1, 20000) AS n",
        batch,
    )
    if statistics:
        await analyze(parts, registry)
    plan = await plan_of(registry, None, None, metric)
    index = "measurement_of_metric" if metric else "measurement_of_kind"
    assert f"Index Scan using {index} on measurement" in plan, plan
    assert max(map(float, re.findall(r"actual time=\S+ rows=([\d.]+)", plan))) <= 101, plan  # what is asked for


@pytest.mark.parametrize("filtered", ["slice", "dataset"])
async def test_a_rare_slice_or_dataset_is_found_by_its_index(registry: Registry, filtered: str) -> None:
    await registry.commit()
    batch = uuid.uuid4()
    await registry.pool.execute(
        SQL["insert_batch"], batch, 1, 1, "observation", 20_000, "0" * 64, "ada", datetime.now(UTC)
    )
    await registry.pool.execute(
        "INSERT INTO measurement (batch_id, model_id, number, kind, metric, value, dataset, slice, measured_at, recorded_at,"
        " operator) SELECT $1, 1, 1, 'observation', 'm', n, name, name, now(), now(), 'ada'"
        " FROM generate_series(1, 20000) AS n, LATERAL (SELECT CASE WHEN n % 9000 = 1 THEN 'rare' ELSE '' END) AS x (name)",
        batch,
    )
    given = {"dataset": (None, "rare"), "slice": ("rare", None)}[filtered]
    for metric in (None, "m"):
        query: dict[str, Any] = {filtered: "rare", "metric": metric}
        page = await registry.get("/measurements", ref="digits/1", limit=2, **query)
        assert [item["value"] for item in page["items"]] == [18_001.0, 9_001.0]
        rest = await registry.get("/measurements", ref="digits/1", limit=2, page_token=page["next_page_token"], **query)
        assert [item["value"] for item in rest["items"]] == [1.0]
        plan = await plan_of(registry, given[1], given[0], metric)
        assert "Rows Removed by Filter" not in plan, plan


@pytest.mark.parametrize("filters", [("m", "s"), ("d", "s"), ("m", "d"), ("m", "d", "s")])
async def test_filters_that_are_frequent_each_and_rare_together_read_no_more_than_is_told(
    registry: Registry, filters: tuple[str, ...]
) -> None:
    await registry.commit()
    batch = uuid.uuid4()
    await registry.pool.execute(
        SQL["insert_batch"], batch, 1, 1, "observation", 9_001, "0" * 64, "ada", datetime.now(UTC)
    )
    # Each word stands in half of the rows or more, all that are asked for in one alone.
    words = ", ".join(
        f"CASE WHEN n % {len(filters)} = {filters.index(one) if one in filters else -1} AND n > 1 THEN 'x' ELSE '{one}' END"
        for one in ("m", "d", "s")
    )
    await registry.pool.execute(
        "INSERT INTO measurement (batch_id, model_id, number, kind, metric, dataset, slice, value, measured_at, recorded_at,"
        f" operator) SELECT $1, 1, 1, 'observation', {words}, n, now(), now(), 'ada' FROM generate_series(1, 9001) AS n",
        batch,
    )
    names = {"m": "metric", "d": "dataset", "s": "slice"}
    page = await registry.get("/measurements", ref="digits/1", **{names[one]: one for one in filters})
    assert [item["value"] for item in page["items"]] == [1.0]
    dataset, slice_, metric = (one if one in filters else None for one in ("d", "s", "m"))
    plan = await plan_of(registry, dataset, slice_, metric)
    assert "Rows Removed by Filter" not in plan, plan


async def plan_of(registry: Registry, dataset: str | None, slice_: str | None, metric: str | None) -> str:
    async with registry.pool.acquire() as connection, connection.transaction():
        await connection.execute(SQL["in_index_order"])
        rows = await connection.fetch(
            f"EXPLAIN (ANALYZE, FORMAT TEXT) {SQL['measurements']}",
            *(1, 1, 2**62, ["evaluation", "observation"], dataset, slice_, 101, metric),
        )
    return "\n".join(row[0] for row in rows)


async def analyze(parts: Parts, registry: Registry) -> None:
    """As autovacuum does some day. The services' role may not."""
    name = await registry.pool.fetchval("SELECT current_database()")
    connection = await asyncpg.connect(parts.postgres.dsn.replace("/muniment?", f"/{name}?"))
    try:
        await connection.execute("ANALYZE registry.measurement, registry.version")
    finally:
        await connection.close()


async def test_a_list_as_of_a_moment_long_ago_begins_there(registry: Registry) -> None:
    for n in range(4):
        await registry.commit(files={"model.bin": b"%d" % n})
    moments = [row[0] for row in await registry.pool.fetch("SELECT committed_at FROM version ORDER BY number")]
    page = await registry.get("/models/digits/versions", at=moments[1].isoformat())
    assert [item["number"] for item in page["items"]] == [2, 1]
    async with registry.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")  # the table is tiny
        rows = await connection.fetch(f"EXPLAIN {READS['last_number_then']}", 1, moments[0])
    assert "version_committed" in "\n".join(row[0] for row in rows)


async def test_a_measurement_of_no_batch_is_refused_by_the_database(registry: Registry) -> None:
    await registry.commit()
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await registry.pool.execute(
            "INSERT INTO measurement (batch_id, model_id, number, kind, metric, value, dataset, slice, measured_at,"
            " recorded_at, operator) VALUES ($1, 1, 1, 'observation', 'm', 1, '', '', now(), now(), 'ada')",
            uuid.uuid4(),
        )


async def test_every_column_of_an_upload_is_what_was_sent(registry: Registry) -> None:
    await registry.commit()
    at = later(1)
    await measure(
        registry,
        "observations",
        "digits/1",
        {"metric": "größe", "value": -0.1, "unit": "µs", "dataset": "live", "slice": "日本", "at": at},
        {"metric": "größe", "value": 2**53 - 1},
        {"metric": "n", "value": 1e-300, "at": at},
    )
    rows = await registry.pool.fetch("SELECT * FROM measurement ORDER BY seq")
    assert [(r["metric"], r["value"], r["unit"], r["dataset"], r["slice"]) for r in rows] == [
        ("größe", -0.1, "µs", "live", "日本"),
        ("größe", float(2**53 - 1), "µs", "", ""),
        ("n", 1e-300, None, "", ""),
    ]
    assert rows[0]["measured_at"] == datetime.fromisoformat(at) == rows[2]["measured_at"]
    assert rows[1]["measured_at"] == rows[1]["recorded_at"]
    assert {(r["operator"], r["kind"], r["model_id"], r["number"]) for r in rows} == {
        ("muniment|ada", "observation", 1, 1)
    }


async def test_a_bad_row_is_named_and_nothing_of_its_batch_is_kept(registry: Registry) -> None:
    await registry.commit()
    good = {"metric": "latency", "value": 3, "unit": "ms"}
    await measure(registry, "evaluations", "digits/1", good)
    for bad, code in (
        ({"metric": "latency", "value": 3, "unit": "s"}, "unit_differs"),
        ({"metric": "latency", "value": 3, "at": later(3600)}, "measured_in_future"),
        ({"metric": "latency", "value": 3, "at": "2020-01-02T03:04:05Z"}, "measured_before_version"),
        ({"metric": "latency", "value": "3"}, "metric_value_invalid"),
    ):
        body = {"ref": "digits/1", "measurements": [good, bad]}
        problem = await registry.refused("POST", "/models/digits/evaluations", code, as_="ada", json=body)
        assert "row 2" in problem["detail"], problem
    lines = json.dumps(good).encode() + b'\n{"metric": "latency", "value": NaN}'
    given: dict[str, Any] = {"content": lines, "params": {"ref": "digits/1"}, "headers": NDJSON}
    problem = await registry.refused("POST", "/models/digits/evaluations", "json_not_finite", as_="ada", **given)
    assert "row 2" in problem["detail"], problem
    assert await registry.pool.fetchval("SELECT count(*) FROM measurement") == 1
    await registry.refused("POST", "/models/digits/evaluations", "role_missing", as_="rae", json=body)
    other = {"ref": "other/1", "measurements": [good]}
    await registry.commit("other")
    await registry.refused("POST", "/models/digits/evaluations", "reference_elsewhere", as_="ada", json=other)


async def test_a_slice_that_breaks_the_baseline_is_told_once_and_so_is_its_recovery(registry: Registry) -> None:
    await registry.commit(accuracy=0.9)
    sevens = {"metric": "accuracy", "dataset": "live", "slice": "sevens"}
    await measure(registry, "evaluations", "digits/1", {**sevens, "value": 0.9})
    await make_baseline(
        registry, 1, {**sevens, "absolute": 0.04, "hysteresis": 0.5}, {"metric": "accuracy", "absolute": 0.04}
    )
    times = [later(n) for n in range(8)]

    async def see(value: float, at: str, **of: Any) -> list[dict[str, Any]]:
        answer = await measure(registry, "observations", "digits/1", {**sevens, **of, "value": value, "at": at})
        return list(answer["divergences"])

    assert await see(0.87, times[1]) == []
    (broken,) = await see(0.85, times[4])
    assert (broken["slice"], broken["dataset"], broken["actual"]) == ("sevens", "live", 0.85)
    assert broken["expected"] == ">= 0.86 (the baseline has 0.9)"
    assert await see(0.84, times[3]) == [], "it came late, and moves the beginning back"
    assert await see(0.87, times[5]) == [], "within the tolerance, but not yet by the hysteresis"
    (standing,) = (await registry.get("/models/digits/divergences", state="broken"))["items"]
    assert standing["first_at"].startswith(times[3][:23]), standing
    (recovered,) = await see(0.88, times[6])
    assert (recovered["recovered"], recovered["first_version"]["number"]) == (True, 1)
    assert await see(0.88, times[7], slice="ones") == []
    events = await registry.sent(topics.BASELINE_DIVERGED)
    assert [event.get("recovered", False) for event in events] == [False, True]
    (entry,) = await registry.audits("baseline.diverged")
    assert (entry["operator"], entry["authenticated_by"]) == ("muniment|registry", "service")
    assert len(await registry.audits("baseline.recovered")) == 1
    assert (await registry.get("/models/digits/divergences", state="broken"))["items"] == []


async def test_a_newer_version_of_main_that_breaks_is_named_first(registry: Registry) -> None:
    await registry.commit(accuracy=0.9)
    await make_baseline(registry, 1, {"metric": "accuracy", "relative": 0.02})
    await registry.commit(branch="exp/a")
    await registry.commit()
    await registry.commit()
    poor = {"metric": "accuracy", "value": 0.5}
    assert (await measure(registry, "evaluations", "digits/2", poor))["divergences"] == [], "an experiment may fail"
    (told,) = (await measure(registry, "evaluations", "digits/3", poor))["divergences"]
    assert (told["first_version"]["number"], told["baseline"]["number"]) == (3, 1)
    assert (await measure(registry, "evaluations", "digits/4", poor))["divergences"] == []
    (standing,) = (await registry.get("/models/digits/divergences"))["items"]
    assert (standing["state"], standing["first_number"], standing["line"]) == ("broken", 3, "main")
