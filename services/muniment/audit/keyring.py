"""The log's signing keys: which there have been, which sign now, and how one follows another.

The public halves stand in Postgres and in the log itself (`audit.key-rotated`); the private ones are wherever
`muniment.ports.signing` says.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from muniment.audit.ending import Ending
from muniment.audit.note import VerifierKey, check_origin
from muniment.contracts.errors import Misconfigured, Transient
from muniment.contracts.events import Authentication, Cause, Change
from muniment.contracts.model import rfc3339
from muniment.ports.signing import Signer, SigningKeys
from muniment.runtime.sql import load_queries

if TYPE_CHECKING:
    import asyncpg

    from muniment.runtime.delivery.transaction import Transactions, Tx

SQL = load_queries("muniment.audit", "publishing")
OPERATOR: Final = "muniment|audit"
"""Who has begun a log: the service itself."""


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key of the log. `signs_until` is None while no key has followed it."""

    key: VerifierKey
    added_at: datetime
    signs_until: datetime | None

    def signs(self, now: datetime) -> bool:
        """Whether checkpoints carry its signature at this time."""
        return self.signs_until is None or now < self.signs_until

    def facts(self) -> dict[str, Any]:
        """As in the entry of a rotation."""
        ends = {} if self.signs_until is None else {"signs_until": rfc3339(self.signs_until)}
        return {"vkey": self.key.vkey, **ends}


@dataclass(frozen=True, slots=True)
class Signing:
    """With what a checkpoint is signed: the log's name, all its keys, and who signs now."""

    origin: str
    keys: Sequence[VerifierKey]
    signers: Sequence[Signer]


async def ensure_origin(pool: asyncpg.Pool[Any], setting: str | None) -> str:
    """The log's name: the one it has, or the setting, or one made up now.

    Raises `Misconfigured` (`audit_origin_changed`) when the setting is another one than the log's, and `Rejected`
    (`audit_origin_invalid`).
    """
    wanted = check_origin(setting if setting is not None else f"muniment/{secrets.token_hex(8)}")
    await pool.execute(SQL["insert_origin"], wanted)
    origin: str = await pool.fetchval(SQL["origin"])
    if setting not in (None, origin):
        raise Misconfigured(
            "audit_origin_changed",
            "the audit log has another origin than the setting; a log keeps its name",
            expected=origin,
            actual=wanted,
            hint="take MUNIMENT_AUDIT__ORIGIN back; docs/audit-keys.md tells how a log is continued under a new name",
        )
    return origin


