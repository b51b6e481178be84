"""Retention: put on exactly one version-id, never shortened, and told apart from missing rights."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC
from typing import Final

from minio.retention import Retention

from muniment.adapters.s3.connection import S3Connection
from muniment.adapters.s3.errors import asking, without_object_lock
from muniment.adapters.s3.reading import lock_mode, name
from muniment.contracts.errors import Misconfigured, NotFound
from muniment.ports.blobs import Located, Lock, ObjectLocked

_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_BYPASS: Final = {"x-amz-bypass-governance-retention": "true"}


class S3Locks:
    """Calls about retention; putting one is a short request in the event loop, the rest blocks and is for threads."""

    def __init__(self, connection: S3Connection) -> None:
        self._connection = connection
        self._lockable: set[str] = set()

    async def lock(self, location: Located, lock: Lock) -> Lock:
        """Ask for the lock, and only if that is refused look at what is there: one request where there is no lock yet.

        0. Once per bucket, make sure that it can hold locks: SeaweedFS takes them anyway, and then does not keep them.
        1. The store itself never shortens or weakens, so asking first is safe (the contract suite holds stores to it).
        2. Refused: if the lock that is there covers the asked one, it stays. That is success.
        3. Else ask for both joined. From GOVERNANCE to COMPLIANCE stores want the bypass header even though nothing
           gets weaker; between the two requests a longer GOVERNANCE lock put by someone else could be overtaken.
        """
        where = name(location.bucket, location.key, location.version_id)
        await self.require_lockable(location.bucket)
        try:
            await self._put(location, lock)
            return lock
        except Misconfigured as refusal:
            existing = await self._connection.run(self.retention, location)
            if existing is None:
                raise lock_refused(where, lock, None) from refusal
        if existing.covers(lock):
            return existing
        joined = existing.joined(lock)
        stricter = existing.mode == "GOVERNANCE" and joined.mode == "COMPLIANCE"
        try:
            await self._put(location, joined, _BYPASS if stricter else {})
        except Misconfigured as refusal:
            raise lock_refused(where, lock, existing) from refusal
        return joined

    def retention(self, location: Located) -> Lock | None:
        """The lock of a version, or None."""
        where = name(location.bucket, location.key, location.version_id)
        self._check_lockable(location.bucket)
        try:
            with asking(where, versioned=True):
                found: Retention | None = self._connection.client.get_object_retention(
                    location.bucket, location.key, version_id=location.version_id
                )
        except Misconfigured as answer:
            if answer.code == "bucket_without_object_lock":  # how some stores say that this version has no lock
                return None
            raise
        return None if found is None else Lock(lock_mode(found.mode), found.retain_until_date)

    def delete_version(self, location: Located) -> None:
        """Delete one version. A refusal is looked into: stores use one code for a lock and for a missing right."""
        where = name(location.bucket, location.key, location.version_id)
        try:
            with asking(where):
                self._connection.client.remove_object(location.bucket, location.key, version_id=location.version_id)
        except Misconfigured as refusal:
            try:
                lock = self.retention(location)
            except NotFound:
                return  # a version-id that this store could never have given
            if lock is None:
                raise
            raise ObjectLocked(
                "object_locked",
                f"{where} is under retention and cannot be deleted",
                expected=f"a time after {lock.until.isoformat()}",
                actual=f"{lock.mode} lock",
                hint="it can be deleted when the lock has run out",
            ) from refusal

    def bucket_has_lock(self, bucket: str) -> bool:
        """True if the bucket can hold retention."""
        try:
            with asking(bucket):
                self._connection.client.get_object_lock_config(bucket)
        except Misconfigured as error:
            if error.code == "bucket_without_object_lock":
                return False
            raise
        return True

    async def require_lockable(self, bucket: str) -> None:
        """Raise `bucket_without_object_lock`, unless the bucket has it; asked once, for it cannot be switched off."""
        if bucket not in self._lockable:
            await self._connection.run(self._check_lockable, bucket)

    def _check_lockable(self, bucket: str) -> None:
        if bucket not in self._lockable:
            if not self.bucket_has_lock(bucket):
                raise without_object_lock(bucket)
            self._lockable.add(bucket)

    async def _put(self, location: Located, lock: Lock, headers: Mapping[str, str] | None = None) -> None:
        until = lock.until.astimezone(UTC).strftime(_TIME)
        asked = f"<Mode>{lock.mode}</Mode><RetainUntilDate>{until}</RetainUntilDate>"
        data = f'<Retention xmlns="{_NAMESPACE}">{asked}</Retention>'.encode()
        await self._connection.exchange.ask(
            "PUT",
            location.bucket,
            location.key,
            name(location.bucket, location.key, location.version_id),
            query={"retention": "", "versionId": location.version_id},
            headers={**(headers or {}), "Content-MD5": content_md5(data), "Content-Type": "application/xml"},
            body=data,
            repeatable=True,
        )


def lock_headers(lock: Lock) -> dict[str, str]:
    """The headers that put a lock on an object as it is written."""
    return {
        "x-amz-object-lock-mode": lock.mode,
        "x-amz-object-lock-retain-until-date": lock.until.astimezone(UTC).strftime(_TIME),
    }


def content_md5(data: bytes) -> str:
    """RFC 1864, against damage on the way. Not for security, and not replaceable by the signature's SHA-256.

    S3 wants it with a lock; SeaweedFS refuses a damaged body for its sake alone: it does not check the signed digest.
    """
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def lock_refused(where: str, lock: Lock, existing: Lock | None) -> Misconfigured:
    """The store does not give the lock."""
    return Misconfigured(
        "lock_refused",
        f"{where}: the store refuses the retention",
        expected=f"{lock.mode} until {lock.until.isoformat()}",
        actual="no lock" if existing is None else f"{existing.mode} until {existing.until.isoformat()}",
        hint="check that the end lies in the store's future (both clocks), and that the credentials may put retention",
    )
