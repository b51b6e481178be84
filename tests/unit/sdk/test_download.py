from __future__ import annotations

import errno
import fcntl
import resource
from pathlib import Path

import httpx2
import pytest

from muniment.contracts.canonical import canonical_json, sha256_hex
from muniment.contracts.errors import Conflict, MunimentError, NotFound, Transient
from muniment.sdk import Client, verify_directory
from muniment.sdk.manifest import read_manifest
from muniment.sdk.transfer import download
from muniment.sdk.verify import MANIFEST_NAME
from muniment.testing.fake_registry import FakeRegistry


@pytest.fixture
def published(registry: FakeRegistry, client: Client, folder: Path) -> FakeRegistry:
    client.publish(folder, model="digits", metrics={"accuracy": 0.97})
    registry.requests.clear()
    return registry


@pytest.fixture
def back(tmp_path: Path) -> Path:
    return tmp_path / "back"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def gets(registry: FakeRegistry) -> int:
    return sum(method == "GET" and not path.startswith("/api/") for method, path in registry.requests)


def key_of(registry: FakeRegistry, path: str) -> str:
    (file,) = [file for file in registry.versions[0]["files"] if file["path"] == path]
    return f"/{file['sha256']}"


def test_what_went_in_comes_out(published: FakeRegistry, client: Client, folder: Path, back: Path) -> None:
    version = client.download("digits@main", back)
    found = contents(back)
    manifest = found.pop(MANIFEST_NAME)
    assert found == contents(folder)
    assert f"sha256:{sha256_hex(manifest)}" == version.id
    assert version.ref == "digits/1"


def test_what_is_there_is_not_fetched_again(published: FakeRegistry, client: Client, back: Path) -> None:
    client.download("digits/1", back)
    (back / "config.json").write_text("spoilt by hand")
    published.requests.clear()
    client.download("digits/1", back)
    assert gets(published) == 1
    assert (back / "config.json").read_text() == '{"layers": 2}'


def test_a_download_that_was_cut_off_goes_on(published: FakeRegistry, client: Client, folder: Path, back: Path) -> None:
    ranges: list[str] = []
    cut: list[bool] = []

    def cut_once(request: httpx2.Request) -> httpx2.Response | None:
        if not str(request.url).startswith(f"{published.store_url}{key_of(published, 'weights/model.bin')}"):
            return None
        ranges.append(request.headers.get("range", ""))
        if cut:
            return None
        cut.append(True)
        whole = (folder / "weights" / "model.bin").read_bytes()
        return httpx2.Response(200, headers={"content-length": "4096"}, content=whole[:1000])

    published.intercept = cut_once
    client.download("digits/1", back)
    assert ranges == ["", "bytes=1000-"]
    assert (back / "weights" / "model.bin").read_bytes() == (folder / "weights" / "model.bin").read_bytes()


def test_a_large_file_comes_in_stretches_and_a_short_one_is_gone_on_with(
    published: FakeRegistry, client: Client, folder: Path, back: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "STRETCH", 1500)
    ranges: list[str] = []
    whole = (folder / "weights" / "model.bin").read_bytes()

    def shorten_the_second(request: httpx2.Request) -> httpx2.Response | None:
        if not str(request.url).startswith(f"{published.store_url}{key_of(published, 'weights/model.bin')}"):
            return None
        ranges.append(request.headers["range"])
        return httpx2.Response(206, content=whole[1500:1700]) if len(ranges) == 2 else None

    published.intercept = shorten_the_second
    client.download("digits/1", back)
    assert len(whole) == 4096
    assert ranges == ["bytes=0-1499", "bytes=1500-2999", "bytes=1700-3199", "bytes=3200-"]
    assert (back / "weights" / "model.bin").read_bytes() == whole


def test_damaged_bytes_never_take_their_place(published: FakeRegistry, client: Client, back: Path) -> None:
    published.objects[key_of(published, "config.json")] = [b'{"layers": 9}']
    with pytest.raises(Conflict) as caught:
        client.download("digits/1", back)
    error = caught.value
    assert error.code == "digest_mismatch"
    assert error.expected != error.actual
    assert not (back / "config.json").exists()
    assert not list(back.rglob(".config.json.*.part")), "nothing of it is left to be gone on with"


def test_damage_on_the_way_is_fetched_again(published: FakeRegistry, client: Client, back: Path) -> None:
    damaged: list[bool] = []

    def damage_once(request: httpx2.Request) -> httpx2.Response | None:
        if str(request.url).startswith(f"{published.store_url}{key_of(published, 'config.json')}") and not damaged:
            damaged.append(True)
            return httpx2.Response(200, content=b'{"layers": 9}')
        return None

    published.intercept = damage_once
    client.download("digits/1", back)
    assert (back / "config.json").read_text() == '{"layers": 2}'
    assert damaged == [True]


def test_a_body_that_does_not_end_is_cut(published: FakeRegistry, client: Client, back: Path) -> None:
    published.objects[key_of(published, "config.json")] = [b'{"layers": 2}' * 1000]
    with pytest.raises(Conflict) as caught:
        client.download("digits/1", back)
    assert caught.value.actual == "more than 13 B"


def test_unchecked_means_unchecked_but_sizes_still_count(published: FakeRegistry, client: Client, back: Path) -> None:
    published.objects[key_of(published, "config.json")] = [b'{"layers": 9}']
    client.download("digits/1", back, verify=False)
    assert (back / "config.json").read_text() == '{"layers": 9}'


def test_a_manifest_that_is_another_is_refused(published: FakeRegistry, client: Client, back: Path) -> None:
    published.versions[0]["text"] = published.versions[0]["text"].replace(b"0.97", b"0.99")
    with pytest.raises(Conflict) as caught:
        client.download("digits/1", back)
    assert caught.value.code == "manifest_mismatch"
    assert not back.exists()


