"""Answers that are errors (RFC 9457 problems) turned back into the errors they were, with their codes."""

from __future__ import annotations

import json
from typing import Any, Final

from muniment.contracts.errors import (
    Conflict,
    Forbidden,
    MunimentError,
    NotFound,
    PreconditionFailed,
    Rejected,
    TooLarge,
    Transient,
    Unauthenticated,
)

_KINDS: Final[dict[int, type[MunimentError]]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    412: PreconditionFailed,
    413: TooLarge,
    408: Transient,
    425: Transient,
    429: Transient,
    502: Transient,
    503: Transient,
    504: Transient,
}
_FALLBACK_HINTS: Final = {
    401: "give a valid token: MUNIMENT_TOKEN or a credentials file",
    404: "is the URL that of a Muniment server?",
}


class PublicationRejected(Rejected):
    """A publication ended without a version. `stage` is where, `file` what was at fault, if one file was."""

    def __init__(self, publication_id: str, rejection: dict[str, Any]) -> None:
        file = rejection.get("file")
        message = str(rejection.get("message") or "the publication was rejected")
        super().__init__(
            str(rejection.get("code") or "rejected"),
            f"{file}: {message}" if file else message,
            expected=rejection.get("expected"),
            actual=rejection.get("actual"),
            hint=rejection.get("hint"),
        )
        self.publication_id = publication_id
        self.stage: str | None = rejection.get("stage")
        self.file: str | None = file


def problem_of(status: int, content_type: str, body: bytes) -> MunimentError:
    """The error that an answer of status >= 400 tells. An answer that is no problem document says so itself."""
    kind = _KINDS.get(status) or (Rejected if status < 500 else MunimentError)
    fields = _fields(content_type, body)
    if fields is None:
        return kind(
            "answer_unexpected",
            f"the server answered HTTP {status} without saying why",
            expected="application/problem+json",
            actual=content_type or "no content type",
            hint=_FALLBACK_HINTS.get(status),
        )
    error = kind(
        str(fields.get("code") or "unknown"),
        str(fields.get("detail") or fields.get("title") or f"HTTP {status}"),
        expected=fields.get("expected"),
        actual=fields.get("actual"),
        hint=fields.get("hint"),
        details=fields.get("details"),
    )
    if fields.get("request_id"):
        error.add_note(f"request {fields['request_id']}")
    return error


def unanswered(url: str, reason: str, *, outcome_unknown: bool = False) -> Transient:
    """The error of a request that got no answer."""
    if outcome_unknown:
        return Transient(
            "outcome_unknown",
            "the connection was lost after the request was sent: it may or may not have been done",
            actual=reason,
            hint="look whether it was done before you repeat it",
        )
    return Transient(
        "server_unreachable",
        f"no answer from {url}",
        actual=reason,
        hint="is it running? `muniment up` starts one here; MUNIMENT_URL names another",
    )


def _fields(content_type: str, body: bytes) -> dict[str, Any] | None:
    if not content_type.partition(";")[0].strip().endswith("json"):
        return None
    try:
        fields = json.loads(body)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and ("code" in fields or "title" in fields) else None
