"""A file that is hashed and made durable while it arrives."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from muniment.sdk.transfer import landing
from muniment.sdk.transfer.landing import Landing

MIB = 1024 * 1024


def test_the_digest_is_of_all_bytes_in_their_order(tmp_path: Path) -> None:
    chunks = [os.urandom(size) for size in (10, MIB, MIB, 1, 300_000, 0, MIB, 17)]
    with (tmp_path / "f").open("wb") as out, Landing(out, hashlib.sha256(b"before")) as arriving:
        for chunk in chunks:
            arriving.write(chunk)
        digest = arriving.finish()
    assert digest == hashlib.sha256(b"before" + b"".join(chunks)).hexdigest()
    assert (tmp_path / "f").read_bytes() == b"".join(chunks)


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_disk_that_fails_is_told_whenever_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    calls = 0

    def sync(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(5, "the disk is gone")

    def arrive() -> None:
        with (tmp_path / "f").open("wb") as out, Landing(out, hashlib.sha256()) as arriving:
            for _ in range(2):
                arriving.write(b"x" * MIB)
                if arriving._syncing is not None:
                    arriving._syncing.exception()  # until the disk has answered
            arriving.finish()

    monkeypatch.setattr(landing, "SYNC_EVERY", MIB)
    monkeypatch.setattr(landing.os, "fsync", sync)
    with pytest.raises(OSError, match="the disk is gone"):
        arrive()
    assert calls == failing
