"""Bad requests: each gets a problem with a stable code and its audit entry, and leaves nothing half done."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from muniment.contracts import topics
from muniment.contracts.strict_json import MAX_BYTES

from .bad_input import Door, new_id
from .bad_values import TEXTS, payload
from .conftest import Outside

MIB = 1024 * 1024


# -- the same again, and another under the same key


async def test_a_thousand_requests_with_one_key_are_one_version(door: Door, registry: Outside) -> None:
    body = {"model": "bad-requests", "files": [await registry.land("model.bin", b"asked a thousand times")]}
    key = new_id()
    room = asyncio.Semaphore(60)  # as many as intake serves at a time

    async def begin() -> httpx2.Response:
        async with room:
            return await door.begin(body, idempotency_key=key)

    answers = await asyncio.gather(*(begin() for _ in range(1000)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 999}
    (flow,) = {answer.json()["publication"]["id"] for answer in answers}
    done = await asyncio.gather(*(door.send("POST", f"/publications/{flow}/complete", {}) for _ in range(100)))
    assert {answer.status_code for answer in done} == {202}
    door.intake.commits["bad-requests"] += 1
    await door.intake.committed(flow)
    await door.publish("bad-requests")
    accepted = [e for e in door.intake.entries() if e["resource"] == f"publications/{flow}"]
    assert [e["action"] for e in accepted] == ["publication.accepted", "validation.passed"]
    assert len(registry.records(topics.MODEL_TRAINED, flow)) == 1


async def test_the_same_key_with_another_body_is_a_conflict_and_the_first_holds(door: Door, registry: Outside) -> None:
    key = new_id()
    first = {"model": "bad-requests", "files": [await registry.land("model.bin", b"first body")]}
    flow = (await door.begin(first, idempotency_key=key)).json()["publication"]["id"]
    other = {**first, "facts": {"metrics": {"accuracy": 1.0}}}
    problem, entry = await door.refused(await door.begin(other, idempotency_key=key), 409, "idempotency_key_reused")
    assert problem["expected"] != problem["actual"]
    assert {"path": "actual", "after": problem["actual"]} in entry["changes"]
    await door.complete(flow)
    door.intake.commits["bad-requests"] += 1
    version = await door.intake.committed(flow)
    assert version["metrics"] == {}


# -- bodies


@pytest.mark.parametrize("name", TEXTS)
async def test_a_body_that_cannot_be_read_is_refused(door: Door, name: str) -> None:
    body, code = TEXTS[name]
    problem, _ = await door.refuses(body, code, model="bad-body")
    assert len(problem["detail"]) < 20_000


@pytest.mark.parametrize("name", ["empty", "nan", "unknown-field", "deep"])
async def test_completing_with_a_body_that_cannot_be_read_changes_nothing(
    door: Door, registry: Outside, name: str
) -> None:
    body = b'{"files": [], "surprise": 1}' if name == "unknown-field" else TEXTS[name][0]
    flow = await door.started("bad-body", [await registry.land("model.bin", b"to be completed")])
    await door.refused(await door.send("POST", f"/publications/{flow}/complete", body), 422, TEXTS[name][1])
    assert (await registry.client.publication(flow)).stage == "uploading"
    await door.complete(flow)
    door.intake.commits["bad-body"] += 1
    await door.intake.committed(flow)


async def test_completing_what_is_not_there_is_refused(door: Door, registry: Outside) -> None:
    flow = await door.started("bad-body", [await registry.land("model.bin", b"one file")])
    unknown = {"files": [{"path": "other.bin"}]}
    await door.refused(await door.send("POST", f"/publications/{flow}/complete", unknown), 422, "file_unknown")
    nobody = "00000000-0000-0000-0000-000000000000"
    answer = await door.send("POST", f"/publications/{nobody}/complete", {})
    await door.refused(answer, 404, "publication_not_found")
    odd = await door.send("POST", "/publications/%00%E2%80%AE/complete", {})
    await door.refused(odd, 422, "publication_id_invalid")
    assert (await door.send("DELETE", f"/publications/{flow}")).status_code == 204
    assert (await registry.client.publication(flow)).stage == "abandoned"


@pytest.mark.parametrize("media", ["image/png", "text/plain; charset=utf-16", "application/cloudevents+json", ""])
async def test_a_body_is_json_whatever_its_type_says(door: Door, registry: Outside, media: str) -> None:
    body = {"model": "bad-type", "files": [await registry.land("model.bin", b"1")]}
    answer = await door.begin(body, content_type=media)
    assert answer.status_code == 201
    await door.send("DELETE", f"/publications/{answer.json()['publication']['id']}")


async def test_a_packed_body_is_never_unpacked(door: Door) -> None:
    bomb = gzip.compress(b" " * (64 * MIB))
    await door.refused(await door.begin(bomb, content_encoding="gzip"), 422, "json_encoding")
    await door.publish("bad-type")


# -- headers


async def test_ten_thousand_headers_are_refused_by_the_server_itself(door: Door) -> None:
    """Before there is a whole request nobody is known, and nothing is audited."""
    lines = [b"x-%d: %s" % (number, b"1" * 100) for number in range(10_000)]
    for answer in (await _exchange(door, _head(door, *lines)), await _exchange(door, _head(door, b"x: " + b"1" * MIB))):
        assert answer[:12] in {b"", b"HTTP/1.1 400"}, "the server hangs up, and its answer may be lost"
    await door.publish("bad-header")


@pytest.mark.parametrize(
    "key", ["", "k" * 256, "k\x07", "schl\u00fcssel".encode()], ids=["empty", "long", "control", "bytes"]
)
async def test_an_idempotency_key_that_is_none_is_refused(door: Door, key: Any) -> None:
    raw = key if isinstance(key, bytes) else key.encode()
    answer = await _exchange(door, _head(door, b"idempotency-key: " + raw) + json.dumps(payload("bad-key")).encode())
    assert answer.startswith(b"HTTP/1.1 422")
    assert b'"code":"idempotency_key_invalid"' in answer
    await door.publish("bad-header")


async def test_two_idempotency_keys_are_refused(door: Door) -> None:
    headers = [("idempotency-key", "one"), ("idempotency-key", "two"), ("x-request-id", new_id())]
    answer = await door.http.post("/publications", content=json.dumps(payload("bad-header")), headers=headers)
    await door.refused(answer, 422, "idempotency_key_invalid")


@pytest.mark.parametrize("given", ["a b", "x" * 65, "../../log", "\u202e".encode()])
async def test_a_request_id_that_could_forge_a_log_line_is_replaced(door: Door, given: Any) -> None:
    answer = await door.http.post("/publications", content=b"", headers={"x-request-id": given})
    assert answer.headers["x-request-id"] != given
    await door.refused(answer, 422, "json_empty")


async def test_a_request_id_that_was_used_before_hides_nothing(door: Door) -> None:
    name = new_id()
    for _ in range(2):
        answer = await door.http.post("/publications", content=b"", headers={"x-request-id": name})
        door.problem(answer, 422, "json_empty")

    def mine() -> int:
        return len([one for one in door.intake.entries() if one["cause"]["id"].startswith(f"{name}.")])

    await door.intake.registry.until(lambda: mine() == 2)


# -- sizes


@pytest.mark.parametrize("below", [1, 0])
async def test_a_body_up_to_the_limit_is_taken(door: Door, registry: Outside, below: int) -> None:
    file = await registry.land("model.bin", b"padded")
    body = json.dumps({"model": "bad-size-http", "files": [file], "facts": {"run_id": new_id()}}).encode()
    answer = await door.begin(body.ljust(MAX_BYTES - below))
    assert answer.status_code == 201
    flow = answer.json()["publication"]["id"]
    await door.complete(flow)
    door.intake.commits["bad-size-http"] += 1
    await door.intake.committed(flow)


@pytest.mark.parametrize("how", ["declared", "chunked"])
@pytest.mark.parametrize("above", [1, 3 * MIB])
async def test_a_body_above_the_limit_is_refused(door: Door, how: str, above: int) -> None:
    body = json.dumps(payload("bad-size-http")).encode().ljust(MAX_BYTES + above)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    answer = await door.begin(body if how == "declared" else pieces())
    problem, _ = await door.refused(answer, 413, "json_too_large")
    assert problem["expected"] == f"<= {MAX_BYTES} B"
    assert problem["actual"] == (f"{len(body)} B" if how == "declared" else f"> {MAX_BYTES} B")
    await door.publish("bad-size-after")


async def test_facts_that_do_not_fit_into_an_event_are_refused(door: Door) -> None:
    facts = {"params": {f"p{number}": "\u00e9" * 10_000 for number in range(45)}}
    body = json.dumps(payload("bad-size-after", facts=facts), ensure_ascii=False).encode()
    problem, _ = await door.refuses(body, "publication_too_large", model="bad-size-after", status=413)
    assert problem["actual"].startswith("about ")


async def test_a_stranger_is_told_so_whatever_the_size(door: Door) -> None:
    answer = await door.begin(b" " * (2 * MIB), authorization="Bearer mnt_nobody")
    door.problem(answer, 401, "token_invalid")


@pytest.mark.parametrize(
    ("length", "status"), [(b"9" * 18, b"413"), (b"-1", b"400"), (b"0x10", b"400"), (b"1, 2", b"400")], ids=repr
)
async def test_a_length_that_cannot_be(door: Door, length: bytes, status: bytes) -> None:
    answer = await _exchange(door, _head(door, b"content-length: " + length, length=False) + b"{}")
    assert answer.split(b" ", 2)[1] == status
    await door.publish("bad-size-after")


async def test_a_body_that_is_cut_off_begins_nothing(door: Door, registry: Outside) -> None:
    body = json.dumps(payload("bad-cut-off")).encode()
    head = _head(door, b"content-length: " + str(len(body) + 1).encode(), length=False)
    assert await _exchange(door, head + body, cut_off=True) == b""
    await door.intake.entry(lambda one: one.get("reason", "").startswith("body_cut_off: "))
    assert [one async for one in registry.client.publications(model="bad-cut-off")] == []


# -- uploads


async def test_an_upload_url_that_is_used_again_changes_nothing(door: Door, registry: Outside, tmp_path: Path) -> None:
    data = f"uploaded {new_id()}".encode()
    file = {name: value for name, value in (await registry.land("model.bin", data)).items() if name != "location"}
    begun = (await door.begin({"model": "bad-upload", "files": [file]})).json()
    flow, way = begun["publication"]["id"], begun["files"][0]["upload"]
    async with httpx2.AsyncClient() as store:
        assert (await store.put(way["url"], content=data, headers=way["headers"])).is_success
        await door.complete(flow)
        await store.put(way["url"], content=data[::-1], headers=way["headers"])
    door.intake.commits["bad-upload"] += 1
    version = await door.intake.committed(flow)
    await registry.client.download(f"bad-upload/{version['number']}", tmp_path / "got")
    assert (tmp_path / "got" / "model.bin").read_bytes() == data


async def test_an_upload_of_other_bytes(door: Door, registry: Outside) -> None:
    """Of another size: it can be done again. Of the same size: the validator finds it."""
    data = f"declared {new_id()}".encode()
    file = {name: value for name, value in (await registry.land("model.bin", data)).items() if name != "location"}
    begun = (await door.begin({"model": "bad-upload", "files": [file]})).json()
    flow, way = begun["publication"]["id"], begun["files"][0]["upload"]
    complete = f"/publications/{flow}/complete"
    await door.refused(await door.send("POST", complete, {}), 409, "upload_missing")
    async with httpx2.AsyncClient() as store:
        await store.put(way["url"], content=data[:-1], headers=way["headers"])
        problem, entry = await door.refused(await door.send("POST", complete, {}), 422, "size_mismatch")
        assert (problem["expected"], problem["actual"]) == (f"{len(data)} B", f"{len(data) - 1} B")
        assert {"path": "actual", "after": problem["actual"]} in entry["changes"]
        await store.put(way["url"], content=data[::-1], headers=way["headers"])
    await door.complete(flow)
    rejected, _ = await door.intake.rejection(flow, "digest_mismatch", stage="validation", action="validation.rejected")
    assert rejected["expected"] == f"sha256:{file['sha256']}"
    await door.publish("bad-upload")


async def test_nothing_of_all_this_is_half_done(door: Door) -> None:
    assert await door.intake.unfinished("uploading", "trained", "validating", "candidate") == []


def _head(door: Door, *lines: bytes, length: bool = True) -> bytes:
    own = [b"POST /api/v1/publications HTTP/1.1", b"host: x", b"connection: close"]
    own.append(b"authorization: Bearer " + door.intake.registry.token.encode())
    if length:
        own.append(b"content-length: " + str(len(json.dumps(payload("bad-key")))).encode())
    return b"\r\n".join([*own, *lines, b"", b""])


async def _exchange(door: Door, request: bytes, *, cut_off: bool = False) -> bytes:
    """What the server answers to these very bytes; `cut_off`: and nothing will follow them."""
    url = urlsplit(door.intake.registry.url)
    answer = b""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(request)
        if cut_off:
            writer.write_eof()
        with suppress(ConnectionResetError):
            while piece := await reader.read(65_536):
                answer += piece
        writer.close()
    return answer
