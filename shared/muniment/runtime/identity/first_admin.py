"""The first admin token: made when nobody could administer, and left in a file that only its owner can read."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import tempfile
import uuid
from pathlib import Path
from typing import Final, Literal

import structlog

from muniment.contracts.events import Cause
from muniment.contracts.identity import operator_of
from muniment.runtime.delivery.transaction import Transactions, Tx
from muniment.runtime.identity.management import SYSTEM, By, TokenWanted, create_token
from muniment.runtime.identity.store import SQL

NAME: Final = "admin"
DAYS: Final = 365
_LOST: Final = (
    'put an admin token into that file as {"url": ..., "token": ...}, or set MUNIMENT_TOKEN. If none is left: '
    "UPDATE identity.api_token SET revoked_at = now() WHERE 'admin' = ANY (roles) AND revoked_at IS NULL; "
    "then start again, and a new one is made"
)
log = structlog.get_logger(__name__)


async def ensure_first_admin(
    transactions: Transactions, path: Path, url: str
) -> Literal["created", "kept", "elsewhere"]:
    """See to it that somebody can administer, and tell how it stands. For the process that hosts the management.

    `created`: no live token had the role admin (first start; or the last one expired); one named `admin`, good for
    365 days, is now in `path` (mode 0600) as JSON `{"url": ..., "token": ...}`. `kept`: there is one, and the file is
    there, its URL brought up to date. `elsewhere`: there is one but no file; a warning says what to do.
    Two processes that start at once make one token between them.

    The file is in place before the transaction commits. Should it then not commit, the file holds a token that nobody
    knows and the next start makes another; never is there a token that nobody holds. What the file held before is
    moved aside to `<name>.old`.
    """
    async with transactions.begin() as tx:
        await tx.connection.execute(SQL["lock_tokens"])
        until = await tx.connection.fetchval(SQL["other_admin_until"], "")
        if until is None or until <= tx.now:
            token = await _create(tx)
            await asyncio.to_thread(_write, path, url, token)
            return "created"
    if await asyncio.to_thread(_refresh, path, url):
        return "kept"
    log.warning("credentials_file_missing", path=str(path), hint=_LOST)
    return "elsewhere"


async def _create(tx: Tx) -> str:
    taken = await tx.connection.fetchval(SQL["token_name_taken"], NAME)
    name = f"{NAME}-{secrets.token_hex(3)}" if taken else NAME
    cause = Cause(kind="request", id=f"start.{uuid.uuid4()}")
    wanted = TokenWanted(name=name, subject=NAME, roles=("admin",), days=DAYS)
    return (await create_token(tx, wanted, By(operator_of(SYSTEM), "service", cause))).token


def _refresh(path: Path, url: str) -> bool:
    """Whether the file holds a token; it then says the server's URL of today as well."""
    try:
        held = json.loads(path.read_text("utf-8"))
        token, known_url = held["token"], held.get("url")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False
    if not isinstance(token, str):
        return False
    if known_url != url:
        _put(path, url, token)
    return True


def _write(path: Path, url: str, token: str) -> None:
    if path.exists():
        path.replace(path.with_name(path.name + ".old"))
    _put(path, url, token)


def _put(path: Path, url: str, token: str) -> None:
    """Write the file, readable by its owner alone, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file with mode 0600 before a byte is in it.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"url": url, "token": token}, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
