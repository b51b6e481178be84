"""Every failure Muniment knows, in three kinds (and what each kind leads to).

    MunimentError
    ├── Rejected          a fact about the input: it becomes an answer or an event, and an audit entry
    │   ├── Unauthenticated   nobody we know                                        HTTP 401
    │   ├── Forbidden         we know who, and they may not                         HTTP 403
    │   ├── NotFound          nothing has this name                                 HTTP 404
    │   ├── Conflict          it contradicts what is already there                  HTTP 409
    │   ├── PreconditionFailed  If-Match named another state                        HTTP 412
    │   └── TooLarge          above a stated limit                                  HTTP 413
    ├── Transient         the same request may succeed later: retried with backoff  HTTP 503
    └── Misconfigured     an operator must act; services refuse to start

Anything that is not a `MunimentError` is a bug: its record goes to the dead-letter topic.
A code is stable once released; messages are for people and may change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self


class MunimentError(Exception):
    """A failure that says what, expected, actual, and what to do.

    `code` is a stable snake_case word; `expected` and `actual` are short printable values (never secrets);
    `hint` is the next step for the reader; `details` is JSON for programs, where a sentence cannot hold it all.
    """

    http_status: ClassVar[int] = 500
    author: tuple[str, str] | None = None
    """(operator, how it was established), where somebody was authenticated before the input failed."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        expected: object = None,
        actual: object = None,
        hint: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.expected = None if expected is None else _short(expected)
        self.actual = None if actual is None else _short(actual)
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        parts = [self.message]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.actual is not None:
            parts.append(f"actual {self.actual}")
        text = "; ".join(parts)
        return f"{text} ({self.hint})" if self.hint else text

    def by(self, operator: str, authenticated_by: str) -> Self:
        """The same error, with the authenticated author of the input that failed."""
        self.author = (operator, authenticated_by)
        return self

    def facts(self) -> dict[str, Any]:
        """The error as JSON-ready fields, empty ones left out (for problems, events and dead letters)."""
        fields = {
            "code": self.code,
            "message": self.message,
            "expected": self.expected,
            "actual": self.actual,
            "hint": self.hint,
            "details": self.details,
        }
        return {name: value for name, value in fields.items() if value is not None}


class Rejected(MunimentError):
    """The input is at fault; the same input will never be accepted."""

    http_status = 422


class Unauthenticated(Rejected):
    """No valid credential was given."""

    http_status = 401


class Forbidden(Rejected):
    """The principal is known and lacks the role."""

    http_status = 403


class NotFound(Rejected):
    """Nothing has this name, id or version-id."""

    http_status = 404


class Conflict(Rejected):
    """The input contradicts what is already recorded."""

    http_status = 409


class PreconditionFailed(Rejected):
    """The state is not the one the caller named (If-Match)."""

    http_status = 412


class TooLarge(Rejected):
    """The input is above a stated limit."""

    http_status = 413


class Transient(MunimentError):
    """Nothing is wrong with the input; a dependency did not answer as it should. Retried with backoff."""

    http_status = 503
    retry_after: int | None = None
    """Seconds to wait, where that is known: work was bounded on purpose, and no fault is to be logged."""


class Misconfigured(MunimentError):
    """A setting or a part is not as Muniment needs it; the service does not start."""


def _short(value: object, limit: int = 500) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
