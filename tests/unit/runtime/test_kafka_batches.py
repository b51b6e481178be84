"""Record batches as strangers write them: every offset is passed, nothing is lost without a word, memory is bounded."""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from muniment.adapters.kafka_batches import MAX_UNPACKED, UNREADABLE, Batches
from muniment.contracts.errors import Rejected
from muniment.runtime.delivery.handler import Route
from muniment.runtime.delivery.record import Record, Refusal, read

HEADER = 61
ATTRIBUTES = 21


def batch(*values: bytes, first: int = 0, headers: Any = (("name", b"1"), ("null", None))) -> bytes:
    """A batch of records with these values, at offsets from `first` on."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 26)
    for offset, value in enumerate(values):
        builder.append(offset, 1_000 + offset, b"key", value, list(headers))
    made = bytearray(builder.build())
    struct.pack_into(">q", made, 0, first)
    return bytes(made)


def packed(plain: bytes, codec: int, records: bytes) -> bytes:
    """The batch with its records replaced by these, said to be packed by a codec."""
    made = bytearray(plain[:HEADER] + records)
    struct.pack_into(">i", made, 8, len(made) - 12)
    struct.pack_into(">h", made, ATTRIBUTES, codec)
    return bytes(made)


def gzipped(plain: bytes) -> bytes:
    return packed(plain, 1, gzip.compress(plain[HEADER:]))


def records(data: bytes) -> list[Any]:
    """All records of a fetch, and how far its batches reach."""
    batches = Batches(data)
    found = []
    while batches.has_next():
        found.extend(batches.next_batch())
    return found


def shown(found: list[Any]) -> list[Any]:
    return [(one.offset, one.timestamp, one.timestamp_type, one.key, one.value, list(one.headers)) for one in found]


def test_batches_are_read_as_the_client_library_reads_them() -> None:
    data = batch(b"a", b"b", first=5) + gzipped(batch(b"c", b"", first=7))
    headers = [("name", b"1"), ("null", None)]
    assert shown(records(data)) == [
        (5, 1000, 0, b"key", b"a", headers),
        (6, 1001, 0, b"key", b"b", headers),
        (7, 1000, 0, b"key", b"c", headers),
        (8, 1001, 0, b"key", b"", headers),
    ]


@pytest.mark.parametrize("pack", [bytes, gzipped], ids=["plain", "gzip"])
def test_a_header_name_that_is_no_utf_8_hides_nothing(pack: Any) -> None:
    bad = batch(b"1", b"2", b"3", first=10).replace(b"name", b"\xff\xfe\xfd\xfc")
    found = records(pack(bad) + batch(b"4", first=13))
    assert [(one.offset, one.value) for one in found] == [(10, b"1"), (11, b"2"), (12, b"3"), (13, b"4")]
    assert found[0].headers == [("\ufffd" * 4, b"1"), ("null", None)]
    assert [one.timestamp for one in found] == [1000, 1001, 1002, 1000]


def test_only_the_names_at_fault_change() -> None:
    """The first record is read by the client library, the others by the reader that takes any bytes."""
    half = batch(b"1", b"2", b"3").split(b"name")
    found = records(half[0] + b"name" + half[1] + b"\xffame" + half[2] + b"name" + half[3])
    assert [one.headers[0][0] for one in found] == ["name", "\ufffdame", "name"]
    assert [one.offset for one in found] == [0, 1, 2]


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (packed(batch(b"a", b"b"), 2, b"snappy"), b"batch_codec"),
        (packed(batch(b"a", b"b"), 4, b"zstd"), b"batch_codec"),
        (packed(batch(b"a", b"b"), 7, b"unheard of"), b"batch_codec"),
        (packed(batch(b"a", b"b"), 1, b"no gzip"), b"batch_malformed"),
        (packed(batch(b"a", b"b"), 1, gzip.compress(batch(b"a", b"b")[HEADER:])[:-12]), b"batch_malformed"),
        (packed(batch(b"a", b"b"), 1, gzip.compress(b"\xff" * 40)), b"batch_malformed"),
        (packed(batch(b"a", b"b"), 0, batch(b"a", b"b")[HEADER:] + b"more"), b"batch_malformed"),
        (gzipped(batch(b" " * (MAX_UNPACKED - 100), b" " * 200)), b"batch_too_large"),
    ],
    ids=["snappy", "zstd", "codec-7", "no-gzip", "cut-gzip", "no-records", "more-bytes", "too-large"],
)
def test_a_batch_that_cannot_be_read_is_one_record_that_says_so(made: bytes, code: bytes) -> None:
    *before, whole, after = records(made + batch(b"next", first=2))
    assert (whole.offset, whole.key, whole.value, whole.headers) == (1, None, made, [(UNREADABLE, code)])
    assert (after.offset, after.value) == (2, b"next")
    assert [one.value for one in before] == [b"a", b"b"][: len(before)]
    refusal = read(Record("t", 0, 1, None, whole.value, tuple(whole.headers)), {"t": Route(None, None)}, frozenset())  # type: ignore[arg-type]  # reason: it is refused before its route is asked
    assert isinstance(refusal, Refusal)
    assert isinstance(refusal.error, Rejected)
    assert refusal.error.code == code.decode()


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = zlib.decompressobj

    class Watched:
        def __init__(self, wbits: int) -> None:
            self.inner = real(wbits=wbits)

        def decompress(self, data: bytes, limit: int) -> bytes:
            out: bytes = self.inner.decompress(data, limit)
            asked.append(len(out))
            return out

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    (whole,) = records(gzipped(batch(b" " * (64 * 1024 * 1024))))
    assert whole.headers == [(UNREADABLE, b"batch_too_large")]
    assert asked == [MAX_UNPACKED + 1]


def test_a_fetch_of_many_packed_batches_ends_early_and_nothing_is_skipped() -> None:
    data = b"".join(gzipped(batch(b" " * (3 * 1024 * 1024), first=offset)) for offset in range(10))
    fetch = Batches(data)
    offsets = []
    while fetch.has_next():
        offsets += [one.offset for one in fetch.next_batch()]
    assert offsets == [0, 1, 2], "what is left is fetched again from offset 3"


@given(st.binary(max_size=60), st.integers(0, 1), st.integers(0, 3))
def test_whatever_the_records_are_the_reading_ends_at_the_last_offset(noise: bytes, codec: int, count: int) -> None:
    made = bytearray(packed(batch(b"a", b"b", b"c"), codec, gzip.compress(noise) if codec else noise))
    struct.pack_into(">i", made, 57, count)
    for one in records(bytes(made)):
        assert one.value is None or isinstance(one.value, bytes)
