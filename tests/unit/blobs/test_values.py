"""Locks, names, ranges and parts: the pure rules of the object storage port and its adapters."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.adapters.hashing import EdgeReader, hash_reader
from muniment.adapters.s3.copying import split
from muniment.checksum_validator.formats.source import Source as ByteSource
from muniment.checksum_validator.formats.spec import DEFAULT_LIMITS, HEAD_BYTES, TAIL_BYTES
from muniment.contracts.events import ObjectLocation
from muniment.ports.blobs import EDGE, Edges, Located, Location, Lock, LockMode, StoreUnavailable
from muniment.testing.blob_samples import pattern

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MODES: tuple[LockMode, LockMode] = ("GOVERNANCE", "COMPLIANCE")
LOCKS = [Lock(mode, NOON + timedelta(seconds=seconds)) for mode in MODES for seconds in (0, 1, 2)]


def test_a_lock_is_kept_in_utc_and_whole_seconds_that_never_shorten_it() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    assert Lock("COMPLIANCE", NOON.astimezone(zone)).until.isoformat() == "2026-01-01T12:00:00+00:00"
    assert Lock("COMPLIANCE", NOON + timedelta(microseconds=1)).until == NOON + timedelta(seconds=1)
    assert Lock("COMPLIANCE", NOON - timedelta(microseconds=1)).until == NOON
    with pytest.raises(ValueError, match="time zone"):
        Lock("COMPLIANCE", NOON.replace(tzinfo=None))


@pytest.mark.parametrize(("one", "other"), list(itertools.product(LOCKS, LOCKS)))
def test_joined_locks_cover_both_and_nothing_more(one: Lock, other: Lock) -> None:
    joined = one.joined(other)
    assert joined == other.joined(one)
    assert joined.covers(one)
    assert joined.covers(other)
    assert all(lock.covers(joined) for lock in LOCKS if lock.covers(one) and lock.covers(other))


def test_covering_needs_the_time_and_the_mode() -> None:
    strict, lax = Lock("COMPLIANCE", NOON), Lock("GOVERNANCE", NOON)
    longer = Lock("GOVERNANCE", NOON + timedelta(seconds=1))
    assert strict.covers(lax)
    assert not lax.covers(strict)
    assert not strict.covers(longer)
    assert not longer.covers(strict)


def test_a_location_reads_as_what_it_names() -> None:
    assert str(Location("b", "dir/k", "v")) == "s3://b/dir/k?versionId=v"
    located: Located = ObjectLocation(bucket="b", key="dir/k", version_id="v")
    assert (located.bucket, located.key, located.version_id) == ("b", "dir/k", "v")


class Source:
    """Bytes to read from, and how often that was done."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.fetched: list[tuple[int, int]] = []

    def fetch(self, offset: int, length: int) -> bytes:
        self.fetched.append((offset, length))
        return self.data[offset : offset + length]


@given(
    size=st.sampled_from([0, 1, EDGE - 1, EDGE, EDGE + 1, 2 * EDGE, 3 * EDGE]),
    offset=st.integers(0, 3 * EDGE + 2),
    length=st.integers(0, 3 * EDGE + 2),
    kept=st.booleans(),
)
def test_a_random_reader_gives_what_slicing_gives(size: int, offset: int, length: int, kept: bool) -> None:
    data = pattern(size)
    reader = EdgeReader(size, Source(data).fetch, Edges(data[:EDGE], data[-EDGE:]) if kept else None)
    for _ in range(2):
        assert reader.read(offset, length) == data[offset : offset + length]


def test_the_edges_are_fetched_once_each_or_not_at_all() -> None:
    source = Source(pattern(3 * EDGE))
    reader = EdgeReader(3 * EDGE, source.fetch)
    for _ in range(3):
        reader.read(0, 8)
        reader.read(EDGE - 1, 1)
        reader.read(3 * EDGE - 22, 22)
        reader.read(2 * EDGE, 4)
    assert source.fetched == [(0, EDGE), (2 * EDGE, EDGE)]
    given_edges = Source(source.data)
    reader = EdgeReader(3 * EDGE, given_edges.fetch, Edges(source.data[:EDGE], source.data[-EDGE:]))
    reader.read(0, EDGE)
    reader.read(2 * EDGE, EDGE)
    assert given_edges.fetched == []


@pytest.mark.parametrize("size", [0, 1, HEAD_BYTES + 1, EDGE + 1, 2 * EDGE, 10**6])
def test_the_edges_of_a_hash_are_all_that_an_inspection_reads_first(size: int) -> None:
    """So a file that was hashed is looked into without another request, unless its header is large."""
    source = Source(pattern(size))
    begin = ByteSource(EdgeReader(size, source.fetch, Edges(source.data[:EDGE], source.data[-EDGE:])), DEFAULT_LIMITS)
    assert (begin.head, begin.tail) == (source.data[:HEAD_BYTES], source.data[-TAIL_BYTES:])
    assert source.fetched == []


def test_a_version_shorter_than_stated_is_not_passed_on() -> None:
    reader = EdgeReader(3 * EDGE, Source(pattern(2 * EDGE)).fetch)
    for offset in (EDGE, 2 * EDGE + 5):
        with pytest.raises(StoreUnavailable) as caught:
            reader.read(offset, 2 * EDGE)
        assert caught.value.code == "store_inconsistent"


@given(st.lists(st.binary(min_size=1, max_size=3 * EDGE), max_size=5))
def test_edges_do_not_depend_on_the_chunks(chunks: list[bytes]) -> None:
    class Reader:
        size = sum(map(len, chunks))

        def read_chunks(self, chunk_size: int = 0) -> list[bytes]:  # any iterable will do here
            return chunks

    data = b"".join(chunks)
    result = hash_reader(Reader())  # type: ignore[arg-type]  # a list in place of an iterator
    assert (result.size, result.edges) == (len(data), Edges(data[:EDGE], data[-EDGE:]))


@given(size=st.integers(1, 2**45), part_size=st.integers(1, 2**33))
def test_parts_of_a_copy_follow_each_other_without_a_gap(size: int, part_size: int) -> None:
    expected = max(part_size, -(-size // 10_000))
    parts = list(itertools.islice(split(size, part_size), 10_001))
    assert len(parts) <= 10_000
    assert [number for number, _, _ in parts] == list(range(1, len(parts) + 1))
    assert parts[0][1] == 0
    assert all(offset + length == follower for (_, offset, length), (_, follower, _) in itertools.pairwise(parts))
    assert all(length == expected for _, _, length in parts[:-1])
    assert parts[-1][1] + parts[-1][2] == size
