"""The sweep: what goes, what never does, and a publication that begins at the worst moment."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from muniment.contracts.errors import NotFound
from muniment.ingest import sweeping
from muniment.ingest.sweeping import Sweeping
from muniment.ports.blobs import Location, Lock, StoreUnavailable

from .conftest import MODELS, Http, Ingest, declared, sweeping_of

BIG = bytes(5 * 1024**2 + 1)


async def _uploaded(http: Http, data: bytes, *, complete: bool = True) -> tuple[str, dict[str, Any]]:
    """A publication whose one file is uploaded; its id and what `complete` is told."""
    begun = await http.begin(declared(data))
    said = await http.put(begun["files"][0], data)
    if complete:
        await http.complete(begun["publication"]["id"], said)
    return begun["publication"]["id"], said


async def _end(ingest: Ingest, publication_id: str, stage: str) -> None:
    await ingest.pool.execute("UPDATE publication SET stage = $2, rank = 4 WHERE id = $1", publication_id, stage)


async def _versions(ingest: Ingest) -> set[str]:
    return {one.version_id for one in (await ingest.blobs.list_versions(MODELS)).items}


async def _sweep(http: Http, *, dry_run: bool = False, **query: Any) -> Any:
    return await http.call("POST", "/sweep", as_="root", status=200, json={"dry_run": dry_run}, params=query)


async def _whole_sweep(http: Http, *, dry_run: bool = False, limit: int = 1000) -> list[Any]:
    pages = [await _sweep(http, dry_run=dry_run, limit=limit)]
    while token := pages[-1]["next_page_token"]:
        pages.append(await _sweep(http, dry_run=dry_run, limit=limit, page_token=token))
    return pages


@pytest.mark.parametrize("stage", ["rejected", "abandoned"])
async def test_an_upload_goes_when_its_publication_has_ended_and_not_before(
    ingest: Ingest, http: Http, stage: str
) -> None:
    publication_id, said = await _uploaded(http, b"never a version")
    for running in ("trained", "validating", "candidate"):
        await ingest.pool.execute("UPDATE publication SET stage = $2 WHERE id = $1", publication_id, running)
        assert sum(page["leftovers"] for page in await _whole_sweep(http)) == 0
    await _end(ingest, publication_id, stage)
    [dry, _] = await _whole_sweep(http, dry_run=True)
    assert (dry["leftovers"], dry["size"], dry["items"][0]["id"]) == (1, 15, said["version_id"])
    assert await _versions(ingest) == {said["version_id"]}
    before = len(await ingest.audits())
    [done, _] = await _whole_sweep(http)
    assert (done["leftovers"], done["kept"], done["digest"]) == (1, 0, dry["digest"])
    assert await _versions(ingest) == set()
    entries = (await ingest.audits())[before:]
    assert [one["action"] for one in entries] == ["leftovers.condemned", "leftovers.swept"]
    for entry in entries:
        assert entry["operator"] == "muniment|root"
        assert [change["before"]["id"] for change in entry["changes"]] == [said["version_id"]]
    assert sum(page["leftovers"] for page in await _whole_sweep(http)) == 0
    assert len(await ingest.audits()) == before + 2


async def test_a_death_after_the_deletion_leaves_the_entry_that_names_it(
    ingest: Ingest, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication_id, said = await _uploaded(http, b"never a version")
    await _end(ingest, publication_id, "rejected")

    def die(step: str) -> None:
        if step == "ingest.leftovers-deleted":
            raise SystemExit(step)

    monkeypatch.setattr(sweeping, "reached", die)
    with pytest.raises(SystemExit):
        await _whole_sweep(http)
    assert await _versions(ingest) == set()
    entry = (await ingest.audits())[-1]
    assert (entry["action"], entry["changes"][0]["before"]["id"]) == ("leftovers.condemned", said["version_id"])


async def test_what_was_ever_locked_stays_and_its_unlocked_overwrites_go(ingest: Ingest, http: Http) -> None:
    publication_id, said = await _uploaded(http, b"committed")
    key = (await ingest.blobs.list_versions(MODELS)).items[0].key
    kept = Location(MODELS, key, said["version_id"])
    await ingest.blobs.lock(kept, Lock("COMPLIANCE", datetime.now(UTC) + timedelta(hours=1)))
    # The lock has ended, and ingest knows nothing of the version: nobody but the store can tell.
    ended = Lock("COMPLIANCE", datetime.now(UTC) - timedelta(days=1))
    ingest.blobs._objects.find(kept.bucket, kept.key, kept.version_id).lock = ended
    await _end(ingest, publication_id, "rejected")
    overwrite = await ingest.blobs.put(MODELS, key, b"committed")
    elsewhere = await ingest.blobs.put(MODELS, "manifests/digits/1.json", b"{}")
    await _whole_sweep(http)
    assert overwrite.version_id not in await _versions(ingest)
    assert await _versions(ingest) == {kept.version_id, elsewhere.version_id}


async def test_young_bytes_stay(ingest: Ingest, http: Http) -> None:
    publication_id, said = await _uploaded(http, b"young")
    await _end(ingest, publication_id, "rejected")
    now = sweeping_of(ingest)
    [one] = (await ingest.blobs.list_versions(MODELS)).items
    grace = datetime.now(UTC) - one.last_modified + timedelta(hours=1)
    hour = Sweeping(now.store, now.transactions, now.blobs, now.clock, MODELS, grace)
    assert await hour._listed("object", None, 10) == (1, [], ("upload", "", ""))
    assert said["version_id"] in await _versions(ingest)


async def test_parts_that_nobody_waits_for_are_freed_and_others_are_not(ingest: Ingest, http: Http) -> None:
    begun = await http.begin(declared(BIG))
    running = begun["files"][0]["upload"]["upload_id"]
    key = f"blobs/sha256/ab/ab{'0' * 62}"
    orphan = await ingest.blobs.create_multipart(MODELS, key)  # a copy in parts whose process was killed
    pages = await _whole_sweep(http)
    assert [one["id"] for page in pages for one in page["items"]] == [orphan]
    assert [one.upload_id for one in (await ingest.blobs.list_uploads(MODELS)).items] == [running]


async def test_pages_are_bounded_and_reach_everything_while_it_goes(ingest: Ingest, http: Http) -> None:
    for number in range(7):
        publication_id, _ = await _uploaded(http, b"%d" % number)
        await _end(ingest, publication_id, "rejected")
    pages = await _whole_sweep(http, limit=2)
    assert [page["looked_at"] for page in pages] == [2, 2, 2, 1, 0]
    assert await _versions(ingest) == set()
    token = pages[0]["next_page_token"]
    refused = await http.client.request(
        "POST", "/sweep?page_token=" + token[:-2], json={}, headers={"authorization": "Bearer root"}
    )
    assert refused.json()["code"] == "page_token_invalid"
    await http.call("POST", "/sweep", as_="ada", status=403, json={})


async def test_a_lock_between_the_look_and_the_deletion_saves_the_bytes(
    ingest: Ingest, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication_id, said = await _uploaded(http, b"committed late")
    await _end(ingest, publication_id, "rejected")
    delete = ingest.blobs.delete_version

    async def late(place: Any) -> None:
        await ingest.blobs.lock(place, Lock("COMPLIANCE", datetime.now(UTC) + timedelta(hours=1)))
        await delete(place)

    monkeypatch.setattr(ingest.blobs, "delete_version", late)
    [done, _] = await _whole_sweep(http)
    assert (done["leftovers"], done["kept"]) == (0, 1)
    assert await _versions(ingest) == {said["version_id"]}


async def test_a_publication_that_begins_before_the_deletion_keeps_the_bytes(
    ingest: Ingest, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication_id, said = await _uploaded(http, b"wanted again")
    await _end(ingest, publication_id, "rejected")
    looked = Sweeping._unneeded
    begun: list[str] = []

    async def late(self: Sweeping, found: Any) -> Any:
        left = await looked(self, found)
        if left:
            begun.append((await http.begin(declared(b"wanted again")))["publication"]["id"])
        return left

    monkeypatch.setattr(Sweeping, "_unneeded", late)
    [done, _] = await _whole_sweep(http)
    assert (done["leftovers"], done["kept"]) == (0, 1)
    await http.complete(begun[0])  # without uploading: the old bytes are there
    row = await ingest.publication(begun[0])
    assert row is not None
    assert said["version_id"] in row["files"]


async def test_a_publication_that_begins_during_the_deletion_waits_and_finds_them_gone(
    ingest: Ingest, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication_id, _ = await _uploaded(http, b"wanted too late")
    await _end(ingest, publication_id, "rejected")
    delete = ingest.blobs.delete_version
    begun: list[asyncio.Task[Any]] = []

    async def slow(place: Any) -> None:
        begun.append(asyncio.create_task(http.begin(declared(b"wanted too late"))))
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'upload'::regclass"
        async with asyncio.timeout(20):
            while not await ingest.pool.fetchval(waits):
                await asyncio.sleep(0.01)
        assert not begun[0].done()
        await delete(place)

    monkeypatch.setattr(ingest.blobs, "delete_version", slow)
    [done, _] = await _whole_sweep(http)
    assert done["leftovers"] == 1
    answer = await http.complete((await begun[0])["publication"]["id"], status=409)
    assert answer["code"] == "upload_missing"


async def test_what_went_before_the_store_failed_is_in_the_log(
    ingest: Ingest, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    for data in (b"first", b"second"):
        publication_id, _ = await _uploaded(http, data)
        await _end(ingest, publication_id, "rejected")
    first, second = (await ingest.blobs.list_versions(MODELS)).items
    delete = ingest.blobs.delete_version

    async def fails(place: Any) -> None:
        if place.version_id == second.version_id:
            raise StoreUnavailable("store_unavailable", "the store does not answer")
        await delete(place)

    monkeypatch.setattr(ingest.blobs, "delete_version", fails)
    before = len(await ingest.audits())
    await http.call("POST", "/sweep", as_="root", status=503, json={"dry_run": False})
    intent, entry = (await ingest.audits())[before:]
    assert {change["before"]["id"] for change in intent["changes"]} == {first.version_id, second.version_id}
    assert [change["before"]["id"] for change in entry["changes"]] == [first.version_id]
    with pytest.raises(NotFound):
        await ingest.blobs.stat(first.bucket, first.key, first.version_id)
