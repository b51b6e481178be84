"""One attempt through a channel: what was sent, what came back, and how it reads in the ledger."""

from __future__ import annotations

import asyncio
import time
from hashlib import sha256
from typing import Final, NamedTuple

import structlog

from muniment.contracts.errors import MunimentError, Transient
from muniment.notifier.channels import Channel, Message, Request
from muniment.notifier.posting import Answer
from muniment.notifier.schedule import Attempt, retry_after_s
from muniment.ports.clock import Clock

log = structlog.get_logger(__name__)

EXCERPT_BYTES: Final = 1024


class Exchange(NamedTuple):
    """An attempt with its two sides; `request` is None when it could not be made, `answer` when none came."""

    attempt: Attempt
    request: Request | None = None
    answer: Answer | None = None


async def exchange(channel: Channel, message: Message, clock: Clock, deadline_s: float) -> Exchange:
    """Send once, within the deadline. Whatever happens is in the result: nothing of one delivery reaches another."""
    started_at = clock.now()
    began = time.monotonic()

    def failed(code: str, detail: str) -> Attempt:
        digest = None if request is None else _digest(request)
        return Attempt(started_at, _ms_since(began), error=code, detail=printable(detail, 500), request_sha256=digest)

    request: Request | None = None
    try:
        request = channel.request(message, started_at)
        if request.skipped is not None:
            return Exchange(Attempt(started_at, _ms_since(began), detail=request.skipped[:500], skipped=True), request)
        answer = await _answer(channel, request, deadline_s)
    except MunimentError as error:
        return Exchange(failed(error.code, str(error)), request)
    except Exception as error:  # noqa: BLE001  # reason: a bug in a channel, or a row that it cannot read
        log.warning("channel failed", delivery=str(message.delivery_id), error=type(error).__name__)
        return Exchange(failed("channel_failed", f"the channel failed: {type(error).__name__}"), request)
    wait = answer.headers.get("retry-after")
    redirect = 300 <= answer.status < 400
    attempt = Attempt(
        started_at,
        _ms_since(began),
        status=answer.status,
        error="redirect" if redirect else None,
        detail="redirects are not followed: subscribe with the final URL" if redirect else None,
        excerpt=excerpt(answer.body),
        retry_after_s=None if wait is None else retry_after_s(wait, clock.now()),
        permanent=answer.permanent,
        request_sha256=_digest(request),
    )
    return Exchange(attempt, request, answer)


async def _answer(channel: Channel, request: Request, deadline_s: float) -> Answer:
    try:
        async with asyncio.timeout(deadline_s):
            return await channel.send(request)
    except TimeoutError as error:
        raise Transient(
            "timeout", "the receiver took too long", expected=f"an answer within {deadline_s:g} s"
        ) from error


def excerpt(body: bytes) -> str | None:
    """The start of an answer for people to read: at most 1 KiB."""
    return printable(body[:EXCERPT_BYTES].decode("utf-8", errors="replace"), EXCERPT_BYTES) or None


def printable(text: str, limit: int) -> str:
    """The text as Postgres can hold it: no NUL, no lone surrogates."""
    return text[:limit].replace("\x00", "�").encode("utf-8", errors="replace").decode()


def _digest(request: Request) -> str:
    return sha256(request.body.encode()).hexdigest()


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
