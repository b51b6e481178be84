"""A reference to a release is downloaded and checked by the release's own manifest and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest

from muniment.contracts.canonical import canonical_json, sha256_hex
from muniment.contracts.errors import Conflict, NotFound, Rejected
from muniment.sdk import AsyncClient, Client
from muniment.sdk.verify import MANIFEST_NAME
from muniment.testing.fake_registry import FakeRegistry


@pytest.fixture
def released(registry: FakeRegistry, client: Client, folder: Path) -> dict[str, Any]:
    """digits/1 is released as 1.2.0 and then gone, but for what the release holds."""
    client.publish(folder, model="digits")
    version = registry.versions[0]
    text = canonical_json({"schema": "muniment.release/v1", "model": "digits", "files": version["files"]})
    release = {"semver": "1.2.0", "id": f"sha256:{sha256_hex(text)}", "model": "digits", "text": text}

    def answer(request: httpx2.Request) -> httpx2.Response | None:
        path = unquote(request.url.raw_path.decode().partition("?")[0]).removeprefix("/api/v1")
        part = {name: release[name] for name in ("semver", "id")}
        match path:
            case "/versions/digits@^1" | "/versions/digits@1.2.0":
                found = {"id": version["id"], "number": 1, "model": "digits", "release": part}
                return httpx2.Response(200, json=found)
            case "/versions/digits@1.2.0/manifest":
                return httpx2.Response(200, content=release["text"])
            case "/versions/digits@1.2.0/files":
                return httpx2.Response(200, json={"files": registry._downloads(version)})
            case "/models/digits/releases/1.2.0":
                return httpx2.Response(200, json={**part, "model": "digits"})
        return httpx2.Response(404, json={"code": "gone"}) if path.startswith("/versions/") else None

    registry.intercept = answer
    return release


def test_a_release_is_downloaded_and_verified_by_its_own_manifest(
    released: dict[str, Any], client: Client, folder: Path, tmp_path: Path
) -> None:
    back = tmp_path / "back"
    client.download("digits@^1", back)
    kept = (back / MANIFEST_NAME).read_bytes()
    assert f"sha256:{sha256_hex(kept)}" == released["id"]
    for file in folder.rglob("*"):
        assert not file.is_file() or (back / file.relative_to(folder)).read_bytes() == file.read_bytes()
    found = client.verify("digits@1.2.0", back)
    assert (found.ok, found.id) == (True, released["id"])


def test_another_manifest_than_the_releases_is_refused(
    released: dict[str, Any], client: Client, tmp_path: Path
) -> None:
    released["text"] += b" "
    with pytest.raises(Conflict) as caught:
        client.download("digits@1.2.0", tmp_path / "back")
    assert caught.value.code == "manifest_mismatch"


async def test_a_release_is_found_by_its_range_with_both_clients(
    released: dict[str, Any], client: Client, registry: FakeRegistry
) -> None:
    assert client.release("digits@^1").ref == "digits@1.2.0"
    async with AsyncClient(registry.url, "a token") as other:
        assert (await other.release("digits@^1")).id == released["id"]


def test_a_version_is_no_release(client: Client, registry: FakeRegistry, folder: Path) -> None:
    client.publish(folder, model="digits")
    with pytest.raises(NotFound) as caught:
        client.release("digits/1")
    assert caught.value.code == "release_not_found"


def test_what_is_no_semantic_version_is_not_sent(client: Client, registry: FakeRegistry) -> None:
    with pytest.raises(Rejected) as caught:
        client.publish_release("digits", "v1.2", ref="digits/1")
    assert (caught.value.code, caught.value.hint) == ("semver_invalid", "write 1.2.0")
    assert registry.requests == []


def test_a_release_is_asked_for_as_it_was_said(client: Client, registry: FakeRegistry) -> None:
    bodies = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.read()))
        return httpx2.Response(200, json={"semver": "1.2.0", "id": "sha256:" + "a" * 64, "model": "digits"})

    registry.intercept = answer
    client.publish_release("digits", "1.2.0", ref="digits", copy="physical", track="edge", notes=None)
    assert bodies == [{"version": "1.2.0", "ref": "digits@baseline", "copy": "physical", "track": "edge"}]
