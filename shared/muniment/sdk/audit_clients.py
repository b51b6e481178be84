"""What both clients offer of the published audit log: one method each, driven by the client's own `_run`."""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path
from typing import Any, TypeVar

from muniment.sdk import audit_log
from muniment.sdk.exchange import Call

T = TypeVar("T")
Json = dict[str, Any]


class AuditLogClient:
    """Checkpoint, proofs and keys of the audit log. Every method raises what the server answers with."""

    @abstractmethod
    def _run(self, call: Call[T]) -> T: ...

    @abstractmethod
    def _saver(self) -> audit_log.Save: ...

    def audit_export(
        self, model: str, path: str | os.PathLike[str], *, since: str | None = None, until: str | None = None
    ) -> Json:
        """Write an evidence pack: what the log says of a model from `since` to before `until`, with its proofs."""
        return self._run(audit_log.audit_export(self._saver(), model, Path(path), since, until))

    def audit_checkpoint(self) -> str:
        """The newest checkpoint of the audit log: a signed note (C2SP tlog-checkpoint)."""
        return self._run(audit_log.audit_checkpoint())

    def audit_receipt(self, entry: int | str) -> str:
        """The receipt (C2SP tlog-proof) of an entry, by its index or its event id. It verifies offline."""
        return self._run(audit_log.audit_receipt(entry))

    def audit_consistency(self, old: int, new: int | None = None) -> Json:
        """The proof that nothing before size `old` has changed at size `new` (None: the newest checkpoint's)."""
        return self._run(audit_log.audit_consistency(old, new))

    def audit_keys(self) -> Json:
        """The log's origin, and every key that has signed for it, oldest first."""
        return self._run(audit_log.audit_keys())

    def audit_ending(self) -> Json:
        """The end of a log that gets no more entries: its last checkpoint and its keys, for the log that continues it.

        Raises `Conflict` (`audit_log_open`) while it still gets some.
        """
        return self._run(audit_log.audit_ending())

    def rotate_audit_keys(self, *, overlap_days: int = 30) -> Json:
        """Let a new key sign checkpoints; those before it sign beside it for so many days."""
        return self._run(audit_log.rotate_audit_keys(overlap_days))


class AsyncAuditLogClient:
    """The same for asyncio; the docstrings of `AuditLogClient` hold."""

    @abstractmethod
    async def _run(self, call: Call[T]) -> T: ...

    @abstractmethod
    def _saver(self) -> audit_log.Save: ...

    async def audit_export(
        self, model: str, path: str | os.PathLike[str], *, since: str | None = None, until: str | None = None
    ) -> Json:
        return await self._run(audit_log.audit_export(self._saver(), model, Path(path), since, until))

    async def audit_checkpoint(self) -> str:
        return await self._run(audit_log.audit_checkpoint())

    async def audit_receipt(self, entry: int | str) -> str:
        return await self._run(audit_log.audit_receipt(entry))

    async def audit_consistency(self, old: int, new: int | None = None) -> Json:
        return await self._run(audit_log.audit_consistency(old, new))

    async def audit_keys(self) -> Json:
        return await self._run(audit_log.audit_keys())

    async def audit_ending(self) -> Json:
        return await self._run(audit_log.audit_ending())

    async def rotate_audit_keys(self, *, overlap_days: int = 30) -> Json:
        return await self._run(audit_log.rotate_audit_keys(overlap_days))
