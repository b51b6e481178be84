"""Presigned URLs of the in-memory store: a grant, an expiry and a signature in the query."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from muniment.ports.clock import Clock

MAX_PARTS: Final = 10_000
_LONGEST: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a URL allows: one method on one object, one of its versions, or one part of an upload."""

    method: str
    bucket: str
    key: str
    version_id: str = ""
    upload_id: str = ""
    number: int = 0
    filename: str = ""

    @property
    def disposition(self) -> str:
        """The `Content-Disposition` of the answer (RFC 6266)."""
        return f"attachment; filename*=UTF-8''{quote(self.filename, safe='')}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a store answers over HTTP. Header names are in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class UrlSigner:
    """Signs grants with a secret of its own, and recognises them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)

    def sign(self, grant: Grant, expires: timedelta) -> str:
        """A URL for the grant, good for `expires` (1 second to 7 days, else `ValueError`)."""
        if not timedelta(seconds=1) <= expires <= _LONGEST:
            raise ValueError("expires must be between 1 second and 7 days")
        fields = {
            "method": grant.method,
            "version_id": grant.version_id,
            "upload_id": grant.upload_id,
            "number": str(grant.number),
            "filename": grant.filename,
            "until": str((self._clock.now() + expires).timestamp()),
        }
        unsigned = f"memory://{grant.bucket}/{quote(grant.key)}?{urlencode(fields)}"
        return f"{unsigned}&signature={self._signature(unsigned)}"

    def check(self, method: str, url: str) -> Grant | None:
        """The grant of a URL that was signed here, for this method, and has not run out."""
        unsigned, _, signature = url.rpartition("&signature=")
        if not hmac.compare_digest(signature.encode(), self._signature(unsigned).encode()):
            return None
        parts = urlsplit(unsigned)
        fields = dict(parse_qsl(parts.query, keep_blank_values=True))
        if fields["method"] != method or float(fields["until"]) < self._clock.now().timestamp():
            return None
        return Grant(
            method,
            parts.netloc,
            unquote(parts.path[1:]),
            version_id=fields["version_id"],
            upload_id=fields["upload_id"],
            number=int(fields["number"]),
            filename=fields["filename"],
        )

    def _signature(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
