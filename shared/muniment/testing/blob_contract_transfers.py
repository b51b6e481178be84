"""The part of the blob contract about copies, presigned URLs, uploads in parts and listings (see `blob_contract`)."""
# ruff: noqa: S101 - a contract suite is made of assertions

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import time
from datetime import timedelta

import pytest

from muniment.contracts.errors import NotFound, PreconditionFailed, Rejected
from muniment.ports.blobs import BlobStore, ListCursor, ListedVersion, Part
from muniment.testing.blob_samples import Send, fresh, pattern, until

MIB = 1024 * 1024
MINUTE = timedelta(minutes=1)
ODD_KEYS = ["sp ace/ü+&=%41 x.bin", "日本/モデル.gguf", "a'b(c)!*~@,$", "a+b", "x;y?z#w/%2e%2e", " lead and trail "]


class TransfersContract:
    """Not used alone: part of `BlobContract`."""

    lists_uploads_by_prefix = True
    """Whether the store lists uploads of more keys than one at a time (see `BlobStore.list_uploads`)."""

    @pytest.fixture
    async def bucket(self, store: BlobStore) -> str:
        """A bucket of the test's own, with object lock."""
        bucket = fresh("contract")
        await store.ensure_bucket(bucket, object_lock=True)
        return bucket

    @pytest.mark.parametrize("key", ODD_KEYS)
    async def test_odd_keys_are_kept_as_they_are(self, store: BlobStore, bucket: str, send: Send, key: str) -> None:
        location = await store.put(bucket, key, b"odd")
        assert location.key == key
        stated = await store.stat(bucket, key)
        assert (stated.key, stated.version_id) == (key, location.version_id)
        assert [item.key for item in (await store.list_versions(bucket, prefix=key)).items] == [key]
        copied = await store.copy(stated, bucket, f"copy of {key}")
        assert (await store.hash(copied)).sha256 == hashlib.sha256(b"odd").hexdigest()
        assert (await store.put_once(bucket, key, b"odd", lock=until(20))).location == location
        got = await send("GET", await store.presign_get(location, expires=MINUTE, filename=key), b"")
        assert (got.status, got.body) == (200, b"odd")

    # -- copies -------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [0, 1, 6 * MIB])
    async def test_a_copy_is_of_the_named_version(self, store: BlobStore, bucket: str, size: int) -> None:
        data, target = pattern(size), fresh("target")
        await store.ensure_bucket(target, object_lock=True)
        old = await store.put(bucket, "k", data)
        await store.put(bucket, "k", b"a newer version")
        copied = await store.copy(await store.stat(bucket, "k", old.version_id), target, "dir/copy")
        stated = await store.stat(target, "dir/copy")
        assert (stated.bucket, stated.key, stated.size, stated.lock) == (target, "dir/copy", size, None)
        assert (copied.bucket, copied.key, copied.version_id) == (target, "dir/copy", stated.version_id)
        assert (await store.hash(copied)).sha256 == hashlib.sha256(data).hexdigest()

    async def test_a_locked_version_can_be_copied(self, store: BlobStore, bucket: str) -> None:
        source, lock = await store.put(bucket, "k", b"locked", lock=until(20)), until(30)
        copied = await store.copy(await store.stat(bucket, "k", source.version_id), bucket, "copy")
        assert await store.lock(copied, lock) == lock
        assert await store.read_range(copied, offset=0, length=99) == b"locked"

    async def test_a_copy_on_another_etag_is_refused(self, store: BlobStore, bucket: str) -> None:
        await store.put(bucket, "k", b"x")
        source = dataclasses.replace(await store.stat(bucket, "k"), etag=hashlib.md5(b"y").hexdigest())  # noqa: S324 - what an ETag looks like
        with pytest.raises(PreconditionFailed) as caught:
            await store.copy(source, bucket, "copy")
        assert caught.value.code == "source_changed"
        with pytest.raises(NotFound):
            await store.stat(bucket, "copy")

    # -- presigned URLs -----------------------------------------------------------------------------------------------

    async def test_a_presigned_put_stores_one_version(self, store: BlobStore, bucket: str, send: Send) -> None:
        url = await store.presign_put(bucket, "dir/up load", expires=MINUTE)
        assert (await send("PUT", url, b"uploaded")).status == 200
        stated = await store.stat(bucket, "dir/up load")
        assert await store.read_range(stated, offset=0, length=99) == b"uploaded"
        assert (await send("GET", url, b"")).status == 403
        assert (await send("PUT", url.replace("up%20load", "other"), b"forged")).status == 403
        with pytest.raises(NotFound):
            await store.stat(bucket, "dir/other")

    async def test_a_presigned_get_is_of_one_version(self, store: BlobStore, bucket: str, send: Send) -> None:
        old = await store.put(bucket, "k", b"<b>old</b>", content_type="text/html")
        await store.put(bucket, "k", b"new")
        got = await send("GET", await store.presign_get(old, expires=MINUTE), b"")
        assert (got.status, got.body) == (200, b"<b>old</b>")
        assert got.headers["content-type"] == "text/html"
        url = await store.presign_get(old, expires=MINUTE, filename='modèle "1"; x.bin')
        named = await send("GET", url, b"")
        assert (named.status, named.body) == (200, b"<b>old</b>")
        assert named.headers["content-disposition"] == "attachment; filename*=UTF-8''mod%C3%A8le%20%221%22%3B%20x.bin"
        assert named.headers["content-type"] == "application/octet-stream"

    async def test_a_presigned_url_runs_out(self, store: BlobStore, bucket: str, send: Send) -> None:
        location = await store.put(bucket, "k", b"x")
        url = await store.presign_get(location, expires=timedelta(seconds=1))
        deadline = time.monotonic() + 30
        while (await send("GET", url, b"")).status != 403:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        for expires in (timedelta(0), timedelta(days=8)):
            with pytest.raises(ValueError, match="expires"):
                await store.presign_get(location, expires=expires)

    # -- uploads in parts ---------------------------------------------------------------------------------------------

    async def test_an_upload_in_parts_resumes_with_what_has_arrived(
        self, store: BlobStore, bucket: str, send: Send
    ) -> None:
        data, key = pattern(10 * MIB + 1), "dir/großes Modell"
        pieces = {1: data[: 5 * MIB], 2: data[5 * MIB : 10 * MIB], 3: data[10 * MIB :]}
        upload_id = await store.create_multipart(bucket, key)
        assert await store.list_parts(bucket, key, upload_id) == ()

        async def upload(number: int) -> str:
            url = await store.presign_part(bucket, key, upload_id, number, expires=MINUTE)
            answer = await send("PUT", url, pieces[number])
            assert answer.status == 200
            return answer.headers["etag"]

        etags = {3: await upload(3), 1: await upload(1)}
        arrived = await store.list_parts(bucket, key, upload_id)
        assert [(part.number, part.size) for part in arrived] == [(1, 5 * MIB), (3, 1)]
        assert [f'"{part.etag}"' for part in arrived] == [etags[1], etags[3]]
        with pytest.raises(NotFound):
            await store.stat(bucket, key)
        for number in sorted(pieces.keys() - {part.number for part in arrived}):
            etags[number] = await upload(number)
        location = await store.complete_multipart(
            bucket, key, upload_id, [Part(number, etag) for number, etag in etags.items()]
        )
        result = await store.hash(location)
        assert (result.sha256, result.size) == (hashlib.sha256(data).hexdigest(), len(data))
        stated = await store.stat(bucket, key)
        assert stated.version_id == location.version_id
        copied = await store.copy(stated, bucket, "copy of an object made of parts")
        assert (await store.hash(copied)).sha256 == result.sha256
        with pytest.raises(NotFound) as caught:
            await store.list_parts(bucket, key, upload_id)
        assert caught.value.code == "upload_not_found"

    async def test_parts_that_do_not_fit_are_refused(self, store: BlobStore, bucket: str, send: Send) -> None:
        upload_id = await store.create_multipart(bucket, "k")
        for number in (1, 2):
            url = await store.presign_part(bucket, "k", upload_id, number, expires=MINUTE)
            assert (await send("PUT", url, b"under 5 MiB")).status == 200
        one, two = await store.list_parts(bucket, "k", upload_id)
        for parts in ([], [one, two], [Part(1, "0" * 32)], [one, Part(3, two.etag)]):
            with pytest.raises(Rejected) as caught:
                await store.complete_multipart(bucket, "k", upload_id, parts)
            assert caught.value.code == "parts_invalid"
        await store.abort_multipart(bucket, "k", upload_id)
        for number in (0, 10_001):
            with pytest.raises(ValueError, match="numbered"):
                await store.presign_part(bucket, "k", upload_id, number, expires=MINUTE)

    async def test_an_aborted_upload_is_gone(self, store: BlobStore, bucket: str, send: Send) -> None:
        upload_id = await store.create_multipart(bucket, "k")
        url = await store.presign_part(bucket, "k", upload_id, 1, expires=MINUTE)
        assert (await send("PUT", url, b"part")).status == 200
        [part] = await store.list_parts(bucket, "k", upload_id)
        for _ in range(2):
            await store.abort_multipart(bucket, "k", upload_id)
        assert (await send("PUT", url, b"part")).status == 404
        for attempt in (
            store.list_parts(bucket, "k", upload_id),
            store.complete_multipart(bucket, "k", upload_id, [part]),
        ):
            with pytest.raises(NotFound) as caught:
                await attempt
            assert caught.value.code == "upload_not_found"
        with pytest.raises(NotFound):
            await store.stat(bucket, "k")

    async def test_an_upload_under_way_is_listed_until_it_ends(self, store: BlobStore, bucket: str, send: Send) -> None:
        key = "dir/sp ace+ü"  # the whole key as prefix: some stores list no other way
        kept, given_up = [await store.create_multipart(bucket, key) for _ in range(2)]
        listed = (await store.list_uploads(bucket, prefix=key)).items
        assert sorted(one.upload_id for one in listed) == sorted([kept, given_up])
        assert {(one.bucket, one.key) for one in listed} == {(bucket, key)}
        assert all(abs(one.initiated - until(0).until) < MINUTE for one in listed)
        await store.abort_multipart(bucket, key, given_up)
        assert [one.upload_id for one in (await store.list_uploads(bucket, prefix=key)).items] == [kept]
        assert (await send("PUT", await store.presign_part(bucket, key, kept, 1, expires=MINUTE), b"x")).status == 200
        await store.complete_multipart(bucket, key, kept, await store.list_parts(bucket, key, kept))
        assert (await store.list_uploads(bucket, prefix=key)).items == ()
        for limit in (0, 1001):
            with pytest.raises(ValueError, match="page"):
                await store.list_uploads(bucket, limit=limit)

    @pytest.mark.parametrize("limit", [1, 2, 1000])
    async def test_a_listing_has_every_upload_once(self, store: BlobStore, bucket: str, limit: int) -> None:
        keys = ["p/a b", "p/b", "p/b", "p/ü", "q"]
        begun = {await store.create_multipart(bucket, key): key for key in keys}
        for prefix in ("p/", "") if self.lists_uploads_by_prefix else ():
            seen: list[tuple[str, str]] = []
            cursor: ListCursor | None = None
            for _ in range(20):
                page = await store.list_uploads(bucket, prefix=prefix, after=cursor, limit=limit)
                assert len(page.items) <= limit
                seen += [(one.upload_id, one.key) for one in page.items]
                if (cursor := page.next) is None:
                    break
            assert sorted(seen) == sorted((one, key) for one, key in begun.items() if key.startswith(prefix))
        for upload_id, key in begun.items():
            await store.abort_multipart(bucket, key, upload_id)
        assert (await store.list_uploads(bucket)).items == ()

    # -- listings -----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("limit", [1, 2, 3, 1000])
    async def test_a_listing_has_every_version_once(self, store: BlobStore, bucket: str, limit: int) -> None:
        written = []
        for key in ("p/a b", "p/b", "p/c/d", "p/ü"):
            written += [(key, (await store.put(bucket, key, b"%d" % size * size)).version_id) for size in (1, 2)]
        await store.put(bucket, "q", b"outside the prefix")
        await store.hide(bucket, "p/b")
        items = await _all_pages(store, bucket, "p/", limit)
        assert [item.key for item in items] == sorted(item.key for item in items)
        versions = [item for item in items if not item.is_delete_marker]
        assert sorted((item.key, item.version_id) for item in versions) == sorted(written)
        assert {item.key for item in items if item.is_delete_marker} == {"p/b"}
        assert all(item.size in {1, 2} and item.etag for item in versions)
        latest = {item.key: item for item in items if item.is_latest}
        assert set(latest) == {"p/a b", "p/b", "p/c/d", "p/ü"}
        assert latest["p/b"].is_delete_marker
        assert latest["p/ü"].size == 2

    async def test_a_listing_goes_on_where_versions_were_deleted(self, store: BlobStore, bucket: str) -> None:
        written = {(await store.put(bucket, f"k{number % 3}", b"x")).version_id for number in range(9)}
        seen: list[str] = []
        cursor: ListCursor | None = None
        while True:
            page = await store.list_versions(bucket, after=cursor, limit=2)
            for item in page.items:
                seen.append(item.version_id)
                await store.delete_version(item)
            if (cursor := page.next) is None:
                break
        assert sorted(seen) == sorted(written)
        assert (await store.list_versions(bucket)).items == ()

    async def test_a_page_is_bounded(self, store: BlobStore, bucket: str) -> None:
        for limit in (0, 1001):
            with pytest.raises(ValueError, match="page"):
                await store.list_versions(bucket, limit=limit)


async def _all_pages(store: BlobStore, bucket: str, prefix: str, limit: int) -> list[ListedVersion]:
    items: list[ListedVersion] = []
    cursor: ListCursor | None = None
    for _ in range(100):
        page = await store.list_versions(bucket, prefix=prefix, after=cursor, limit=limit)
        assert len(page.items) <= limit
        items += page.items
        if (cursor := page.next) is None:
            return items
    pytest.fail("a listing of a handful of versions did not end within 100 pages")
