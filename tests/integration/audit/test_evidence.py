"""Evidence packs of a real log on Postgres and S3: what an auditor gets over HTTP, and what becomes of a changed one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from muniment.adapters.minio import MinioBlobStore, S3Options
from muniment.adapters.signing_keys import FileKeys
from muniment.audit.bucket import LogBucket
from muniment.audit.evidence.export import Evidence
from muniment.audit.evidence.http import add_evidence
from muniment.audit.evidence.manifests import Manifests
from muniment.audit.http import router
from muniment.audit.keyring import Keyring
from muniment.audit.published import PublishedLog
from muniment.audit.publisher import Publisher
from muniment.audit.store import AuditLog
from muniment.ports.blobs import BlobStore
from muniment.ports.clock import SystemClock
from muniment.runtime.http.app import build_app
from muniment.runtime.metrics import Metrics
from muniment.server.parts import Parts
from muniment.verifier.evidence import verify_evidence
from muniment.verifier.keys import parse_key
from tests.unit.verifier.packs import put_together, taken_apart

from .conftest import Writer, incoming
from .test_http import TokenIsRole

OLD, NEW = b'{"model":"digits","run_id":"old"}', b'{"model":"digits","run_id":"new"}'
GONE = "sha256:" + "9" * 64


def version(manifest: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


@dataclass
class Bench:
    """A published log, an auditor's client, and a clock that the test moves."""

    writer: Writer
    publisher: Publisher
    blobs: BlobStore
    bucket: str
    http: httpx2.AsyncClient
    vkey: str = ""
    _made: int = 0

    async def happened(self, action: str, resource: str, *changes: dict[str, Any], **more: Any) -> None:
        """An operation on digits, and the same again on another model, a minute after the one before."""
        self.writer.clock.move(60)
        self._made += 1
        what = {"action": action, "changes": changes, **more}
        await self.writer.append(
            incoming(f"e-{self._made}", resource=f"models/digits/{resource}", **what),
            incoming(f"o-{self._made}", model="other", resource=f"models/other/{resource}", **what),
        )

    async def committed(self, number: int, identity: str, place: Any) -> None:
        await self.happened(
            "version.committed",
            f"versions/{number}",
            {"path": "version", "after": identity},
            {"path": "number", "after": number},
            {"path": "manifest", "after": {"bucket": place.bucket, "version_id": place.version_id}},
        )

    async def pack(self, **query: str) -> bytes:
        while await self.publisher.publish():
            pass
        answer = await self.http.get("/evidence", params={"model": "digits", **query})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-tar"), answer.text
        return answer.content

    def now(self) -> str:
        return self.writer.clock.now().isoformat().replace("+00:00", "Z")


@pytest.fixture
async def bench(writer: Writer, parts: Parts, tmp_path: Path) -> AsyncIterator[Bench]:
    s3 = parts.s3
    blobs = MinioBlobStore(S3Options(endpoint=s3.endpoint, access_key=s3.access_key, secret_key=s3.secret_key))
    bucket = f"evidence-{uuid.uuid4().hex[:12]}"
    await blobs.ensure_bucket(bucket, object_lock=True)
    keyring = Keyring(writer.transactions, FileKeys(tmp_path / "audit.key"), "example.com/audit")
    publisher = Publisher(
        writer.pool, LogBucket(blobs, SystemClock(), bucket, timedelta(seconds=2)), keyring, writer.clock
    )
    routes = router(AuditLog(writer.pool))
    add_evidence(routes, Evidence(writer.pool, PublishedLog(writer.pool), keyring, Manifests(blobs, bucket)))
    app = build_app(
        version="0", routers=[routes], identity=TokenIsRole(), ready={}, metrics=Metrics(CollectorRegistry())
    )
    await writer.append(incoming("begin", model="other"))
    await publisher.publish()
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app),
        base_url="http://test/api/v1/audit",
        headers={"authorization": "Bearer auditor"},
    ) as client:
        yield Bench(writer, publisher, blobs, bucket, client, (await keyring.keys())[0].key.vkey)
    await blobs.aclose()


async def verified(tmp_path: Path, pack: bytes, vkey: str) -> dict[str, Any]:
    (tmp_path / "pack.tar").write_bytes(pack)
    report = await asyncio.to_thread(verify_evidence, tmp_path / "pack.tar", (parse_key(vkey),), (), 0, lambda *_: None)
    return report.as_json()


