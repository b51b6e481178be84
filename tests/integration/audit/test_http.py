"""What auditors get over HTTP, and what nobody else does."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from muniment.audit.http import router
from muniment.audit.merkle import leaf_hash, root_of
from muniment.audit.store import SQL, AuditLog
from muniment.contracts.canonical import canonical_json
from muniment.contracts.errors import Unauthenticated
from muniment.contracts.identity import ROLES, Principal
from muniment.runtime.http.app import build_app
from muniment.runtime.metrics import Metrics

from .conftest import Log, Session, Writer, incoming

EMPTY_ROOT = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class TokenIsRole:
    """Takes a role's name for a token."""

    async def authenticate(self, token: str) -> Principal:
        for role in ROLES:
            if token == role:
                return Principal(f"muniment|{role}", frozenset({role}), "token")
        raise Unauthenticated("token_unknown", "no such token")


@pytest.fixture
async def http(writer: Writer) -> AsyncIterator[httpx2.AsyncClient]:
    """An auditor's client of a log of the test's own."""
    async with client_of(writer) as client:
        yield client


@asynccontextmanager
async def client_of(writer: Writer) -> AsyncIterator[httpx2.AsyncClient]:
    app = build_app(
        version="0",
        routers=[router(AuditLog(writer.pool))],
        identity=TokenIsRole(),
        ready={},
        metrics=Metrics(CollectorRegistry()),
    )
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://test/api/v1", headers={"authorization": "Bearer auditor"}
    ) as client:
        yield client


async def get(http: httpx2.AsyncClient, path: str, **query: Any) -> Any:
    answer = await http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def indexes(http: httpx2.AsyncClient, **query: Any) -> list[int]:
    """The indexes of all pages of a search."""
    found: list[int] = []
    token: dict[str, str] = {}
    while True:
        page = await get(http, "/audit/entries", **query, **token)
        found += [item["index"] for item in page["items"]]
        if page["next_page_token"] is None:
            return found
        token = {"page_token": page["next_page_token"]}


async def fill(log: Log) -> Writer:
    """Forty entries in eight batches, one a minute: kinds repeat every 2, 3 and 5."""
    writer = await log.writer()
    for batch in range(8):
        await writer.append(
            *(
                incoming(
                    f"e-{number}",
                    f"flow-{number % 5}",
                    model=("digits", "Faces", None)[number % 3],
                    operator=f"muniment|user-{number % 2}",
                    action=("version.committed", "branch.moved")[number % 2],
                    outcome="refused" if number % 5 == 0 else "done",
                    resource=f"models/m/versions/{number}" + "x" * (1900 if number == 7 else 0),
                )
                for number in range(batch * 5, batch * 5 + 5)
            )
        )
        log.clock.move(60)
    return writer


@pytest.fixture(scope="module")
async def forty(shared_log: Log) -> AsyncIterator[httpx2.AsyncClient]:
    """An auditor's client of a log of forty entries, for tests that only read."""
    async with client_of(await fill(shared_log)) as client:
        yield client


@pytest.mark.parametrize("path", ["/audit/head", "/audit/entries", "/audit/entries/0"])
async def test_only_auditors_and_admins_read(forty: httpx2.AsyncClient, path: str) -> None:
    statuses = {
        token: (await forty.get(path, headers={"authorization": f"Bearer {token}"})).status_code
        for token in (*ROLES, "stranger")
    }
    assert statuses == {"reader": 403, "writer": 403, "promoter": 403, "auditor": 200, "admin": 200, "stranger": 401}


async def test_the_head_grows_with_the_log(http: httpx2.AsyncClient, writer: Writer) -> None:
    assert await get(http, "/audit/head") == {"size": 0, "root_hash": EMPTY_ROOT}
    await writer.append(incoming("a"), incoming("b"), incoming("c"))
    items = (await get(http, "/audit/entries"))["items"]
    leaves = [leaf_hash(canonical_json(item["entry"])) for item in items]
    assert await get(http, "/audit/head") == {"size": 3, "root_hash": root_of(leaves).hex()}


async def test_an_entry_can_be_hashed_again_from_the_answer(http: httpx2.AsyncClient, writer: Writer) -> None:
    odd = {"a": [1e21, -0.0, 1.0, None, "\u2028\U0001f600é"], "€": {"\r": 5e-324}}
    await writer.append(incoming("a"), incoming("b", changes=[{"path": "p", "before": odd}]), incoming("c"))
    found = await get(http, "/audit/entries/1")
    leaf = leaf_hash(canonical_json(found["entry"]))
    assert found["leaf_hash"] == leaf.hex()
    assert found["entry"]["event_id"] == "b"
    first = bytes.fromhex((await get(http, "/audit/entries/0"))["leaf_hash"])
    assert (found["index"], found["tree_size"]) == (1, 2)
    assert found["root_hash"] == root_of([first, leaf]).hex()
    assert found["covered_by"] == await get(http, "/audit/head")
    assert (await get(http, "/audit/entries"))["items"][1] == {k: v for k, v in found.items() if k != "covered_by"}


async def test_covered_by_is_the_first_head_over_the_entry(forty: httpx2.AsyncClient) -> None:
    sizes = [(await get(forty, f"/audit/entries/{index}"))["covered_by"]["size"] for index in (0, 4, 5, 39)]
    assert sizes == [5, 5, 10, 40]