@pytest.mark.parametrize("path", ["../../escaped", "/etc/passwd", "a/../../b"])
def test_a_manifest_cannot_name_a_place_outside(published: FakeRegistry, client: Client, back: Path, path: str) -> None:
    file = {"path": path, "size": 1, "sha256": "0" * 64, "format": "unknown", "role": "file"}
    text = canonical_json({"model": "digits", "files": [file], "schema": "muniment.manifest/v1"})
    published.versions[0].update(text=text, id=f"sha256:{sha256_hex(text)}")
    with pytest.raises(MunimentError) as caught:
        client.download("digits/1", back)
    assert caught.value.code == "manifest_invalid"
    assert not back.exists()


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"files": 1, "model": "m"}', b'{"files": [{}], "model": "m"}'])
def test_what_is_no_manifest_says_so(text: bytes) -> None:
    with pytest.raises(MunimentError) as caught:
        read_manifest(text)
    assert caught.value.code == "manifest_invalid"


def test_stale_urls_are_replaced(published: FakeRegistry, client: Client, folder: Path, back: Path) -> None:
    refused: set[str] = set()

    def expire_first(request: httpx2.Request) -> httpx2.Response | None:
        if str(request.url).startswith(published.store_url) and request.url.path not in refused:
            refused.add(request.url.path)
            return httpx2.Response(403)
        return None

    published.intercept = expire_first
    client.download("digits/1", back)
    assert published.count("GET", "/files") == 2
    assert (back / "config.json").exists()


def test_two_at_once_do_not_mix_their_bytes(published: FakeRegistry, client: Client, back: Path) -> None:
    digest = key_of(published, "config.json")[1:]
    back.mkdir()
    partial = back / f".config.json.{digest[:16]}.part"
    with partial.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Transient) as caught:
            client.download("digits/1", back)
    assert caught.value.code == "download_in_progress"
    client.download("digits/1", back)
    assert (back / "config.json").read_text() == '{"layers": 2}'


def test_unknown_references_say_what_to_try(published: FakeRegistry, client: Client, back: Path) -> None:
    with pytest.raises(NotFound) as caught:
        client.download("digits@exp/none", back)
    assert caught.value.hint == "muniment models ls"


def test_references_in_other_peoples_spelling(published: FakeRegistry, client: Client) -> None:
    assert client.version("models:/digits/1").number == 1
    with pytest.raises(MunimentError) as caught:
        client.version("digits@")
    assert caught.value.code == "reference_invalid"


# -- verify


def test_a_directory_is_checked_byte_by_byte(published: FakeRegistry, client: Client, back: Path) -> None:
    version = client.download("digits/1", back)
    found = client.verify("digits/1", back)
    assert (found.ok, found.id, found.files, found.bytes) == (True, version.id, 2, 4109)
    (back / "config.json").write_text('{"layers": 9}')
    (back / "weights" / "model.bin").unlink()
    (back / "more.txt").write_text("x")
    found = client.verify("digits/1", back)
    assert not found.ok
    assert [(item.kind, item.path) for item in found.problems] == [
        ("changed", "config.json"),
        ("missing", "weights/model.bin"),
        ("extra", "more.txt"),
    ]
    assert found.problems[0].expected != found.problems[0].actual
    assert (found.files, found.bytes) == (0, 0)


def test_a_change_of_size_is_told_as_one(published: FakeRegistry, client: Client, back: Path) -> None:
    client.download("digits/1", back)
    (back / "config.json").write_text("{}")
    (problem,) = verify_directory(back).problems
    assert (problem.expected, problem.actual) == ("13 B", "2 B")


def test_without_a_network_the_kept_manifest_counts(published: FakeRegistry, client: Client, back: Path) -> None:
    version = client.download("digits/1", back)
    published.requests.clear()
    assert verify_directory(back, expected_id=version.id).ok
    assert published.requests == []
    with pytest.raises(Conflict) as caught:
        verify_directory(back, expected_id="sha256:" + "0" * 64)
    assert caught.value.code == "manifest_mismatch"
    (back / MANIFEST_NAME).unlink()
    with pytest.raises(NotFound) as missing:
        verify_directory(back)
    assert missing.value.code == "manifest_missing"


def test_a_directory_that_is_not_there_misses_everything(published: FakeRegistry, client: Client, back: Path) -> None:
    assert [item.kind for item in client.verify("digits/1", back).problems] == ["missing", "missing"]
    back.mkdir()
    assert [item.kind for item in client.verify("digits/1", back).problems] == ["missing", "missing"]


def test_a_version_alone_is_checked_by_its_manifest(published: FakeRegistry, client: Client) -> None:
    assert client.verify("digits/1").files == 2
    published.versions[0]["text"] += b" "
    with pytest.raises(Conflict) as caught:
        client.verify("digits/1")
    assert caught.value.code == "manifest_mismatch"


def test_a_disk_without_room_leaves_nothing_in_place_and_with_room_it_goes_on(
    published: FakeRegistry, client: Client, folder: Path, back: Path
) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # a file's size at most: the model has 4,096 bytes
    try:
        with pytest.raises(OSError) as caught:
            client.download("digits@main", back)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert caught.value.errno == errno.EFBIG
    assert not (back / "weights" / "model.bin").exists()
    assert not (back / MANIFEST_NAME).exists(), "the folder would pass as a whole version"
    client.download("digits@main", back)
    assert {name: data for name, data in contents(back).items() if name != MANIFEST_NAME} == contents(folder)
