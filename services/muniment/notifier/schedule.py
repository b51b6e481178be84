"""What an attempt leads to: delivered, tried again after so long, or given up. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal, NamedTuple

DELAYS_S: Final = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds before each attempt (Standard Webhooks 1.0): ten attempts over about 75 hours."""
RETRY_AFTER_MAX_S: Final = 86_400.0
SLOW_MS: Final = 2_000
"""An endpoint that takes longer than this for an answer is degraded: it gets one slot at a time."""
_JITTER: Final = 0.1

State = Literal["pending", "delivered", "dead"]


class Attempt(NamedTuple):
    """What one attempt gave: an HTTP status, or the code of what went wrong before there was one."""

    started_at: datetime
    latency_ms: int
    status: int | None = None
    error: str | None = None
    detail: str | None = None
    """One line for people; never holds a secret."""
    request_sha256: str | None = None
    """Of the body that was sent; None where none could be made."""
    excerpt: str | None = None
    """The start of the answer's body."""
    retry_after_s: float | None = None
    permanent: bool = False
    """The receiver refused it for good."""
    skipped: bool = False
    """There was nothing to send; `detail` says why."""

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it (2xx and nothing else), or there was nothing to take."""
        return self.skipped or (self.status is not None and 200 <= self.status < 300)

    @property
    def trouble(self) -> str | None:
        """Why the endpoint is degraded after this attempt, or None when it is well."""
        if not self.delivered:
            return self.error or f"status {self.status}"
        return "slow" if self.latency_ms > SLOW_MS else None


class Verdict(NamedTuple):
    """The delivery's next state. `delay_s` is set while it is pending, `disable` when the endpoint wants no more."""

    state: State
    delay_s: float | None = None
    disable: bool = False


def judge(attempt: Attempt, *, tries: int, scale: float, jitter: float) -> Verdict:
    """What follows from the `tries`-th attempt (from 1) since the delivery or its last manual retry began.

    `scale` multiplies the schedule, `jitter` in [0, 1) spreads it by up to 10 % either way. The receiver's Retry-After
    lengthens the wait, never shortens it.
    """
    if attempt.delivered:
        return Verdict("delivered")
    if attempt.status == 410:
        return Verdict("dead", disable=True)
    if attempt.permanent or tries >= len(DELAYS_S):
        return Verdict("dead")
    delay = DELAYS_S[tries] * scale * (1 - _JITTER + 2 * _JITTER * jitter)
    return Verdict("pending", max(delay, min(attempt.retry_after_s or 0.0, RETRY_AFTER_MAX_S)))


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """A Retry-After header (RFC 9110 section 10.2.3) as seconds from `now`, at most a day; None if it says nothing."""
    if header is None or len(header) > 64:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:  # "-0000": UTC of unknown origin
        moment = moment.replace(tzinfo=UTC)
    try:
        seconds = (moment - now).total_seconds()
    except OverflowError:
        return None
    return max(0.0, min(seconds, RETRY_AFTER_MAX_S))
