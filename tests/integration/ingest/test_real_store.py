"""The HTTP way in on a real object store: presigned URLs, parts, version-ids."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import urllib3

from muniment.adapters.minio import MinioBlobStore, S3Options
from muniment.contracts.errors import Conflict, Rejected
from muniment.contracts.events import Cause, TrainingCompleted
from muniment.contracts.identity import Author
from muniment.ingest.domain import Refusal
from muniment.ingest.files import FileFinder
from muniment.ingest.transfers import Arrival, Transfers
from muniment.ingest.uploads import Uploads
from muniment.ports.blobs import Part
from muniment.runtime.settings import IngestSettings
from muniment.server.parts import Parts

from .conftest import PEOPLE, Ingest, declared

ADA = Author("muniment|ada", "token")
LARGE = bytes(range(256)) * 4096 * 6  # 6 MiB
CAUSE = Cause(kind="request", id="request-1")


@pytest.fixture
async def store(parts: Parts) -> AsyncIterator[MinioBlobStore]:
    store = MinioBlobStore(
        S3Options(
            endpoint=parts.s3.endpoint,
            access_key=parts.s3.access_key,
            secret_key=parts.s3.secret_key,
            region=parts.s3.region,
        )
    )
    yield store
    await store.aclose()


@pytest.fixture
async def landing(store: MinioBlobStore) -> str:
    """A landing bucket of the test's own."""
    name = f"landing-{uuid.uuid4().hex[:12]}"
    await store.ensure_bucket(name, object_lock=False)
    return name


@pytest.fixture
async def uploads(ingest: Ingest, store: MinioBlobStore, landing: str, settings: IngestSettings) -> Uploads:
    """Uploads to a bucket of the test's own."""
    bucket = f"models-{uuid.uuid4().hex[:12]}"
    await store.ensure_bucket(bucket, object_lock=True)
    files = FileFinder(store, ingest.store, frozenset({landing}), 8)
    transfers = Transfers(store, files, ingest.store, timedelta(minutes=5))
    return replace(ingest.uploads, files=files, transfers=transfers, settings=settings, bucket=bucket)


async def put(url: str, data: bytes) -> urllib3.BaseHTTPResponse:
    answer = await asyncio.to_thread(urllib3.request, "PUT", url, body=data, retries=False)
    assert answer.status == 200, answer.data
    return answer


def publication(*files: dict[str, Any]) -> TrainingCompleted:
    return TrainingCompleted.model_validate({"model": "digits", "files": files})


async def test_small_and_large_files_arrive_as_the_versions_that_were_put(
    ingest: Ingest, uploads: Uploads, store: MinioBlobStore
) -> None:
    begun = await uploads.begin(
        publication(declared(b"small", "small"), declared(LARGE, "large")), ADA, CAUSE, key=None
    )
    small, large = (slot["upload"] for slot in begun.files)
    first = await put(small["url"], b"small")
    await put(small["url"], b"SMALL")  # another version of the same key; the first one was said
    part = large["parts"][0]
    await put(part["url"], LARGE[: large["part_size"]])

    again = (await uploads.slots(begun.publication.id, PEOPLE["ada"]))[1]["upload"]
    assert [part["done"] for part in again["parts"]] == [True, False]
    etag = (await put(again["parts"][1]["url"], LARGE[large["part_size"] :])).headers["etag"]
    said = {
        "small": Arrival(version_id=first.headers["x-amz-version-id"]),
        "large": Arrival(parts=(Part(1, again["parts"][0]["etag"]), Part(2, etag.strip('"')))),
    }
    done = await uploads.complete(begun.publication.id, said, PEOPLE["ada"], CAUSE)
    assert done.stage == "trained"
    draft = await ingest.store.draft(begun.publication.id)
    assert draft is not None
    for file, data in zip(draft.files, (b"small", LARGE), strict=True):
        found = await store.hash(file.location)
        assert (found.sha256, found.size) == (file.sha256, len(data))


async def test_complete_says_what_is_not_there(uploads: Uploads) -> None:
    begun = await uploads.begin(publication(declared(b"small", "small")), ADA, CAUSE, key=None)
    with pytest.raises(Conflict) as caught:
        await uploads.complete(begun.publication.id, {}, PEOPLE["ada"], CAUSE)
    assert caught.value.code == "upload_missing"
    await put(begun.files[0]["upload"]["url"], b"smaller")
    with pytest.raises(Rejected) as mismatch:
        await uploads.complete(begun.publication.id, {}, PEOPLE["ada"], CAUSE)
    assert (mismatch.value.expected, mismatch.value.actual) == ("5 B", "7 B")


async def test_parts_that_are_not_there_or_others(uploads: Uploads) -> None:
    begun = await uploads.begin(publication(declared(LARGE, "large")), ADA, CAUSE, key=None)
    with pytest.raises(Conflict) as caught:
        await uploads.complete(begun.publication.id, {}, PEOPLE["ada"], CAUSE)
    assert caught.value.code == "upload_missing"
    way = begun.files[0]["upload"]
    etags = [
        (await put(part["url"], LARGE[start : start + way["part_size"]])).headers["etag"].strip('"')
        for part, start in zip(way["parts"], (0, way["part_size"]), strict=True)
    ]
    said = {"large": Arrival(parts=(Part(1, etags[0]), Part(2, "0" * 32)))}
    with pytest.raises(Rejected) as invalid:
        await uploads.complete(begun.publication.id, said, PEOPLE["ada"], CAUSE)
    assert invalid.value.code == "parts_invalid"
    assert "large" in str(invalid.value)
    said = {"large": Arrival(parts=(Part(1, etags[0]), Part(2, etags[1])))}
    assert (await uploads.complete(begun.publication.id, said, PEOPLE["ada"], CAUSE)).stage == "trained"


async def test_an_abandoned_upload_leaves_no_parts(ingest: Ingest, uploads: Uploads, store: MinioBlobStore) -> None:
    begun = await uploads.begin(publication(declared(LARGE, "large")), ADA, CAUSE, key=None)
    way = begun.files[0]["upload"]
    await put(way["parts"][0]["url"], LARGE[: way["part_size"]])
    (upload,) = (await uploads._draft(begun.publication.id)).uploads
    assert upload.upload_id is not None
    await uploads.abandon(begun.publication.id, PEOPLE["ada"], CAUSE)
    with pytest.raises(Rejected) as caught:
        await store.list_parts(upload.bucket, upload.key, upload.upload_id)
    assert caught.value.code == "upload_not_found"


async def test_landed_files_are_pinned_and_looked_for(uploads: Uploads, store: MinioBlobStore, landing: str) -> None:
    location = await store.put(landing, "run/model.bin", b"landed")
    files = publication(declared(b"landed", location=f"s3://{landing}/run/model.bin")).files
    found = await uploads.files.pin(files)
    assert not isinstance(found, Refusal)
    assert found.files[0].location.version_id == location.version_id
    gone = await uploads.files.pin(publication(declared(b"landed", location=f"s3://{landing}/run/other")).files)
    assert isinstance(gone, Refusal)
    assert gone.error.code == "file_missing"
    old = await uploads.files.pin(
        publication(declared(b"landed", location=f"s3://{landing}/run/model.bin", version_id="no-such-version")).files
    )
    assert isinstance(old, Refusal)
    assert old.error.code == "file_missing"
