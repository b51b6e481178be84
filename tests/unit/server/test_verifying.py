"""The layers from memory: tiles in a store, records of a topic, manifests of versions; forged, missing, replaced."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.verifier.naive import Signer, Tree, checkpoint, entry, leaf, write_log

from muniment.adapters.memory.store import MemoryBlobStore
from muniment.ports.blobs import Located, StoreUnavailable
from muniment.server.verifying import stored as stored_files
from muniment.server.verifying.mirrors import _take
from muniment.server.verifying.stored import Manifests, StoredFiles
from muniment.server.verifying.work import _told_once
from muniment.verifier.checkpoint import parse_checkpoint
from muniment.verifier.errors import Unreadable
from muniment.verifier.layers import Layers, Row, judge
from muniment.verifier.report import Finding, Report
from muniment.verifier.tiles import CHECKPOINT
from muniment.verifier.walk import verify_tiles

ENTRIES = [entry(index) for index in range(300)]
TREE = Tree([leaf(one) for one in ENTRIES])
HEAD = parse_checkpoint(checkpoint(300, TREE.root(0, 300), Signer()))


def record(index: int, data: bytes, **changes: Any) -> Any:
    value = {
        "index": index,
        "leaf_hash": leaf(data).hex(),
        "tree_size": index + 1,
        "root_hash": Tree([*TREE.leaves[:index], leaf(data)]).root(0, index + 1).hex(),
        "entry": json.loads(data),
        **changes,
    }
    return SimpleNamespace(value=json.dumps(value).encode(), partition=0, offset=index)


def topic(records: list[Any]) -> Report:
    report = Report("audit log")
    with Layers() as layers:
        tiles, mirror = layers.layer("entries"), layers.layer("topic", repeats=True)
        assert all(tiles.take(Row(index, data)) for index, data in enumerate(ENTRIES))
        for one in records:
            if not _take(one, mirror):
                break
        judge(HEAD, [tiles, mirror], report)
    return report


GOOD = [record(index, data) for index, data in enumerate(ENTRIES)]
FORGED = entry(9, operator="muniment|mallory")


@pytest.mark.parametrize(
    ("records", "index", "code"),
    [
        (GOOD, None, None),
        ([*GOOD[:50], *GOOD[20:]], None, None),
        ([*GOOD, record(9, FORGED)], 9, "two_entries"),
        ([*GOOD[:9], record(9, FORGED), *GOOD[10:]], 9, "entry_differs"),
        ([*GOOD[:9], *GOOD[10:]], 9, "entry_missing"),
        (GOOD[:290], 290, "entry_missing"),
        ([*GOOD[:9], record(9, FORGED, leaf_hash=leaf(ENTRIES[9]).hex())], 9, "leaf_hash_differs"),
        ([*GOOD[:9], record(9, ENTRIES[9], root_hash="00" * 32)], 9, "root_differs"),
        ([*GOOD[:9], record(9, ENTRIES[9], tree_size=11)], 9, "record_malformed"),
        ([*GOOD[:9], SimpleNamespace(value=None, partition=0, offset=9)], 9, "record_malformed"),
    ],
    ids=["good", "replayed", "forged behind", "forged", "gap", "cut off", "leaf hash", "root", "size", "tombstone"],
)
def test_the_topic(records: list[Any], index: int | None, code: str | None) -> None:
    first = topic(records).first
    if code is None:
        assert first is None
    else:
        assert first is not None
        assert (first.layer, first.index, first.code) == ("topic", index, code)


async def stored(folder: Path, blobs: MemoryBlobStore) -> StoredFiles:
    await blobs.ensure_bucket("log", object_lock=True)
    for file in folder.rglob("*"):
        if file.is_file():
            await blobs.put("log", str(file.relative_to(folder)), file.read_bytes())
    return StoredFiles(blobs, "log", asyncio.get_running_loop())


async def test_tiles_in_a_store_of_which_the_first_version_counts(tmp_path: Path) -> None:
    write_log(tmp_path, ENTRIES)
    blobs = MemoryBlobStore()
    files = await stored(tmp_path, blobs)
    assert (await asyncio.to_thread(verify_tiles, files, HEAD)).findings == files.findings == []
    await blobs.put("log", "tile/entries/000", b"another bundle")
    assert (await asyncio.to_thread(verify_tiles, files, HEAD)).findings == []
    assert [(one.layer, one.index, one.code) for one in files.findings] == [("entries", 0, "later_version")]


class Rotting(MemoryBlobStore):
    """A store that finds some of its files damaged, and answers with an error for them."""

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self.rotten = keys

    async def read_whole(self, location: Located, *, at_most: int = 64 * 1024) -> bytes | None:
        if any(key in location.key for key in self.rotten):
            raise StoreUnavailable("store_unavailable", "the object store did not answer as it should", actual="500")
        return await super().read_whole(location, at_most=at_most)


@pytest.mark.parametrize(
    ("path", "layer", "index"),
    [("tile/entries/000", "entries", 0), ("tile/0/001", "tile/0", 256), ("tile/1/000", "tile/1", 0)],
)
async def test_a_file_that_the_store_fails_to_give_is_named_and_an_outage_is_none(
    tmp_path: Path, path: str, layer: str, index: int
) -> None:
    write_log(tmp_path, ENTRIES)
    blobs = Rotting(path)
    files = await stored(tmp_path, blobs)
    await blobs.put("log", CHECKPOINT, b"signed")
    await asyncio.to_thread(verify_tiles, files, HEAD)
    assert [(one.layer, one.index, one.code) for one in files.findings] == [(layer, index, "file_unreadable")]
    blobs.rotten = ("",)
    with pytest.raises(Unreadable):
        await asyncio.to_thread(verify_tiles, files, HEAD)


async def test_a_store_that_falls_silent_is_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path, ENTRIES)
    blobs = Rotting("tile/entries/000")
    files = await stored(tmp_path, blobs)
    await blobs.put("log", CHECKPOINT, b"signed")
    silent = asyncio.Event()

    async def stat(*_: Any, **__: Any) -> Any:
        await silent.wait()

    monkeypatch.setattr(blobs, "stat", stat)
    monkeypatch.setattr(stored_files, "_ANSWER_S", 0.2)
    with pytest.raises(Unreadable):
        await asyncio.to_thread(verify_tiles, files, HEAD)


def test_what_the_store_fails_to_give_is_not_told_as_missing_too() -> None:
    unread = Finding("entries", 256, "file_unreadable", "fails")
    gone = [Finding("entries", index, "missing", "not there") for index in (256, 512)]
    assert _told_once([unread, *gone, gone[1]]) == [unread, gone[1]]


async def test_a_manifest_that_the_store_fails_to_give_is_named_and_an_outage_is_none() -> None:
    blobs = Rotting("manifests/")
    await blobs.ensure_bucket("models", object_lock=True)
    await blobs.ensure_bucket("log", object_lock=True)
    await blobs.put("log", CHECKPOINT, b"signed")
    place = await blobs.put("models", "manifests/digits/x.json", b"{}")
    changes = [
        {"path": "version", "after": "sha256:" + "0" * 64},
        {"path": "manifest", "after": {"bucket": "models", "version_id": place.version_id, "key": place.key}},
    ]
    with Manifests() as manifests:
        manifests.look(7, entry(7, model="digits", changes=changes))
        blobs.rotten = ("manifests/digits",)
        found = await manifests.verify(blobs, "models", lambda *_: None, log="log")
        assert found is None or (found.layer, found.index, found.code) == ("objects", 7, "object_unreadable")
        assert found is not None
        blobs.rotten = ("",)
        with pytest.raises(StoreUnavailable):
            await manifests.verify(blobs, "models", lambda *_: None, log="log")


async def test_the_manifest_of_every_committed_version_is_there_and_is_it() -> None:
    blobs = MemoryBlobStore()
    await blobs.ensure_bucket("models", object_lock=True)
    manifests, places = Manifests(), []
    for index in range(40):
        text = b'{"number": %d}' % index
        sha256 = hashlib.sha256(text).hexdigest()
        place = await blobs.put("models", f"manifests/digits/{sha256}.json", text)
        places.append(place)
        changes = [
            {"path": "version", "after": f"sha256:{sha256}"},
            {"path": "manifest", "after": {"bucket": "models", "version_id": place.version_id}},
        ]
        manifests.look(index, entry(index, model="digits", changes=changes))
        manifests.look(100 + index, entry(index, action="pointer.set", model="digits", changes=changes))
    with manifests:
        assert manifests.count == 40
        assert await manifests.verify(blobs, "models", lambda *_: None, log="log") is None
        await blobs.put("models", places[3].key, b"{}")  # an overwrite is another version
        assert await manifests.verify(blobs, "models", lambda *_: None, log="log") is None
        await blobs.delete_version(places[31])
        found = await manifests.verify(blobs, "models", lambda *_: None, log="log")
    assert found is not None
    assert (found.layer, found.index, found.code) == ("objects", 31, "object_missing")