async def test_a_pack_of_a_quarter(bench: Bench, tmp_path: Path) -> None:
    old = await bench.blobs.put(bench.bucket, f"manifests/digits/{version(OLD)[7:]}.json", OLD)
    new = await bench.blobs.put(bench.bucket, f"manifests/digits/{version(NEW)[7:]}.json", NEW)
    await bench.committed(1, version(OLD), old)
    await bench.happened("baseline.promoted", "pointers/baseline", {"path": "pointers/baseline", "after": version(OLD)})
    await bench.happened("version.described", "versions/1", {"path": "description", "after": "before the quarter"})
    bench.writer.clock.move(60)
    since = bench.now()
    await bench.committed(2, version(NEW), new)
    await bench.happened("baseline.promoted", "pointers/baseline", outcome="refused", reason="gate_shut: too slow")
    await bench.happened("version.approved", "versions/2", {"path": "approval", "after": "muniment|bob"})
    await bench.happened(
        "baseline.promoted",
        "pointers/baseline",
        {"path": "pointers/baseline", "before": version(OLD), "after": version(NEW)},
    )
    await bench.happened("version.handed_out", "versions/1", {"path": "force", "after": True})
    for number in range(140):  # so that entries lie in two tiles
        await bench.happened("version.described", "versions/2", {"path": "description", "after": f"text {number}"})
    bench.writer.clock.move(60)
    until = bench.now()
    await bench.happened("version.deleted", "versions/1")
    pack = await bench.pack(**{"from": since, "to": until})
    report = await verified(tmp_path, pack, bench.vkey)
    assert report["ok"], report["findings"]
    files = dict(taken_apart(pack))
    told = [json.loads(text)["action"] for name, text in files.items() if name.startswith("entries/")]
    # What stood at the beginning is there (the baseline, and what had committed it), the rest of before is not.
    assert told[:4] == ["version.committed", "baseline.promoted", "version.committed", "baseline.promoted"]
    assert (len(told), "version.deleted" in told, report["manifests"]) == (2 + 145, False, 2)
    assert {json.loads(text)["model"] for name, text in files.items() if name.startswith("entries/")} == {"digits"}
    # The other model's entries of the quarter are told by number and hash alone.
    assert (report["leaves"], report["withheld"], b"models/other" in files["leaves"]) == (2 * 145, 145, False)
    versions = [json.loads(line) for line in files["versions.jsonl"].splitlines()]
    assert [one["id"] for one in versions] == [version(OLD), version(NEW)]
    assert files[versions[1]["manifest"]] == NEW
    page = files["report.html"].decode()
    assert "gate_shut: too slow" in page.split("<h2>Exceptions")[1].split("</table>")[0]

    for number in range(3):  # the log grows; the question's answer stays what it was
        await bench.happened("version.described", "versions/2", {"path": "description", "after": f"later {number}"})
        await bench.publisher.publish()
    assert await bench.pack(**{"from": since, "to": until}) == pack

    for name in ("entries/11.json", "pack.json", "checkpoint", "report.html", versions[0]["manifest"]):
        broken = bytearray(files[name])
        broken[len(broken) // 2] ^= 1
        changed = [(one, bytes(broken) if one == name else text) for one, text in files.items()]
        found = await verified(tmp_path, put_together(changed, new_sums=False), bench.vkey)
        assert not found["ok"]
        assert name in {one["layer"] for one in found["findings"]}, found
    lines = page.replace("gate_shut: too slow", "gate_open")
    forged = [(one, lines.encode() if one == "report.html" else text) for one, text in files.items()]
    found = await verified(tmp_path, put_together(forged), bench.vkey)
    assert [one["layer"] for one in found["findings"]] == ["report.html"]


async def test_a_manifest_that_is_gone_is_told(bench: Bench, tmp_path: Path) -> None:
    place = await bench.blobs.put(bench.bucket, "manifests/digits/other.json", b"other")
    await bench.committed(1, GONE, place)
    pack = await bench.pack()
    report = await verified(tmp_path, pack, bench.vkey)
    assert (report["ok"], report["manifests_missing"]) == (True, [f"manifests/{'9' * 64}.json"])
    assert "manifest not in the store" in dict(taken_apart(pack))["report.html"].decode()


async def test_what_there_is_no_pack_of(bench: Bench) -> None:
    await bench.happened("version.described", "versions/1")
    await bench.publisher.publish()
    for query, status, code in (
        ({"model": "nobody"}, 422, "evidence_empty"),
        ({"model": "digits", "to": "2020-01-01T00:00:00Z"}, 422, "evidence_empty"),
        (
            {"model": "digits", "from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
            422,
            "evidence_range_invalid",
        ),
        ({"model": "digits", "from": "yesterday"}, 422, "time_invalid"),
        ({"model": "../x"}, 422, "model_name_invalid"),
    ):
        answer = await bench.http.get("/evidence", params=query)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    answer = await bench.http.get("/evidence?model=digits", headers={"authorization": "Bearer writer"})
    assert answer.status_code == 403
