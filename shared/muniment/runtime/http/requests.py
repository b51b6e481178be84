"""What a request carries beside its parameters: its id, its body, its idempotency key."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Generic, TypeVar

from starlette.requests import ClientDisconnect, Request

from muniment.contracts import strict_json
from muniment.contracts.codec import parse
from muniment.contracts.errors import Rejected, TooLarge
from muniment.contracts.events import Cause
from muniment.contracts.model import Payload
from muniment.runtime.http.problems import REQUEST_ID

P = TypeVar("P", bound=Payload)

BODY_TIMEOUT_S: Final = 60.0
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PRINTABLE_ASCII: Final = re.compile(r"[\x20-\x7e]{1,255}")


def request_id_from(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's `X-Request-Id` if it is 1 to 64 of `[A-Za-z0-9._-]`, else a new UUID."""
    for name, value in headers:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            return text if _REQUEST_ID.fullmatch(text) else str(uuid.uuid4())
    return str(uuid.uuid4())


def request_id(request: Request) -> str:
    """The id under which the request is logged and answered."""
    found = request.scope.get(REQUEST_ID)
    return found if isinstance(found, str) else request_id_from(request.scope["headers"])


def cause_of(request: Request) -> Cause:
    """The request as the cause of what follows from it: its id, and 12 random digits.

    The digits make it unlike any other cause even where a caller repeats an `X-Request-Id`: audit entries are told
    apart by their causes, so nobody may be able to choose one that was there before.
    """
    return Cause(kind="request", id=f"{request_id(request)}.{uuid.uuid4().hex[:12]}")


async def idempotency_key(request: Request) -> str | None:
    """The `Idempotency-Key` header, None without one. Raises `Rejected` (`idempotency_key_invalid`)."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) != 1 or not _PRINTABLE_ASCII.fullmatch(given[0]):
        raise Rejected(
            "idempotency_key_invalid",
            "the idempotency key is not allowed",
            expected="one Idempotency-Key header of 1 to 255 printable ASCII characters",
            actual=f"{len(given)} headers, the first {given[0][:80]!r}",
        )
    return given[0]


class Body(Generic[P]):
    """A dependency: the request's body as a payload. `kind` and `max_bytes` are read by the OpenAPI description."""

    def __init__(self, kind: type[P], max_bytes: int) -> None:
        self.kind = kind
        self.max_bytes = max_bytes

    async def __call__(self, request: Request) -> P:
        """The body, streamed with a cap, parsed strictly."""
        raw = await read_body(request, self.max_bytes)
        return parse(self.kind, strict_json.loads(raw, max_bytes=self.max_bytes))


def body(kind: type[P], max_bytes: int = strict_json.MAX_BYTES) -> Callable[[Request], Awaitable[P]]:
    """`Annotated[Kind, Depends(body(Kind))]`: the JSON body as `kind`.

    Write it after the principal's parameter: dependencies run in their order, and a stranger's body is not read then.
    Raises `TooLarge` (`json_too_large`), and what `strict_json.loads` and `codec.parse` raise.
    """
    return Body(kind, max_bytes)


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The raw body, never holding more than `max_bytes`.

    Raises `TooLarge` (`json_too_large`) and `Rejected` (`body_too_slow`, `body_cut_off`).
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise too_large(max_bytes, declared[:20])
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for piece in request.stream():
                size += len(piece)
                if size > max_bytes:
                    raise too_large(max_bytes, f"> {max_bytes}")
                pieces.append(piece)
    except TimeoutError as error:
        raise Rejected(
            "body_too_slow", "the body did not arrive in time", expected=f"within {BODY_TIMEOUT_S:.0f} s"
        ) from error
    except ClientDisconnect as error:  # nobody reads the answer; it must not look like a fault of ours
        raise Rejected("body_cut_off", "the connection ended before the body did", actual=f"{size} B") from error
    return b"".join(pieces)


def too_large(max_bytes: int, actual: str) -> TooLarge:
    """The refusal of a body above its limit."""
    return TooLarge("json_too_large", "the body is too large", expected=f"<= {max_bytes} B", actual=f"{actual} B")
