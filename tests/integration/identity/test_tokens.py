"""Tokens on a real Postgres, through the HTTP API, with their audit entries."""

from __future__ import annotations

import asyncio
import json
import stat
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from muniment.adapters.postgres import open_pool
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.identity.first_admin import ensure_first_admin
from muniment.runtime.identity.management import By, TokenWanted, create_token
from muniment.runtime.identity.tokens import token_hash

from .conftest import CAUSE, URL, Clock, Host, bearer


async def test_the_first_admin_is_in_a_file_for_its_owner_alone_and_in_the_audit_log(host: Host) -> None:
    held = json.loads(host.path.read_text())
    assert held["url"] == URL
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o600
    principal = await host.identity.authenticate(held["token"])
    assert (principal.operator, principal.roles) == ("muniment|admin", frozenset({"admin"}))
    (entry,) = await host.audit()
    assert (entry["action"], entry["resource"], entry["operator"]) == (
        "token.created",
        "tokens/admin",
        "muniment|system",
    )
    lives = await host.registry.fetchval("SELECT expires_at - created_at FROM identity.api_token")
    assert lives == timedelta(days=365)
    assert [path.name for path in host.path.parent.iterdir()] == ["credentials.json"]  # no half-written leftovers


async def test_starting_again_keeps_the_token_and_brings_the_url_up_to_date(host: Host) -> None:
    before = json.loads(host.path.read_text())
    assert await host.start() == "kept"
    assert json.loads(host.path.read_text()) == before
    assert await ensure_first_admin(host.transactions, host.path, "http://127.0.0.1:9999") == "kept"
    assert json.loads(host.path.read_text()) == {**before, "url": "http://127.0.0.1:9999"}
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o600
    assert len(await host.audit()) == 1


@pytest.mark.parametrize("damage", ["gone", "empty", "no token"])
async def test_a_lost_file_makes_no_second_admin_and_says_what_to_do(host: Host, damage: str) -> None:
    if damage == "gone":
        host.path.unlink()
    else:
        host.path.write_text("" if damage == "empty" else '{"url": "x"}')
    with capture_logs() as lines:
        assert await host.start() == "elsewhere"
    (line,) = lines
    assert line["event"] == "credentials_file_missing"
    # What the hint says works, for whoever may write the table.
    owner = await asyncpg.connect(host.dsn)
    try:
        await owner.execute(line["hint"].partition("none is left: ")[2].partition(";")[0])
    finally:
        await owner.close()
    assert await host.start() == "created"
    assert await host.code_of(json.loads(host.path.read_text())["token"]) == "ok"


async def test_when_the_last_admin_token_has_expired_a_new_one_is_made(host: Host) -> None:
    old = json.loads(host.path.read_text())["token"]
    host.clock.moved = timedelta(days=365, seconds=1)
    assert await host.code_of(old) == "token_expired"
    assert await host.start() == "created"
    assert json.loads(host.path.with_name("credentials.json.old").read_text())["token"] == old
    assert await host.code_of(json.loads(host.path.read_text())["token"]) == "ok"


