"""A physical release on a real object store, for a deployer whose credentials see the bucket of its track alone."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import pytest
from minio import Minio
from minio.error import S3Error

from muniment.adapters.minio import MinioBlobStore, S3Options
from muniment.contracts.errors import Misconfigured
from muniment.ports.blobs import Location
from muniment.runtime.settings import Settings
from muniment.server.parts import Parts
from muniment.server.parts.datadir import open_data_dir, write_private
from muniment.server.parts.process import start_guard
from muniment.server.parts.s3 import run_s3
from muniment.server.parts.settings import S3Settings

from .conftest import BUCKET, open_registry

OWN = "edge-models"


@dataclass(frozen=True)
class Doors:
    """The same store by two identities: the registry's, and the deployer's."""

    registry: S3Options
    deployer: S3Options


@pytest.fixture
async def doors(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Doors]:
    """A real store whose second identity may read and list one bucket."""
    identities = [
        {"name": "muniment", "credentials": [{"accessKey": "REGISTRY", "secretKey": "of-the-registry"}], "actions": ["Admin"]},
        {
            "name": "deployer",
            "credentials": [{"accessKey": "DEPLOYER", "secretKey": "of-the-deployer"}],
            "actions": [f"Read:{OWN}", f"List:{OWN}"],
        },
    ]  # fmt: skip
    async with open_data_dir(tmp_path_factory.mktemp("s3"), print) as data, start_guard(data.lock_fd) as guard:
        write_private(data.part("s3") / "identity.json", json.dumps({"identities": identities}))
        async with run_s3(S3Settings(), data, guard, print) as (endpoint, _):
            assert endpoint.access_key == "REGISTRY"
            registry = S3Options(
                endpoint=endpoint.endpoint,
                access_key=endpoint.access_key,
                secret_key=endpoint.secret_key,
                settle_timeout=0.3,
            )
            yield Doors(registry, replace(registry, access_key="DEPLOYER", secret_key="of-the-deployer"))


async def test_credentials_of_the_tracks_bucket_alone_are_enough_for_a_physical_release(
    parts: Parts, registry_template: str, settings: Settings, doors: Doors
) -> None:
    files = {"model.bin": b"weights" * 1000, "twin.bin": b"weights" * 1000, "config.json": b"{}"}
    store = MinioBlobStore(doors.registry)
    deployer = MinioBlobStore(doors.deployer)
    try:
        await store.ensure_bucket(BUCKET, object_lock=True)
        short = settings.model_copy(update={"registry": settings.registry.model_copy(update=_short(settings))})
        async with open_registry(parts, registry_template, short, store) as registry:
            await registry.call("PUT", "/tracks/edge", json={"retention_s": 60, "bucket": OWN})
            version = await registry.commit(files=files)
            body = {"version": "1.0.0", "ref": "digits/1", "track": "edge", "copy": "physical"}
            made = await registry.post("/models/digits/releases", as_="pam", **body)
        # What was read under the keys before is not what the release names: each is asked for by its version-id.
        for file in made["files"]:
            await store.put(OWN, file["location"]["key"], b"something newer")

        # From here on with the deployer's credentials, and what is found in its bucket, alone.
        listed = await deployer.list_versions(OWN, prefix="releases/digits/1.0.0/")
        (item,) = listed.items
        text = await deployer.read_whole(await deployer.stat(OWN, item.key))
        assert text is not None
        assert f"sha256:{hashlib.sha256(text).hexdigest()}" == made["id"]
        said = json.loads(text)
        assert {file["path"] for file in said["files"]} == files.keys()
        for file in said["files"]:
            there = _place(file["location"])
            assert there.bucket == OWN
            got = await deployer.hash(there, expected_size=file["size"])
            assert (got.sha256, got.size) == (file["sha256"], len(files[file["path"]]))
            assert await deployer.read_whole(there) == files[file["path"]]

        # And no more than that: neither the master's bytes, nor any write.
        master = [_place(file["location"]) for file in version["files"]]
        assert {place.bucket for place in master} == {BUCKET}
        refused = [
            deployer.list_versions(BUCKET, prefix=""),
            *(deployer.hash(place) for place in master),
            *(deployer.stat(place.bucket, place.key, place.version_id) for place in master),
            deployer.put(OWN, "releases/digits/1.0.0/mine", b"x"),
            deployer.delete_version(_place(said["files"][0]["location"])),
        ]
        for attempt in refused:
            with pytest.raises(Misconfigured) as caught:
                await attempt
            assert caught.value.code == "store_access_denied"
        with pytest.raises(S3Error) as denied:
            await asyncio.to_thread(_read_plainly, doors.deployer, master[0])
        assert denied.value.code == "AccessDenied"
    finally:
        await deployer.aclose()
        await store.aclose()


def _read_plainly(options: S3Options, place: Location) -> None:
    """As any client of S3 would."""
    client = Minio(
        urlsplit(options.endpoint).netloc,
        access_key=options.access_key,
        secret_key=options.secret_key,
        secure=False,
        region="us-east-1",
    )
    client.get_object(place.bucket, place.key, version_id=place.version_id).close()


def _place(location: dict[str, str]) -> Location:
    return Location(location["bucket"], location["key"], location["version_id"])


def _short(settings: Settings) -> dict[str, object]:
    """Retention of a minute, so that the store can be cleared."""
    tracks = {"production": settings.registry.production, "experimental": settings.registry.experimental}
    return {name: track.model_copy(update={"retention_s": 60}) for name, track in tracks.items()}
