"""The layers of a running log against each other: tiles, topic, Postgres, object store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from muniment.adapters.kafka import KafkaConnection
from muniment.contracts.errors import Misconfigured
from muniment.ports.blobs import BlobStore
from muniment.server.verifying.kept_nodes import NODES, verify_nodes
from muniment.server.verifying.mirrors import SQL, Progress, read_postgres, read_topic
from muniment.server.verifying.stored import Manifests, StoredFiles
from muniment.verifier.checkpoint import Checkpoint, Opened, Trust, open_checkpoint
from muniment.verifier.entry import entry_checks
from muniment.verifier.errors import CheckpointError, NoteError
from muniment.verifier.layers import Layer, Layers, judge
from muniment.verifier.note import MAX_NOTE
from muniment.verifier.report import Finding, Report
from muniment.verifier.tiles import CHECKPOINT
from muniment.verifier.walk import verify_tiles

if TYPE_CHECKING:
    import asyncpg

TILES, TOPIC, POSTGRES, OBJECTS = "tiles", "topic", "postgres", "objects"
_COSIGNED_S: Final = 5.0
"""How long a checkpoint may lack its cosignatures: a log with much to do shows each with them for a moment."""
ALL: Final = (TILES, TOPIC, POSTGRES, OBJECTS)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the layers are. `models` is the bucket of manifests whose entries name none."""

    blobs: BlobStore
    tiles: str
    models: str
    kafka: KafkaConnection
    topic: str
    database: asyncpg.Connection[Any]


async def verify_layers(places: Places, trust: Trust, only: Sequence[str], progress: Progress) -> Report:
    """Verify the chosen layers under the newest checkpoint. Raises `Transient`, `Misconfigured`, `Unreadable`."""
    report = Report("audit log")
    files = StoredFiles(places.blobs, places.tiles, asyncio.get_running_loop())
    opened = await _opened(files, trust)
    if isinstance(opened, Finding):
        report.findings.append(opened)
        return report
    report.opened(opened)
    head = opened.checkpoint
    async with AsyncExitStack() as stack:
        layers, manifests = stack.enter_context(Layers()), stack.enter_context(Manifests())
        compared: list[Layer] = []
        if TILES in only or OBJECTS in only:
            compared.append(layers.layer("entries"))
            await _tiles(files, head, compared[0], manifests, report, progress)
        kept = None
        if POSTGRES in only:
            compared.append(layers.layer(POSTGRES))
            await read_postgres(places.database, compared[-1], progress)
            kept = await verify_nodes(places.database, progress)
        if TOPIC in only:
            compared.append(layers.layer(TOPIC, repeats=True))
            await read_topic(places.kafka, places.topic, head.size, compared[-1], progress)
        await asyncio.to_thread(judge, head, compared, report)
        if kept is not None:
            report.layers[NODES] = {"ok": kept[1] is None, "tiles": kept[0]}
            report.findings += [kept[1]] if kept[1] is not None else []
        if OBJECTS in only:
            damaged = await manifests.verify(places.blobs, places.models, progress, log=places.tiles)
            report.layers[OBJECTS] = {"ok": damaged is None, "manifests": manifests.count}
            report.findings += [damaged] if damaged is not None else []
    report.findings = _told_once(report.findings)
    for finding in report.findings:
        if finding.layer in report.layers:
            report.layers[finding.layer]["ok"] = False
    return report


def _told_once(findings: Sequence[Finding]) -> list[Finding]:
    """Without repetitions, and without what is "missing" for the one reason that the store fails to give it."""
    unread = {(one.layer, one.index) for one in findings if one.code == "file_unreadable"}
    return [one for one in dict.fromkeys(findings) if one.code != "missing" or (one.layer, one.index) not in unread]


async def _opened(files: StoredFiles, trust: Trust) -> Opened | Finding:
    """The newest checkpoint. One that lacks cosignatures is looked for again: they come a moment after it."""
    until = asyncio.get_running_loop().time() + _COSIGNED_S
    while True:
        raw = await asyncio.to_thread(files.read, CHECKPOINT, MAX_NOTE)
        if raw is None:
            return Finding("checkpoint", None, "missing", f"the bucket {files.bucket} holds no checkpoint")
        try:
            return open_checkpoint(raw, trust)
        except (CheckpointError, NoteError) as error:
            if error.code != "not_witnessed" or asyncio.get_running_loop().time() > until:
                return Finding.of("checkpoint", None, error)
        await asyncio.sleep(0.05)


async def _tiles(
    files: StoredFiles, head: Checkpoint, layer: Layer, manifests: Manifests, report: Report, progress: Progress
) -> None:
    """Walk the tiles. Of their findings the first that is about entries is the layer's own."""

    def walk() -> None:
        with entry_checks() as checks:

            def look(index: int, data: bytes) -> None:
                checks.look(index, data)
                manifests.look(index, data)

            done = verify_tiles(
                files,
                head,
                look=look,
                leaves=layer.leaves,
                progress=lambda count, _: progress(TILES, count),
            )
            report.findings += [*files.findings, *done.findings, *checks.result()]
            ended = next((one for one in done.findings if one.layer == layer.name), None)
            if done.tree is None and ended is not None:
                layer.finding = ended

    await asyncio.to_thread(walk)


async def keys_of(database: asyncpg.Connection[Any]) -> list[str]:
    """The log's keys as its own database has them. Raises `Misconfigured` (`keys_unknown`)."""
    rows = await database.fetch(SQL["keys"]) if await database.fetchval(SQL["has_keys"]) else []
    if not rows:
        raise Misconfigured(
            "keys_unknown",
            "the log's database knows no key of the log",
            expected="--key VKEY or a file of keys",
            hint="take the key from whom you trust",
        )
    return [row["vkey"] for row in rows]
