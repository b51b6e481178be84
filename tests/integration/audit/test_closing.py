"""A log is closed, and its last checkpoint is in the first entry of the log that continues it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from muniment.adapters.memory.store import MemoryBlobStore
from muniment.adapters.signing_keys import FileKeys
from muniment.audit.bucket import LogBucket
from muniment.audit.ending import read_ending
from muniment.audit.http import router
from muniment.audit.keyring import Keyring
from muniment.audit.log_http import add_keys, add_log
from muniment.audit.published import PublishedLog
from muniment.audit.publisher import Publisher
from muniment.audit.store import AuditLog
from muniment.contracts.errors import Conflict, Misconfigured
from muniment.contracts.events import AuditRequested
from muniment.runtime.http.app import build_app
from muniment.runtime.metrics import Metrics
from muniment.sdk.audit_log import audit_ending
from muniment.sdk.exchange import Answer, Call, Done, Outcome, Request, advance
from muniment.verifier.checkpoint import Trust
from muniment.verifier.keys import parse_key
from muniment.verifier.receipt import parse_receipt, verify_receipt
from tests.unit.verifier.naive import Signer, checkpoint

from .conftest import Log, Writer, incoming, new_log
from .test_http import TokenIsRole


def keyring_of(writer: Writer, folder: Path, name: str, ending: Path | None = None) -> Keyring:
    keys = FileKeys(folder / f"{name}.key")
    return Keyring(writer.transactions, keys, f"example.com/{name}", read_ending(ending))


async def publisher_of(writer: Writer, keyring: Keyring) -> Publisher:
    blobs = MemoryBlobStore(writer.clock)
    await blobs.ensure_bucket("audit", object_lock=True)
    return Publisher(writer.pool, LogBucket(blobs, writer.clock, "audit", timedelta(hours=1)), keyring, writer.clock)


async def asked(writer: Writer, keyring: Keyring, call: Call[Any]) -> Any:
    """Drive a call of the SDK against the log's routes."""
    routes = router(AuditLog(writer.pool))
    add_log(routes, PublishedLog(writer.pool))
    add_keys(routes, keyring, writer.clock)
    metrics = Metrics(CollectorRegistry())
    app = build_app(version="0", routers=[routes], identity=TokenIsRole(), ready={}, metrics=metrics)
    headers = {"authorization": "Bearer auditor"}
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://test", headers=headers
    ) as client:
        outcome = Outcome()
        while True:
            effect = advance(call, outcome)
            if isinstance(effect, Done):
                return effect.value
            assert isinstance(effect, Request)
            answer = await client.request(effect.method, effect.target)
            outcome = Outcome(Answer(answer.status_code, dict(answer.headers), answer.content))


async def requested(writer: Writer) -> list[AuditRequested]:
    rows = await writer.pool.fetch("SELECT payload FROM outbox WHERE type = 'muniment.audit-requested.v1' ORDER BY seq")
    return [AuditRequested.model_validate_json(bytes(row["payload"])) for row in rows]


async def test_a_log_is_continued(log: Log, writer: Writer, parts: Any, template: str, tmp_path: Path) -> None:
    old = keyring_of(writer, tmp_path, "old")
    publisher = await publisher_of(writer, old)
    await writer.append(*(incoming(f"e-{number}") for number in range(5)))
    await publisher.publish()
    await writer.append(incoming("late"))
    with pytest.raises(Conflict) as caught:
        await asked(writer, old, audit_ending())
    assert caught.value.code == "audit_log_open"
    await publisher.publish()
    ending = await asked(writer, old, audit_ending())
    assert (ending["origin"], ending["size"]) == ("example.com/old", 6)
    (tmp_path / "old.json").write_text(json.dumps(ending), "utf-8")

    async with new_log(parts, template) as fresh:
        second = await fresh.writer()
        keyring = keyring_of(second, tmp_path, "new", tmp_path / "old.json")
        began = await publisher_of(second, keyring)
        await began.publish()  # as the audit service does when it starts, alone
        first, key = await requested(second)
        assert (first.action, key.action) == ("audit.log-continued", "audit.key-rotated")
        await second.append(*(incoming(f"n-{at}", **one.model_dump()) for at, one in enumerate((first, key))))
        await began.publish()
        receipt = parse_receipt((await PublishedLog(second.pool).receipt(0)).encode())
        vkey = (await keyring.keys())[0].key.vkey
        verify_receipt(receipt, receipt.extra or b"", Trust((parse_key(vkey),)))
        told = {one["path"]: one["after"] for one in json.loads(receipt.extra or b"")["changes"]}
        assert told["continues/checkpoint"] == ending["checkpoint"]
        assert told["continues/root_hash"] == ending["root_hash"]
        again = keyring_of(second, tmp_path, "new", tmp_path / "old.json")
        await again.signing(second.clock.now())
        assert len(await requested(second)) == 2, "a log that has begun is continued no second time"


async def test_a_name_is_not_used_twice(writer: Writer, tmp_path: Path) -> None:
    signer = Signer("example.com/old")
    note = checkpoint(1, b"r" * 32, signer, origin="example.com/old").decode()
    (tmp_path / "old.json").write_text(json.dumps({"checkpoint": note, "keys": [signer.vkey]}), "utf-8")
    keyring = keyring_of(writer, tmp_path, "old", tmp_path / "old.json")
    with pytest.raises(Misconfigured) as caught:
        await keyring.signing(writer.clock.now())
    assert caught.value.code == "audit_origin_taken"


def test_an_ending_that_nobody_has_signed(tmp_path: Path) -> None:
    signer, other = Signer("example.com/old"), Signer("example.com/old", seed=b"x" * 32)
    note = checkpoint(1, b"r" * 32, signer, origin="example.com/old").decode()
    file = tmp_path / "old.json"
    for value in ({"checkpoint": note, "keys": [other.vkey]}, {"checkpoint": note}, [], {"checkpoint": 1, "keys": []}):
        file.write_text(json.dumps(value), "utf-8")
        with pytest.raises(Misconfigured) as caught:
            read_ending(file)
        assert caught.value.code == "audit_ending_invalid"
    with pytest.raises(Misconfigured):
        read_ending(tmp_path / "nothing.json")
    assert read_ending(None) is None
