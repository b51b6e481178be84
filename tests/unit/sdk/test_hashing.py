from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from muniment.contracts.errors import Conflict
from muniment.sdk.transfer import cache as caching
from muniment.sdk.transfer import hashing
from muniment.sdk.transfer.cache import Cache
from muniment.sdk.transfer.hashing import hash_files, sha256_of
from muniment.sdk.transfer.pool import Stop, Stopped
from muniment.sdk.transfer.progress import Meter
from muniment.sdk.transfer.scan import LocalFile

DAY_NS = 24 * 3600 * 10**9


@pytest.fixture
def big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as big, and as settled whatever its age."""
    monkeypatch.setattr(hashing, "CACHED_FROM", 1)
    monkeypatch.setattr(caching, "SETTLED_NS", -DAY_NS)
    place = tmp_path / "big.bin"
    place.write_bytes(b"some bytes")
    return place


def digest(place: Path, cache: Cache) -> str:
    file = LocalFile.at("big.bin", place)
    return hash_files([file], cache, Meter("hash", file.size, None), Stop())[0]


def test_a_digest_is_of_every_byte(tmp_path: Path) -> None:
    content = os.urandom(3 * 1024 * 1024 + 17)
    (tmp_path / "x").write_bytes(content)
    moved: list[int] = []
    assert sha256_of(tmp_path / "x", moved.append, Stop()) == (hashlib.sha256(content).hexdigest(), len(content))
    assert sum(moved) == len(content)
    assert max(moved) <= hashing.CHUNK


def test_an_untouched_file_is_read_once(big: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "cache")
    first = digest(big, cache)
    monkeypatch.setattr(hashing, "sha256_of", lambda *_: pytest.fail("it was read again"))
    assert digest(big, cache) == first


def test_a_touched_file_is_read_again(big: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    before = digest(big, cache)
    stamp = big.stat().st_mtime_ns
    big.write_bytes(b"SOME BYTES")
    os.utime(big, ns=(stamp, stamp))  # whoever sets the time back is found by the inode's change time
    assert digest(big, cache) == hashlib.sha256(b"SOME BYTES").hexdigest() != before


def test_a_fresh_file_is_not_remembered(big: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "SETTLED_NS", DAY_NS)
    cache = Cache(tmp_path / "cache")
    digest(big, cache)
    assert cache.digest_of(LocalFile.at("big.bin", big)) is None


def test_a_broken_cache_is_an_empty_one(big: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "transfers.sqlite3").write_bytes(b"this is no database" * 100)
    assert digest(big, Cache(tmp_path / "cache")) == hashlib.sha256(b"some bytes").hexdigest()
    (tmp_path / "file").write_text("in the way")
    assert digest(big, Cache(tmp_path / "file")) == hashlib.sha256(b"some bytes").hexdigest()


def test_the_cache_is_bounded_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "MAX_ROWS", 2)
    cache = Cache(tmp_path / "cache")
    for number in range(5):
        cache.begin(f"f{number}", f"k{number}")
    assert [cache.unfinished(f"f{number}") for number in range(5)] == [None, None, None, "k3", "k4"]
    cache.finish("f4")
    assert cache.unfinished("f4") is None
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


def test_a_file_that_grows_while_it_is_read_is_told(tmp_path: Path) -> None:
    place = tmp_path / "x"
    place.write_bytes(b"1")
    file = LocalFile.at("x", place)
    place.write_bytes(b"12")
    with pytest.raises(Conflict) as caught:
        hash_files([file], Cache(None), Meter("hash", 1, None), Stop())
    assert caught.value.code == "file_changed"


def test_hashing_can_be_called_off(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        sha256_of(tmp_path / "x", lambda _: None, stop)
