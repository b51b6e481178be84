"""The published log over HTTP: an outsider reads tiles and receipts and verifies them with nothing but hashes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from muniment.adapters.memory.store import MemoryBlobStore
from muniment.adapters.signing_keys import FileKeys
from muniment.audit.bucket import LogBucket
from muniment.audit.http import router
from muniment.audit.keyring import Keyring
from muniment.audit.log_http import add_keys, add_log
from muniment.audit.note import Checkpoint, VerifierKey, open_note
from muniment.audit.published import PublishedLog
from muniment.audit.publisher import Publisher
from muniment.audit.store import AuditLog
from muniment.audit.tiles import split_bundle
from muniment.runtime.http.app import build_app
from muniment.runtime.metrics import Metrics

from .conftest import Writer, incoming
from .test_http import TokenIsRole

SIZE = 300


@pytest.fixture
async def http(writer: Writer, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """An auditor's client of a log of `SIZE` published entries and one that is not yet."""
    blobs = MemoryBlobStore(writer.clock)
    await blobs.ensure_bucket("audit", object_lock=True)
    keyring = Keyring(writer.transactions, FileKeys(tmp_path / "audit.key"), "example.com/audit")
    bucket = LogBucket(blobs, writer.clock, "audit", timedelta(hours=1))
    await writer.append(*(incoming(f"e-{number}") for number in range(SIZE)))
    await Publisher(writer.pool, bucket, keyring, writer.clock).publish()
    await writer.append(incoming("late"))
    routes = router(AuditLog(writer.pool))
    add_log(routes, PublishedLog(writer.pool))
    add_keys(routes, keyring, writer.clock)
    app = build_app(
        version="0", routers=[routes], identity=TokenIsRole(), ready={}, metrics=Metrics(CollectorRegistry())
    )
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app),
        base_url="http://test/api/v1/audit",
        headers={"authorization": "Bearer auditor"},
    ) as client:
        yield client


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


async def checkpoint(http: httpx2.AsyncClient) -> Checkpoint:
    answer = await http.get("/log/checkpoint")
    keys = [VerifierKey.parse(item["vkey"]) for item in (await http.get("/keys")).json()["items"]]
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    return Checkpoint.parse(open_note(answer.content, keys))


async def test_tiles_give_the_checkpoints_root(http: httpx2.AsyncClient) -> None:
    found = await checkpoint(http)
    assert (found.origin, found.size) == ("example.com/audit", SIZE)
    hashes = b""
    entries = []
    for path in ("000", "001.p/44"):
        answer = await http.get(f"/log/tile/0/{path}")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert "immutable" in answer.headers["cache-control"]
        hashes += answer.content
        entries += split_bundle((await http.get(f"/log/tile/entries/{path}")).content)
    row = [hashlib.sha256(b"\x00" + data).digest() for data in entries]
    assert hashes == b"".join(row)
    while len(row) > 1:
        row = [_node(row[at], row[at + 1]) if at + 1 < len(row) else row[at] for at in range(0, len(row), 2)]
    assert row[0] == found.root
    above = (await http.get("/log/tile/1/000.p/1")).content
    assert (await http.get("/log/tile/0/001.p/3")).content == hashes[8192 : 8192 + 96]
    assert len(above) == 32


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/log/tile/0/001", 404, "audit_tile_not_found"),
        ("/log/tile/0/001.p/45", 404, "audit_tile_not_found"),
        ("/log/tile/entries/002.p/1", 404, "audit_tile_not_found"),
        ("/log/tile/0/1", 422, "audit_tile_path_invalid"),
        ("/proof", 422, "audit_entry_unnamed"),
        ("/proof?index=1&event=e-1", 422, "audit_entry_unnamed"),
        ("/proof?index=301", 404, "audit_entry_not_found"),
        ("/proof?index=300", 409, "audit_not_yet_published"),
        ("/proof?event=nobody", 404, "audit_entry_not_found"),
        ("/consistency?from=200&to=301", 422, "audit_range_invalid"),
        ("/consistency?from=20&to=10", 422, "audit_range_invalid"),
    ],
)
async def test_what_there_is_not_is_told(http: httpx2.AsyncClient, path: str, status: int, code: str) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("query", ["index=257", "event=e-257", "index=257&entry=false"])
async def test_a_receipt_proves_its_entry(http: httpx2.AsyncClient, query: str) -> None:
    found = await checkpoint(http)
    text = (await http.get(f"/proof?{query}")).text
    head, note = text.split("\n\n", 1)
    assert note == (await http.get("/log/checkpoint")).text
    lines = head.split("\n")
    assert lines.pop(0) == "c2sp.org/tlog-proof@v1"
    data = split_bundle((await http.get("/log/tile/entries/001.p/44")).content)[1]
    if "false" not in query:
        assert base64.b64decode(lines.pop(0).removeprefix("extra ")) == data
    assert lines.pop(0) == "index 257"
    node, fn, sn = hashlib.sha256(b"\x00" + data).digest(), 257, found.size - 1  # RFC 9162 section 2.1.3.2
    for line in lines:
        sibling = base64.b64decode(line)
        if fn & 1 or fn == sn:
            node = _node(sibling, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = _node(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    assert (sn, node) == (0, found.root)


async def test_consistency_gives_both_roots(http: httpx2.AsyncClient) -> None:
    found = (await http.get("/consistency?from=256")).json()
    assert (found["from"], found["to"], found["to_root"]) == (256, SIZE, (await checkpoint(http)).root.hex())
    (only,) = found["hashes"]  # 256 is a power of two: its root and the rest
    assert _node(bytes.fromhex(found["from_root"]), base64.b64decode(only)).hex() == found["to_root"]


async def test_only_admins_rotate_and_only_auditors_read(http: httpx2.AsyncClient) -> None:
    for path in ("/log/checkpoint", "/log/tile/0/000", "/proof?index=0", "/consistency?from=1", "/keys"):
        assert (await http.get(path, headers={"authorization": "Bearer writer"})).status_code == 403
    assert (await http.post("/keys", json={})).status_code == 403
    made = await http.post("/keys", json={"overlap_days": 7}, headers={"authorization": "Bearer admin"})
    assert made.status_code == 201
    old, new = (await http.get("/keys")).json()["items"]
    assert (old["signs"], new["signs"], new["signs_until"], new["vkey"]) == (True, True, None, made.json()["vkey"])
    assert old["signs_until"] is not None
