"""What this user's machine remembers: digests of files that did not change, and publications that were cut short.

Only a cache: whatever goes wrong with it is as if it were empty.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from muniment.sdk.transfer.scan import LocalFile

MAX_ROWS: Final = 20_000
SETTLED_NS: Final = 2_000_000_000
"""A file modified less than this ago is not remembered: a second write in the same clock tick would go unseen."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS digest (
  source TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER, sha256 TEXT, kept REAL
);
CREATE TABLE IF NOT EXISTS unfinished (fingerprint TEXT PRIMARY KEY, idempotency_key TEXT, kept REAL);
"""
_TRIMS: Final = (
    "DELETE FROM digest WHERE rowid IN (SELECT rowid FROM digest ORDER BY kept DESC LIMIT -1 OFFSET ?)",
    "DELETE FROM unfinished WHERE rowid IN (SELECT rowid FROM unfinished ORDER BY kept DESC LIMIT -1 OFFSET ?)",
)


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of this user's cache: `$XDG_CACHE_HOME/muniment`, else `~/.cache/muniment`."""
    env = os.environ if environ is None else environ
    return Path(env.get("XDG_CACHE_HOME") or Path(env.get("HOME") or Path.home()) / ".cache") / "muniment"


class Cache:
    """The cache in a folder; None remembers nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def digest_of(self, file: LocalFile) -> str | None:
        """The SHA-256 of a file that is as it was when it was hashed."""
        return self._run(
            "SELECT sha256 FROM digest WHERE source=? AND size=? AND mtime_ns=? AND ctime_ns=? AND inode=?",
            *_state(file),
        )

    def keep_digest(self, file: LocalFile, sha256: str) -> None:
        """Remember a digest, unless the file is too fresh to tell a later write from this one."""
        if time.time_ns() - max(file.mtime_ns, file.ctime_ns) >= SETTLED_NS:
            self._run("INSERT OR REPLACE INTO digest VALUES (?,?,?,?,?,?,?)", *_state(file), sha256, time.time())

    def unfinished(self, fingerprint: str) -> str | None:
        """The idempotency key of an earlier attempt at the same publication that did not get to its end."""
        return self._run("SELECT idempotency_key FROM unfinished WHERE fingerprint=?", fingerprint)

    def begin(self, fingerprint: str, key: str) -> None:
        """Remember that a publication was begun."""
        self._run("INSERT OR REPLACE INTO unfinished VALUES (?,?,?)", fingerprint, key, time.time())

    def finish(self, fingerprint: str) -> None:
        """Forget a publication that got to its end."""
        self._run("DELETE FROM unfinished WHERE fingerprint=?", fingerprint)

    def _run(self, sql: str, *values: Any) -> str | None:
        if self._folder is None:
            return None
        import sqlite3  # only big files come here

        with contextlib.suppress(sqlite3.Error, OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self._folder / "transfers.sqlite3", timeout=2.0)) as db:
                db.executescript(_SCHEMA)
                with db:
                    row = db.execute(sql, values).fetchone()
                    for trim in _TRIMS if sql.startswith("INSERT") else ():
                        db.execute(trim, (MAX_ROWS,))
                return None if row is None else str(row[0])
        return None


def _state(file: LocalFile) -> tuple[str, int, int, int, int]:
    return str(file.source.absolute()), file.size, file.mtime_ns, file.ctime_ns, file.inode
