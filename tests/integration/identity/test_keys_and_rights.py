"""Publisher keys, and what each role of the database may do with identities."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from muniment.adapters.postgres import open_pool
from muniment.contracts import signature
from muniment.contracts.cloudevent import CloudEvent
from muniment.contracts.errors import Unauthenticated
from muniment.runtime.identity.store import SQL
from muniment.runtime.identity.tokens import token_hash
from muniment.sdk.event import new_publisher_key

from .conftest import IDENTITY, Host


async def test_a_publisher_key_signs_for_its_account_until_it_is_revoked(host: Host) -> None:
    key = new_publisher_key()
    event = CloudEvent("run-1", "/ci", "muniment.training-completed.v1", b'{"model": "digits"}')
    header = signature.parse(signature.sign(event, key.private_pem))
    wanted = {"account": "trainer", "public_key": key.public_pem.decode()}
    with pytest.raises(Unauthenticated) as unknown:
        await host.identity.publisher_key(header.kid)
    answer = await host.http.post("/publisher-keys", json=wanted, headers=host.admin)
    assert answer.status_code == 201
    assert answer.json()["kid"] == header.kid
    assert answer.json()["operator"] == "muniment|trainer"
    found = await host.identity.publisher_key(header.kid)
    signature.verify(event, header, found.public_key)
    assert found.account == "trainer"
    changed = dataclasses.replace(event, data=b'{"model": "other"}')
    with pytest.raises(Unauthenticated) as invalid:
        signature.verify(changed, header, found.public_key)
    again = await host.http.post("/publisher-keys", json=wanted, headers=host.admin)
    assert (again.status_code, again.json()["code"]) == (409, "publisher_key_exists")
    assert (await host.http.delete(f"/publisher-keys/{header.kid}", headers=host.admin)).status_code == 204
    with pytest.raises(Unauthenticated) as revoked:
        await host.identity.publisher_key(header.kid)
    back = await host.http.post("/publisher-keys", json=wanted, headers=host.admin)
    assert back.status_code == 409  # a revoked key cannot come back
    listed = (await host.http.get("/publisher-keys", headers=host.admin)).json()["items"]
    assert [(item["kid"], item["revoked_at"] is None) for item in listed] == [(header.kid, False)]
    codes = [error.value.code for error in (unknown, invalid, revoked)]
    assert codes == ["signature_unknown_key", "signature_invalid", "signature_key_revoked"]
    actions = [entry["action"] for entry in await host.audit()]
    assert actions == ["token.created", "publisher-key.created", "publisher-key.revoked"]


async def test_a_publisher_key_expires(host: Host) -> None:
    key = new_publisher_key()
    wanted = {"account": "trainer", "public_key": key.public_pem.decode(), "days": 1}
    kid = (await host.http.post("/publisher-keys", json=wanted, headers=host.admin)).json()["kid"]
    await host.identity.publisher_key(kid)
    host.clock.moved = timedelta(days=1, seconds=1)
    with pytest.raises(Unauthenticated) as caught:
        await host.identity.publisher_key(kid)
    assert caught.value.code == "signature_key_expired"


async def test_a_private_key_is_refused_and_not_kept(host: Host) -> None:
    wanted = {"account": "trainer", "public_key": new_publisher_key().private_pem.decode()}
    answer = await host.http.post("/publisher-keys", json=wanted, headers=host.admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "public_key_invalid")
    assert wanted["public_key"].splitlines()[1] not in answer.text


ASKING = [
    ("find_token", (b"x" * 32,)),
    ("find_publisher_key", ("0" * 16,)),
    ("touch_token", (b"x" * 32, datetime(2026, 1, 1, tzinfo=UTC))),
]
FORBIDDEN = [
    "SELECT token_hash FROM identity.api_token",
    "SELECT 1 FROM identity.publisher_key",
    "INSERT INTO identity.api_token (name) VALUES ('x')",
    "UPDATE identity.api_token SET roles = ARRAY['admin']",
    "UPDATE identity.api_token SET revoked_at = NULL",
    "UPDATE identity.publisher_key SET account = 'me'",
    "DELETE FROM identity.api_token",
    "TRUNCATE identity.publisher_key",
    "DROP FUNCTION identity.find_token",
    "CREATE TABLE identity.mine (x int)",
]
HOST_FORBIDDEN = [
    "UPDATE identity.api_token SET roles = ARRAY['admin']",
    "UPDATE identity.api_token SET token_hash = ''",
    "UPDATE identity.publisher_key SET public_key = ''",
    "DELETE FROM identity.api_token",
    "DELETE FROM identity.publisher_key",
    "TRUNCATE identity.api_token",
    "ALTER TABLE identity.api_token DISABLE ROW LEVEL SECURITY",
]


@pytest.mark.parametrize("schema", ["identity", "ingest"])
async def test_a_service_may_ask_and_nothing_else(host: Host, schema: str) -> None:
    async with await open_pool(host.dsn, schema, max_size=2) as pool:
        for name, arguments in ASKING:
            await pool.fetch(SQL[name], *arguments)
        for statement in FORBIDDEN:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(statement)


async def test_the_host_may_add_and_revoke_and_nothing_else(host: Host) -> None:
    for statement in HOST_FORBIDDEN:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await host.registry.execute(statement)


async def test_a_search_path_cannot_turn_the_functions_elsewhere(host: Host) -> None:
    token = json.loads(host.path.read_text())["token"]
    owner = await asyncpg.connect(host.dsn)
    try:
        await owner.execute("CREATE SCHEMA trap; CREATE TABLE trap.api_token (token_hash bytea, subject text)")
        await owner.execute("SET search_path = trap")
        row = await owner.fetchrow(SQL["find_token"], token_hash(token))
    finally:
        await owner.close()
    assert row is not None
    assert row["subject"] == "admin"


async def test_the_migration_goes_down_and_up_again(host: Host) -> None:
    text = (IDENTITY / "0001_identity.sql").read_text()
    up, down = text.split("-- migrate:down")
    owner = await asyncpg.connect(host.dsn)
    try:
        await owner.execute(down)
        assert await owner.fetchval("SELECT to_regclass('identity.api_token')") is None
        await owner.execute(up)
    finally:
        await owner.close()
    assert await host.start() == "created"