@dataclass(slots=True)
class Keyring:
    """The keys of one log. `origin` is their name."""

    transactions: Transactions
    kept: SigningKeys
    setting: str | None = None
    """The origin that settings name."""
    ending: Ending | None = None
    """The end of the log that this one continues."""
    _origin: str | None = None

    async def origin(self) -> str:
        """The log's name. Raises what `ensure_origin` does."""
        if self._origin is None:
            self._origin = await ensure_origin(self.transactions.pool, self.setting)
        return self._origin

    async def keys(self) -> list[LogKey]:
        """All keys there have been, oldest first."""
        return _keys(await self.transactions.pool.fetch(SQL["signing_keys"]))

    async def signing(self, now: datetime) -> Signing:
        """Who signs now, oldest first: the newest key always, those before it while the overlap lasts.

        A log that has no key yet is given its first one. Raises `Transient` (`audit_key_missing`) when the newest
        key's private half is not here; an older one that is missing signs no more.
        """
        keys = await self.keys() or await self._begin()
        held = {signer.public_key: signer for signer in await asyncio.to_thread(self.kept.load)}
        if keys[-1].key.public_key not in held:
            # Transient: operations and their entries go on; what waits for the key is their publication.
            raise Transient(
                "audit_key_missing",
                "the audit log's key is not here, and no checkpoint is published",
                expected=keys[-1].key.vkey,
                actual=f"{len(held)} other keys",
                hint="restore the key from its copy; if it is lost for good, docs/audit-keys.md tells what to do",
            )
        signers = [held[one.key.public_key] for one in keys if one.signs(now) and one.key.public_key in held]
        return Signing(await self.origin(), [one.key for one in keys], signers)

    async def rotate(
        self, overlap: timedelta, *, operator: str, authenticated_by: Authentication, cause: Cause
    ) -> LogKey:
        """Let a new key sign; those before it sign beside it for `overlap`. The log has an entry of it.

        The new key is one that is kept and has never signed, else one made now. Raises `Conflict`
        (`signing_key_not_ours`).
        """
        origin = await self.origin()
        async with self.transactions.begin() as tx:
            await tx.connection.execute(SQL["lock_signing_keys"])
            before = _keys(await tx.connection.fetch(SQL["signing_keys"]))
            key = VerifierKey(origin, (await asyncio.to_thread(self._unused, before)).public_key)
            until = tx.now + overlap if before else None
            await tx.connection.execute(SQL["insert_signing_key"], len(before) + 1, key.vkey, tx.now, until)
            after = _keys(await tx.connection.fetch(SQL["signing_keys"]))
            _audit(tx, before, after, operator, authenticated_by, cause)
        return after[-1]

    async def _begin(self) -> list[LogKey]:
        """The first key, and the log's first entry."""
        origin = await self.origin()
        cause = Cause(kind="schedule", id=f"start.{origin}")
        async with self.transactions.begin() as tx:
            await tx.connection.execute(SQL["lock_signing_keys"])
            rows = await tx.connection.fetch(SQL["signing_keys"])
            if not rows:
                key = VerifierKey(origin, (await asyncio.to_thread(self._first)).public_key)
                await tx.connection.execute(SQL["insert_signing_key"], 1, key.vkey, tx.now, None)
                rows = await tx.connection.fetch(SQL["signing_keys"])
                self._continue(tx, origin, cause)
                _audit(tx, [], _keys(rows), OPERATOR, "service", cause)
        return _keys(rows)

    def _continue(self, tx: Tx, origin: str, cause: Cause) -> None:
        """The entry that holds the old log's end. Raises `Misconfigured` (`audit_origin_taken`)."""
        if self.ending is None:
            return
        if self.ending.last.origin == origin:
            raise Misconfigured(
                "audit_origin_taken",
                "a log that continues another one needs a name of its own",
                expected=f"another origin than {origin}",
                actual=origin,
                hint="set MUNIMENT_AUDIT__ORIGIN",
            )
        tx.audit(
            action="audit.log-continued",
            resource="audit/log",
            operator=OPERATOR,
            authenticated_by="service",
            cause=cause,
            changes=self.ending.changes(),
        )

    def _first(self) -> Signer:
        held = self.kept.load()
        return held[-1] if held else self.kept.create()

    def _unused(self, known: Sequence[LogKey]) -> Signer:
        """The oldest kept key that is newer than all that have signed; a new one if there is none."""
        used = {one.key.public_key for one in known}
        for signer in self.kept.load():
            if signer.public_key not in used:
                return signer
        return self.kept.create()


def _keys(rows: Sequence[Any]) -> list[LogKey]:
    """A key signs until the time that its successor gives."""
    ends = [row["predecessors_until"] for row in rows[1:]]
    return [
        LogKey(VerifierKey.parse(row["vkey"]), row["added_at"], ends[place] if place < len(ends) else None)
        for place, row in enumerate(rows)
    ]


def _audit(
    tx: Tx,
    before: Sequence[LogKey],
    after: Sequence[LogKey],
    operator: str,
    authenticated_by: Authentication,
    cause: Cause,
) -> None:
    signing = [[one.facts() for one in keys if one.signs(tx.now)] for keys in (before, after)]
    tx.audit(
        action="audit.key-rotated",
        resource=f"audit/keys/{after[-1].key.key_id.hex()}",
        operator=operator,
        authenticated_by=authenticated_by,
        cause=cause,
        changes=[Change(path="keys", before=signing[0] or None, after=signing[1])],
    )
