"""Who is let in, on a pool that answers from a table and counts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from muniment.contracts.errors import Unauthenticated
from muniment.contracts.identity import Principal
from muniment.runtime.identity.store import SQL, Identity
from muniment.runtime.identity.tokens import new_token

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KID = "0123456789abcdef"


@dataclass
class Pool:
    """Rows by key; errors on demand."""

    rows: dict[Any, dict[str, Any]] = field(default_factory=dict)
    asked: int = 0
    touched: list[Any] = field(default_factory=list)
    touch_error: Exception | None = None
    now: datetime = NOW

    async def fetchrow(self, sql: str, key: Any) -> dict[str, Any] | None:
        assert sql in {SQL["find_token"], SQL["find_publisher_key"]}
        self.asked += 1
        return self.rows.get(key)

    async def execute(self, sql: str, key: Any, at: datetime) -> None:
        assert sql == SQL["touch_token"]
        self.touched.append((key, at))
        if self.touch_error is not None:
            raise self.touch_error

    def token(self, **changes: Any) -> str:
        text, hashed = new_token()
        self.rows[hashed] = {
            "subject": "ci",
            "roles": ["writer", "auditor"],
            "expires_at": NOW + timedelta(days=1),
            "revoked_at": None,
            "last_used_at": None,
            **changes,
        }
        return text

    def identity(self, monotonic: Any = lambda: 0.0) -> Identity:
        @dataclass
        class PoolClock:
            pool: Pool

            def now(self) -> datetime:
                return self.pool.now

        return Identity(cast("Any", self), PoolClock(self), monotonic=monotonic)


async def code_of(identity: Identity, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await identity.authenticate(token)
    assert token[4:] == "" or token[4:] not in str(caught.value)
    return caught.value.code


async def test_a_live_token_is_its_subject_with_its_roles() -> None:
    pool = Pool()
    principal = await pool.identity().authenticate(pool.token())
    assert principal == Principal("muniment|ci", frozenset({"writer", "auditor"}), "token")


async def test_a_token_with_a_wrong_checksum_is_refused_without_asking_the_database() -> None:
    pool = Pool()
    token = pool.token()
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    assert await code_of(pool.identity(), wrong) == "token_invalid"
    assert await code_of(pool.identity(), "mnt_") == "token_invalid"
    assert pool.asked == 0


async def test_a_token_nobody_issued_is_refused_and_asked_for_once() -> None:
    pool = Pool()
    identity = pool.identity()
    token, _ = new_token()
    assert [await code_of(identity, token) for _ in range(5)] == ["token_invalid"] * 5
    assert pool.asked == 1


async def test_revoked_and_expired_tokens_are_refused_and_say_which() -> None:
    pool = Pool()
    identity = pool.identity()
    assert await code_of(identity, pool.token(revoked_at=NOW - timedelta(days=9))) == "token_revoked"
    assert await code_of(identity, pool.token(expires_at=NOW)) == "token_expired"
    revoked_then_expired = pool.token(revoked_at=NOW - timedelta(days=9), expires_at=NOW - timedelta(days=1))
    assert await code_of(identity, revoked_then_expired) == "token_revoked"
    assert pool.touched == []


async def test_a_token_expires_on_time_even_while_it_is_remembered() -> None:
    pool = Pool()
    identity = pool.identity()
    token = pool.token(expires_at=NOW + timedelta(seconds=2))
    await identity.authenticate(token)
    pool.now = NOW + timedelta(seconds=2)
    assert await code_of(identity, token) == "token_expired"
    assert pool.asked == 1


async def test_a_revocation_elsewhere_holds_within_five_seconds_and_here_at_once() -> None:
    pool = Pool()
    clock = [0.0]
    identity = pool.identity(lambda: clock[0])
    token = pool.token()
    (hashed,) = pool.rows
    await identity.authenticate(token)
    pool.rows[hashed]["revoked_at"] = NOW
    clock[0] = 4.9
    await identity.authenticate(token)
    clock[0] = 5.0
    assert await code_of(identity, token) == "token_revoked"
    pool.rows[hashed]["revoked_at"] = None
    identity.forget_token(hashed)
    await identity.authenticate(token)


async def test_use_is_noted_at_most_once_a_minute() -> None:
    pool = Pool()
    clock = [0.0]
    identity = pool.identity(lambda: clock[0])
    token = pool.token(last_used_at=NOW - timedelta(seconds=59))
    await identity.authenticate(token)
    await identity.settle()
    assert pool.touched == []
    clock[0], pool.now = 6.0, NOW + timedelta(seconds=6)
    for _ in range(10):
        await identity.authenticate(token)
    await identity.settle()
    assert [at for _, at in pool.touched] == [pool.now]


@pytest.mark.parametrize("error", [OSError("away"), TimeoutError()])
async def test_a_use_that_cannot_be_noted_lets_the_request_through(error: Exception) -> None:
    pool = Pool(touch_error=error)
    identity = pool.identity()
    with capture_logs() as lines:
        assert (await identity.authenticate(pool.token())).operator == "muniment|ci"
        await identity.settle()
    assert [line["event"] for line in lines] == ["token_use_not_noted"]


async def test_a_database_that_is_away_lets_nobody_in() -> None:
    class Away(Pool):
        async def fetchrow(self, sql: str, key: Any) -> dict[str, Any] | None:
            raise OSError("away")

    pool = Away()
    with pytest.raises(OSError, match="away"):
        await pool.identity().authenticate(pool.token())


async def test_a_crowd_with_one_token_asks_once() -> None:
    pool = Pool()
    identity = pool.identity()
    token = pool.token()
    await asyncio.gather(*(identity.authenticate(token) for _ in range(100)))
    assert pool.asked == 1
    await identity.settle()
    assert len(pool.touched) == 1


def key_row(**changes: Any) -> dict[str, Any]:
    row = {"account": "trainer", "public_key": b"k" * 32, "expires_at": NOW + timedelta(days=1), "revoked_at": None}
    return {**row, **changes}


async def test_a_registered_key_is_given_with_its_account() -> None:
    key = await Pool({KID: key_row()}).identity().publisher_key(KID)
    assert (key.kid, key.account, key.public_key) == (KID, "trainer", b"k" * 32)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ({}, "signature_unknown_key"),
        ({KID: key_row(revoked_at=NOW - timedelta(days=1))}, "signature_key_revoked"),
        ({KID: key_row(expires_at=NOW)}, "signature_key_expired"),
    ],
)
async def test_another_key_is_refused_with_its_reason(rows: dict[str, Any], code: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await Pool(rows).identity().publisher_key(KID)
    assert caught.value.code == code


async def test_a_key_registered_here_is_known_at_once() -> None:
    pool = Pool()
    identity = pool.identity()
    with pytest.raises(Unauthenticated):
        await identity.publisher_key(KID)
    pool.rows[KID] = key_row()
    identity.forget_publisher_key(KID)
    assert (await identity.publisher_key(KID)).account == "trainer"
