"""A log with two witnesses in processes of their own: its checkpoints are shown at once, and cosigned a moment later."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from muniment.adapters.memory.store import MemoryBlobStore
from muniment.adapters.postgres import connect
from muniment.adapters.signing_keys import FileKeys
from muniment.audit.bucket import LogBucket
from muniment.audit.cosigning import Cosigning
from muniment.audit.keyring import Keyring
from muniment.audit.published import PublishedLog
from muniment.audit.publisher import Publisher
from muniment.audit.witnessing import Witnesses
from muniment.runtime.metrics import Metrics
from muniment.runtime.settings import WitnessingSettings, WitnessSettings
from muniment.server.verifying import work
from muniment.verifier.checkpoint import Trust, open_checkpoint
from muniment.verifier.keys import parse_key
from muniment.verifier.receipt import parse_receipt, verify_receipt

from .conftest import Log, Writer, incoming

BUCKET = "audit"


@dataclass
class Running:
    """A witness in a process of its own."""

    process: subprocess.Popen[str]
    settings: WitnessSettings


def witness(*words: str) -> list[str]:
    return [sys.executable, "-m", "muniment.witness.main", *words]


@contextmanager
def running(folder: Path, name: str, log: str) -> Iterator[Running]:
    """Start a witness; its process is gone after the block."""
    made = subprocess.run(
        witness("init", "--state", str(folder), "--name", name), check=True, capture_output=True, text=True
    )
    words = witness("run", "--state", str(folder), "--log", log, "--listen", "127.0.0.1:0")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("ready ").strip()
            yield Running(process, WitnessSettings(url=url, vkey=made.stdout.strip()))
        finally:
            process.kill()


@dataclass
class Bench:
    """A publisher and what asks the witnesses, step by step."""

    writer: Writer
    publisher: Publisher
    cosigning: Cosigning
    blobs: MemoryBlobStore
    trust: Trust
    witnesses: list[Running]
    metrics: Metrics

    async def append(self, first: int, end: int) -> None:
        await self.writer.append(*(incoming(f"e-{number}") for number in range(first, end)))
        while await self.publisher.publish():
            pass

    async def shown(self) -> bytes:
        return await self.blobs.read_whole(await self.blobs.stat(BUCKET, "checkpoint")) or b""

    def cosigned(self, note: bytes) -> tuple[int, int]:
        opened = open_checkpoint(note, Trust(self.trust.log, self.trust.witnesses, 0))
        return opened.checkpoint.size, len(opened.cosigned_by)


@pytest.fixture
async def bench(writer: Writer, tmp_path: Path) -> AsyncIterator[Bench]:
    blobs = MemoryBlobStore(writer.clock)
    await blobs.ensure_bucket(BUCKET, object_lock=True)
    keyring = Keyring(writer.transactions, FileKeys(tmp_path / "audit.key"), "example.com/audit")
    publisher = Publisher(
        writer.pool, LogBucket(blobs, writer.clock, BUCKET, timedelta(hours=1)), keyring, writer.clock
    )
    await writer.append(incoming("begin"))
    await publisher.publish()
    vkey = (await keyring.keys())[0].key.vkey
    with ExitStack() as stack:
        started = [
            stack.enter_context(running(tmp_path / f"w{number}", f"witness.example.com/w{number}", vkey))
            for number in (1, 2)
        ]
        asked = WitnessingSettings(witnesses=tuple(one.settings for one in started), timeout_s=10)
        witnesses, metrics = Witnesses(asked), Metrics(CollectorRegistry())
        cosigning = Cosigning(writer.pool, PublishedLog(writer.pool), publisher, witnesses, 0.1, metrics)
        trust = Trust((parse_key(vkey),), tuple(parse_key(one.settings.vkey) for one in started), 2)
        yield Bench(writer, publisher, cosigning, blobs, trust, started, metrics)
        await witnesses.aclose()


async def test_checkpoints_are_cosigned_as_the_log_grows(bench: Bench) -> None:
    """Over sizes at which tiles become full: every proof from what a witness holds to the newest checkpoint holds."""
    grown = 0
    for end in (1, 2, 255, 256, 257, 300, 600, 601):
        await bench.append(grown, end)
        grown = end
        before = await bench.shown()
        assert bench.cosigned(before) == (end + 1, 0)
        await bench.cosigning.cosign()
        after = await bench.shown()
        assert bench.cosigned(after) == (end + 1, 2)
        assert after.startswith(before), "only signature lines are added"
        assert (await bench.cosigning.log.checkpoint()).note.encode() == after
    receipt = parse_receipt((await bench.cosigning.log.receipt(17)).encode())
    verify_receipt(receipt, receipt.extra or b"", bench.trust)
    page = await bench.blobs.list_versions(BUCKET, prefix="checkpoint")
    assert len(page.items) == 1


async def test_a_dead_witness_costs_nothing_and_is_asked_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.witnesses[1].process.kill()
    bench.witnesses[1].process.wait()
    await bench.append(0, 3)
    await bench.cosigning.cosign()
    assert bench.cosigned(await bench.shown()) == (4, 1)
    failed = bench.metrics.audit_cosignatures.labels("witness.example.com/w2", "failed")
    assert failed._value.get() == 1
    await bench.cosigning.cosign()
    assert failed._value.get() == 1, "the same checkpoint is not asked for again at once"
    monkeypatch.setattr("muniment.audit.cosigning.RETRY_S", 0.0)
    await bench.cosigning.cosign()
    assert failed._value.get() == 2
    await bench.append(3, 5)
    await bench.cosigning.cosign()
    assert bench.cosigned(await bench.shown()) == (6, 1)


async def test_after_a_restart_the_lines_are_shown_again(bench: Bench) -> None:
    await bench.append(0, 3)
    await bench.cosigning.cosign()
    again = Publisher(bench.writer.pool, bench.publisher._bucket, bench.publisher._keyring, bench.writer.clock)
    await again.publish()
    assert bench.cosigned(await bench.shown()) == (4, 0)
    bench.cosigning.publisher, bench.cosigning._done = again, 0
    await bench.cosigning.cosign()
    assert bench.cosigned(await bench.shown()) == (4, 2)


async def test_an_older_checkpoint_never_replaces_a_newer_one(bench: Bench) -> None:
    await bench.append(0, 3)
    assert bench.publisher.shown is not None
    size, note = bench.publisher.shown
    await bench.append(3, 5)
    await bench.publisher.show_cosigned(size, f"{note}late\n")
    assert bench.cosigned(await bench.shown()) == (6, 0)


async def test_verify_waits_for_the_cosignatures(bench: Bench, log: Log) -> None:
    """`audit verify --witness ... --require 2`, begun before the witnesses have answered."""
    await bench.append(0, 300)
    database = await connect(log.dsn, "audit")
    try:
        places: Any = work.Places(bench.blobs, BUCKET, BUCKET, None, "", database)  # type: ignore[arg-type]  # reason: no topic is read
        verifying = asyncio.create_task(work.verify_layers(places, bench.trust, ("tiles", "postgres"), lambda *_: None))
        await bench.cosigning.cosign()
        report = await verifying
    finally:
        await database.close()
    assert report.ok, report.as_json()
    assert len(report.facts["cosigned_by"]) == 2
    assert report.layers["tile_nodes"] == {"ok": True, "tiles": 1}, "they are compared, too"