@pytest.mark.parametrize("index", ["40", "-1", str(2**63 - 1), str(2**63), str(10**30)])
async def test_an_entry_that_is_not_there(forty: httpx2.AsyncClient, index: str) -> None:
    answer = await forty.get(f"/audit/entries/{index}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "audit_entry_not_found"
    assert answer.json()["expected"] == "0 <= index < 40"


@pytest.mark.parametrize("order", ["oldest", "newest"])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, lambda n: True),
        ({"model": "DIGITS"}, lambda n: n % 3 == 0),
        ({"model": "faces"}, lambda n: n % 3 == 1),
        ({"model": "%"}, lambda n: False),
        ({"action": "branch.moved"}, lambda n: n % 2 == 1),
        ({"operator": "muniment|user-0"}, lambda n: n % 2 == 0),
        ({"outcome": "refused"}, lambda n: n % 5 == 0),
        ({"correlation": "flow-3"}, lambda n: n % 5 == 3),
        ({"resource": "models/m/versions/12"}, lambda n: n == 12),
        ({"resource": "models/m/versions/7" + "x" * 1900}, lambda n: n == 7),
        ({"resource": "models/m/versions/7" + "x" * 1899}, lambda n: False),
        ({"model": "digits", "action": "branch.moved", "outcome": "done"}, lambda n: n % 6 == 3 and n % 5),
        ({"since": "2026-05-17T12:01:00Z"}, lambda n: n >= 5),
        ({"since": "2026-05-17T12:01:00.000001Z"}, lambda n: n >= 10),
        ({"until": "2026-05-17T14:01:00+02:00"}, lambda n: n < 5),
        ({"since": "2026-05-17T12:01:30Z", "until": "2026-05-17T12:03:00Z"}, lambda n: n in range(10, 15)),
        ({"since": "2030-01-01T00:00:00Z"}, lambda n: False),
        ({"until": "2000-01-01T00:00:00Z"}, lambda n: False),
        ({"since": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"}, lambda n: True),
        ({"after_index": 17}, lambda n: n > 17),
        ({"after_index": -1}, lambda n: True),
        ({"after_index": 39}, lambda n: False),
        ({"after_index": 17, "operator": "muniment|user-1"}, lambda n: n > 17 and n % 2),
    ],
)
async def test_search(forty: httpx2.AsyncClient, query: dict[str, Any], expected: Any, order: str) -> None:
    wanted = [number for number in range(40) if expected(number)]
    if order == "newest":
        wanted.reverse()
    assert await indexes(forty, order=order, limit=3, **query) == wanted
    assert await indexes(forty, order=order, limit=1000, **query) == wanted


async def test_pages_hold_still_while_the_log_grows(http: httpx2.AsyncClient, writer: Writer) -> None:
    await writer.append(*(incoming(f"e-{number}") for number in range(5)))
    first = await get(http, "/audit/entries", order="newest", limit=2)
    await writer.append(incoming("later"))
    second = await get(http, "/audit/entries", order="newest", limit=2, page_token=first["next_page_token"])
    assert [item["index"] for item in (*first["items"], *second["items"])] == [4, 3, 2, 1]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"since": "yesterday"}, "time_invalid"),
        ({"until": "2026-05-17T12:00:00"}, "time_invalid"),
        ({"since": "2026-05-17T12:00:00 02:00"}, "time_invalid"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "time_invalid"),
        ({"model": "a\x00"}, "json_forbidden_character"),
        ({"order": "sideways"}, "schema_invalid"),
        ({"outcome": "maybe"}, "schema_invalid"),
        ({"after_index": 2**63}, "schema_invalid"),
        ({"after_index": -2}, "schema_invalid"),
        ({"limit": 1001}, "schema_invalid"),
        ({"limit": 0}, "schema_invalid"),
        ({"resource": "x" * 2001}, "schema_invalid"),
        ({"page_token": "AAAA"}, "page_token_invalid"),
    ],
)
async def test_a_search_that_means_nothing_is_refused(
    forty: httpx2.AsyncClient, query: dict[str, Any], code: str
) -> None:
    answer = await forty.get("/audit/entries", params=query)
    assert answer.status_code in {400, 422}, answer.text
    assert answer.json()["code"] == code


async def test_each_filter_reads_a_range_of_its_index(writer: Writer, superuser: Session) -> None:
    await superuser.execute(
        """
        INSERT INTO entry SELECT n, n::text, sha256(n::text::bytea), sha256(n::text::bytea), 'x', now(), 'a', 'done',
            'o' || n % 50, 'model-' || n % 50, 'r/' || n, 'f' || n % 5000 FROM generate_series(0, 19999) AS n;
        ANALYZE entry;
        """
    )
    rare = dict(enumerate(("model", "action", "operator", "resource", "correlation", "outcome"), start=3))
    for name, (place, column) in itertools.product(("list_oldest_first", "list_newest_first"), rare.items()):
        arguments: list[Any] = [0, 2**62, None, None, None, None, None, None, 101]
        arguments[place - 1] = "rare"
        async with writer.pool.acquire() as connection, connection.transaction():
            await connection.execute(SQL["exact_plans"])
            plan = "\n".join(row[0] for row in await connection.fetch("EXPLAIN " + SQL[name], *arguments))
        assert f"using entry_{column} " in plan or f"on entry_{column} " in plan, plan
        assert "Seq Scan" not in plan, plan