async def test_processes_that_start_at_once_make_one_admin(postgres_dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    async with await open_pool(postgres_dsn, "registry", max_size=8) as pool:
        transactions = Transactions(pool, "registry", "muniment.", Clock(), lambda: True)
        outcomes = await asyncio.gather(*(ensure_first_admin(transactions, path, URL) for _ in range(8)))
        assert sorted(outcomes) == ["created", *["kept"] * 7]
        (kept,) = await pool.fetch("SELECT token_hash FROM identity.api_token")
    assert kept["token_hash"] == token_hash(json.loads(path.read_text())["token"])


async def test_a_start_that_cannot_write_the_file_makes_no_token(postgres_dsn: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    async with await open_pool(postgres_dsn, "registry", max_size=4) as pool:
        transactions = Transactions(pool, "registry", "muniment.", Clock(), lambda: True)
        with pytest.raises(OSError, match="file"):
            await ensure_first_admin(transactions, tmp_path / "file" / "credentials.json", URL)
        assert await pool.fetchval("SELECT count(*) FROM identity.api_token") == 0
        assert await pool.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_token_lives_from_its_making_to_its_revocation(host: Host) -> None:
    token = await host.make("ci", "writer", "reader", subject="pipeline", days=30)
    principal = await host.identity.authenticate(token)
    assert (principal.operator, principal.roles) == ("muniment|pipeline", frozenset({"writer", "reader"}))
    assert await host.code_of(token) == "role_missing"  # a writer is no admin
    answer = await host.http.delete("/tokens/ci", headers=host.admin)
    assert (answer.status_code, answer.content) == (204, b"")
    assert await host.code_of(token) == "token_revoked"
    again = await host.http.delete("/tokens/ci", headers=host.admin)
    assert (again.status_code, again.json()["code"]) == (404, "token_unknown")
    await host.make("ci", "reader")  # the name is free again
    assert await host.code_of(token) == "token_revoked"


async def test_each_change_has_its_audit_entry_and_no_secret_leaves(host: Host) -> None:
    headers = {**host.admin, "x-request-id": "always-the-same"}
    texts = [json.loads(host.path.read_text())["token"]]
    for _ in range(2):  # the same operation under the same request id is another operation, and another entry
        answer = await host.http.post("/tokens", json={"name": "ci", "roles": ["writer"]}, headers=headers)
        texts.append(answer.json()["token"])
        await host.http.delete("/tokens/ci", headers=headers)
    listed = await host.http.get("/tokens", headers=host.admin)
    _, *entries = await host.audit()
    assert [entry["action"] for entry in entries] == ["token.created", "token.revoked"] * 2
    assert {entry["operator"] for entry in entries} == {"muniment|admin"}
    assert {entry["resource"] for entry in entries} == {"tokens/ci"}
    created, revoked = entries[0], entries[1]
    assert created["changes"][0]["after"]["roles"] == ["writer"]
    assert "before" not in created["changes"][0]
    assert revoked["changes"][0]["before"] == created["changes"][0]["after"]
    assert all(entry["cause"]["id"].startswith("always-the-same.") for entry in entries)
    ids = await host.registry.fetch("SELECT DISTINCT id FROM outbox")
    assert len(ids) == 5
    everything = json.dumps(entries) + listed.text
    for text in texts:
        assert text not in everything
        assert token_hash(text).hex() not in everything


async def test_one_name_wanted_by_many_at_once_is_given_once(host: Host) -> None:
    wanted = {"name": "ci", "roles": ["writer"]}
    answers = await asyncio.gather(*(host.http.post("/tokens", json=wanted, headers=host.admin) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 7]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"token_exists"}
    assert [entry["resource"] for entry in await host.audit()].count("tokens/ci") == 1


async def test_the_last_admin_stays_even_when_two_revoke_each_other(host: Host) -> None:
    last = await host.http.delete("/tokens/admin", headers=host.admin)
    assert (last.status_code, last.json()["code"]) == (409, "last_admin")
    assert await host.code_of(host.admin["authorization"][7:]) == "ok"
    second = await host.make("second", "admin")
    answers = await asyncio.gather(
        host.http.delete("/tokens/second", headers=host.admin),
        host.http.delete("/tokens/admin", headers=bearer(second)),
    )
    assert sorted(answer.status_code for answer in answers) == [204, 409]
    codes = {await host.code_of(second), await host.code_of(host.admin["authorization"][7:])}
    assert codes == {"ok", "token_revoked"}


async def test_an_expired_admin_counts_for_nobody(host: Host) -> None:
    await host.make("short", "admin", days=1)
    host.clock.moved = timedelta(days=2)
    answer = await host.http.delete("/tokens/admin", headers=host.admin)
    assert answer.json()["code"] == "last_admin"


async def test_all_or_nothing(host: Host) -> None:
    async def half_done() -> None:
        async with host.transactions.begin() as tx:
            await create_token(tx, TokenWanted(name="ghost", roles=("admin",)), By("muniment|x", "service", CAUSE))
            raise RuntimeError("something later fails")

    with pytest.raises(RuntimeError, match="later"):
        await half_done()
    assert await host.registry.fetchval("SELECT count(*) FROM identity.api_token WHERE name = 'ghost'") == 0
    assert len(await host.audit()) == 1


@pytest.mark.parametrize("name", ["nobody", "%00", "a%2Fb", "x" * 2000, "%F0%9F%92%A9", "%FF", "' OR 1=1 --", "%25"])
async def test_a_name_that_is_no_ones_is_not_found(host: Host, name: str) -> None:
    answer = await host.http.delete(f"/tokens/{name}", headers=host.admin)
    assert answer.status_code == 404
    answer = await host.http.delete(f"/publisher-keys/{name}", headers=host.admin)
    assert answer.status_code == 404
    assert await host.code_of(host.admin["authorization"][7:]) == "ok"


async def test_the_list_is_walked_page_by_page(host: Host) -> None:
    names = [f"t{n}" for n in range(25)]
    for name in names:
        await host.make(name, "reader")
    seen: list[str] = []
    token: str | None = None
    while True:
        params = {"limit": 10} | ({"page_token": token} if token else {})
        page = (await host.http.get("/tokens", params=params, headers=host.admin)).json()
        assert len(page["items"]) <= 10
        seen += [item["name"] for item in page["items"]]
        if (token := page["next_page_token"]) is None:
            break
    assert seen == [*reversed(names), "admin"]
    for wrong, status in (({"limit": 10**9}, 422), ({"page_token": "x"}, 400)):
        answer = await host.http.get("/tokens", params=wrong, headers=host.admin)
        assert answer.status_code == status


async def test_the_last_use_is_noted_in_the_background(host: Host) -> None:
    token = await host.make("ci", "reader")
    await host.identity.authenticate(token)
    await host.identity.settle()
    items = (await host.http.get("/tokens", headers=host.admin)).json()["items"]
    assert next(item for item in items if item["name"] == "ci")["last_used_at"] is not None
