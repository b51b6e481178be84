"""The S3 adapter before answers that no real store gives on demand: wrong versions, late errors, bursts, proxy pages.

A scripted HTTP server stands in for the store: each request takes the next answer and is kept for counting.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from muniment.adapters.minio import MinioBlobStore, S3Options
from muniment.contracts.errors import Misconfigured, MunimentError, NotFound, PreconditionFailed, Rejected, TooLarge
from muniment.ports.blobs import Location, Lock, ObjectVersion, Part, StoreUnavailable

WHERE = Location("bucket", "key", "v1")
SOURCE = ObjectVersion("bucket", "key", "v1", size=3, etag="e" * 32, last_modified=datetime(2026, 1, 1, tzinfo=UTC))
LOCK = Lock("COMPLIANCE", datetime(2099, 1, 1, tzinfo=UTC))
SECRET = "the-secret-key"


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def error(status: int, code: str, message: str = "told by the store") -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return Answer(status, body, {"content-type": "application/xml"})


def body(data: bytes, version: str = "v1", status: int = 200, **headers: str) -> Answer:
    return Answer(status, data, {"x-amz-version-id": version, **{k.replace("_", "-"): v for k, v in headers.items()}})


class Script:
    """Answers in order, the last one for ever. `requests` holds (method, target) of each."""

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        self._answers = list(answers)
        self.requests: list[tuple[str, str]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                method, target, _ = line.decode().split(" ")
                length = 0
                while (header := (await reader.readline()).decode().strip()) != "":
                    name, _, value = header.partition(":")
                    length = int(value) if name.lower() == "content-length" else length
                await reader.readexactly(length)
                self.requests.append((method, target))
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                headers = {"content-length": str(len(answer.body)), **answer.headers}
                told = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
                sent = b"" if method == "HEAD" else answer.body
                writer.write(f"HTTP/1.1 {answer.status} Told\r\n{told}\r\n".encode() + sent)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


Told = Callable[..., AbstractAsyncContextManager[tuple[MinioBlobStore, Script]]]


@pytest.fixture
def told() -> Told:
    @asynccontextmanager
    async def run(*answers: Answer) -> AsyncIterator[tuple[MinioBlobStore, Script]]:
        script = Script(answers)
        server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        store = MinioBlobStore(
            S3Options(
                endpoint=f"http://127.0.0.1:{port}", access_key="access", secret_key=SECRET, read_timeout=5, retries=2
            )
        )
        try:
            yield store, script
        finally:
            await store.aclose()
            server.close()

    return run


async def raised(attempt: Awaitable[object]) -> MunimentError:
    with pytest.raises(MunimentError) as caught:
        await attempt
    assert SECRET not in json.dumps(caught.value.facts())
    return caught.value


async def test_an_answer_for_another_version_is_not_passed_on(told: Told) -> None:
    async with told(body(b"old bytes", version="v0")) as (store, _):
        for attempt in (
            store.hash(WHERE),
            store.read_range(WHERE, offset=0, length=4),
            store.stat("bucket", "key", "v1"),
        ):
            caught = await raised(attempt)
            assert isinstance(caught, StoreUnavailable)
            assert caught.code == "store_inconsistent"
            assert (caught.expected, caught.actual) == ("version v1", "version v0")


async def test_an_answer_without_a_version_is_not_passed_on_either(told: Told) -> None:
    async with told(Answer(200, b"bytes")) as (store, _):
        assert (await raised(store.hash(WHERE))).code == "store_inconsistent"
        assert (await raised(store.stat("bucket", "key"))).code == "bucket_without_versioning"
        assert (await raised(store.put("bucket", "key", b"x"))).code == "bucket_without_versioning"


@pytest.mark.parametrize(
    "answer",
    [
        body(b"0123456789"),
        body(b"0123", status=206, content_range="bytes 0-3/10"),
        body(b"2345", status=206, content_range="bytes 2-5/4"),
        body(b"23", status=206, content_range="bytes 2-3/10"),
        body(b"2345", status=206, content_range="no range"),
    ],
)
async def test_a_range_that_was_not_asked_for_is_not_passed_on(told: Told, answer: Answer) -> None:
    async with told(answer) as (store, _):
        assert (await raised(store.read_range(WHERE, offset=2, length=4))).code == "store_inconsistent"


async def test_a_body_without_a_stated_length_is_not_trusted(told: Told) -> None:
    chunked = Answer(
        200, b"3\r\nabc\r\n0\r\n\r\n", {"x-amz-version-id": "v1", "content-length": "", "transfer-encoding": "chunked"}
    )
    async with told(chunked) as (store, _):
        assert (await raised(store.hash(WHERE))).code == "store_unavailable"


async def test_reads_are_tried_again_through_a_burst_of_errors(told: Told) -> None:
    async with told(error(503, "SlowDown"), error(500, "InternalError"), body(b"bytes")) as (store, script):
        assert (await store.hash(WHERE)).size == 5
        assert len(script.requests) == 3


async def test_reads_are_not_tried_for_ever(told: Told) -> None:
    async with told(error(503, "SlowDown")) as (store, script):
        caught = await raised(store.hash(WHERE))
        assert isinstance(caught, StoreUnavailable)
        assert "SlowDown" in (caught.actual or "")
        assert len(script.requests) == 3


async def test_a_body_is_sent_once(told: Told) -> None:
    async with told(error(503, "SlowDown"), body(b"")) as (store, script):
        assert isinstance(await raised(store.put("bucket", "key", b"x")), StoreUnavailable)
        assert [method for method, _ in script.requests] == ["PUT"]


async def test_a_conditional_write_is_repeated_where_the_store_could_not_tell(told: Told) -> None:
    conflict = error(409, "ConditionalRequestConflict")
    async with told(conflict, conflict, body(b"", version="v7")) as (store, script):
        result = await store.put_once("bucket", "key", b"x")
        assert (result.created, result.location.version_id) == (True, "v7")
        assert len(script.requests) == 3
    async with told(conflict) as (store, script):
        assert (await raised(store.put_once("bucket", "key", b"x"))).code == "write_conflict"
        assert 3 <= len(script.requests) <= 10


async def test_a_conditional_write_over_something_that_vanishes_is_repeated(told: Told) -> None:
    answers = (error(412, "PreconditionFailed"), error(404, "NoSuchKey"), body(b"", version="v7"))
    async with told(*answers) as (store, _):
        assert (await store.put_once("bucket", "key", b"x")).created


async def test_what_is_there_is_read_twice_before_it_is_called_another(told: Told) -> None:
    taken = error(412, "PreconditionFailed")
    async with told(taken, body(b"xxX"), body(b"xxx")) as (store, _):
        caught = await raised(store.put_once("bucket", "key", b"xxx"))
    assert (type(caught), caught.code) == (StoreUnavailable, "store_inconsistent")
    async with told(taken, body(b"xxX"), body(b"xxX")) as (store, _):
        caught = await raised(store.put_once("bucket", "key", b"xxx"))
    assert caught.code == "object_conflict"


async def test_an_error_at_the_end_of_a_success_is_an_error(told: Told) -> None:
    late = Answer(200, error(500, "InternalError").body, {"x-amz-version-id": "v9"})
    head = body(b"abc")
    async with told(late) as (store, _):
        caught = await raised(store.complete_multipart("bucket", "key", "upload", [Part(1, "e" * 32)]))
        assert isinstance(caught, StoreUnavailable)
    async with told(head, late) as (store, _):
        assert isinstance(await raised(store.copy(SOURCE, "bucket", "copy")), StoreUnavailable)


async def test_redirects_are_not_followed(told: Told) -> None:
    async with told(Answer(307, b"", {"location": "http://127.0.0.1:9/elsewhere"})) as (store, script):
        caught = await raised(store.hash(WHERE))
        assert isinstance(caught, Misconfigured)
        assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (error(404, "NoSuchKey"), NotFound, "object_not_found"),
        (error(404, "NoSuchBucket"), NotFound, "bucket_not_found"),
        (error(403, "AccessDenied"), Misconfigured, "store_access_denied"),
        (error(403, "RequestTimeTooSkewed"), Misconfigured, "store_access_denied"),
        (error(400, "ExpiredToken"), Misconfigured, "store_access_denied"),
        (error(400, "BadDigest"), StoreUnavailable, "store_unavailable"),
        (error(400, "XAmzContentSHA256Mismatch"), StoreUnavailable, "store_unavailable"),
        (error(429, "TooManyRequests"), StoreUnavailable, "store_unavailable"),
        (error(507, "XMinioStorageFull"), StoreUnavailable, "store_unavailable"),
        (error(409, "OperationAborted"), StoreUnavailable, "write_conflict"),
        (error(412, "PreconditionFailed"), PreconditionFailed, "precondition_failed"),
        (error(400, "EntityTooLarge"), TooLarge, "object_too_large"),
        (error(400, "XMinioInvalidObjectName"), Rejected, "object_key_invalid"),
        (error(400, "SomethingNew"), Misconfigured, "store_refused"),
        (Answer(502, b"<html>Bad Gateway", {"content-type": "text/html"}), StoreUnavailable, "store_unavailable"),
        (Answer(403, b"<html>Forbidden", {"content-type": "text/html"}), Misconfigured, "store_access_denied"),
        (Answer(409, b"", {"content-type": "text/html"}), Misconfigured, "store_refused"),
        (Answer(500, b"<Error><Code>", {"content-type": "application/xml"}), StoreUnavailable, "store_unavailable"),
        (Answer(500, b"\xff\xfe", {"content-type": "application/xml"}), StoreUnavailable, "store_unavailable"),
    ],
)
async def test_every_refusal_has_one_meaning(told: Told, answer: Answer, kind: type[MunimentError], code: str) -> None:
    async with told(answer) as (store, _):
        caught = await raised(store.put("bucket", "key", b"x"))
        assert type(caught) is kind
        assert caught.code == code
        assert caught.__cause__ is not None


@pytest.mark.parametrize("answer", [b"", b"not xml", b"<A/>", b"<A><IsTruncated>true</IsTruncated></A>", b"\xff"])
async def test_an_unreadable_answer_is_transient(told: Told, answer: bytes) -> None:
    async with told(Answer(200, answer, {"x-amz-version-id": "v1"})) as (store, _):
        assert isinstance(await raised(store.create_multipart("bucket", "key")), StoreUnavailable)
        if answer != b"<A/>":  # that is an empty page
            assert isinstance(await raised(store.list_versions("bucket")), StoreUnavailable)


async def test_a_store_that_will_not_lock_is_found_out(told: Told) -> None:
    """Retention refused for a reason of its own, and no lock there: nothing may count as locked."""
    can_lock = Answer(200, b"<ObjectLockConfiguration/>")
    none = error(404, "NoSuchObjectLockConfiguration")
    async with told(can_lock, error(403, "AccessDenied"), none) as (store, _):
        caught = await raised(store.lock(WHERE, LOCK))
        assert isinstance(caught, Misconfigured)
        assert caught.code == "lock_refused"
        assert "2099" in (caught.expected or "")
    async with told(can_lock, error(400, "InvalidRequest")) as (store, _):
        assert (await raised(store.put("bucket", "key", b"x", lock=LOCK))).code == "lock_refused"
