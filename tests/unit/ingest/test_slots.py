"""What is to be uploaded, and in which pieces."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.errors import TooLarge
from muniment.contracts.events import DeclaredFile, ObjectLocation
from muniment.ingest.slots import MAX_PART, MAX_PARTS, plan, staged, staged_uploads, upload_key

MIB = 1024**2


def file(path: str, size: int, content: str | None = None) -> DeclaredFile:
    digest = hashlib.sha256((content or path).encode()).hexdigest()
    return DeclaredFile(path=path, sha256=digest, size=size)


def test_small_files_go_up_in_one_put_and_large_ones_in_parts() -> None:
    small, large = plan([file("a", 64 * MIB), file("b", 64 * MIB + 1)], single_put_max=64 * MIB, part_size=16 * MIB)
    assert (small.part_size, small.parts) == (None, 0)
    assert (large.part_size, large.parts) == (16 * MIB, 5)


def test_files_with_one_digest_are_uploaded_once() -> None:
    uploads = plan([file("a", 5, "same"), file("b", 5, "same"), file("c", 5)], single_put_max=10, part_size=5 * MIB)
    assert [upload.sha256 for upload in uploads] == [file("a", 5, "same").sha256, file("c", 5).sha256]


def test_the_key_is_made_from_the_digest() -> None:
    (upload,) = plan([file("a", 5)], single_put_max=10, part_size=5 * MIB)
    assert upload.key == f"blobs/sha256/{upload.sha256[:2]}/{upload.sha256}" == upload_key(upload.sha256)


def test_with_no_single_puts_every_file_goes_up_in_parts() -> None:
    (upload,) = plan([file("a", 1)], single_put_max=0, part_size=5 * MIB)
    assert upload.parts == 1


def test_parts_grow_so_that_there_are_not_too_many() -> None:
    (upload,) = plan([file("a", 100 * 1024**3 * 64)], single_put_max=64 * MIB, part_size=64 * MIB)
    assert upload.part_size is not None
    assert upload.part_size > 64 * MIB
    assert upload.parts <= MAX_PARTS


def test_more_bytes_than_parts_can_hold_are_refused_with_both_numbers() -> None:
    size = MAX_PART * MAX_PARTS
    with pytest.raises(TooLarge) as caught:
        plan([file("a", size)], single_put_max=MIB, part_size=5 * MIB)
    assert caught.value.code == "publication_bytes"
    assert caught.value.actual == f"{size} B"


@given(
    st.lists(st.integers(1, 2**46), min_size=1, max_size=50), st.integers(5 * MIB, MAX_PART), st.integers(0, MAX_PART)
)
def test_parts_cover_each_file_within_the_limits(sizes: list[int], part_size: int, single: int) -> None:
    files = [file(f"f{number}", size) for number, size in enumerate(sizes)]
    try:
        uploads = plan(files, single_put_max=single, part_size=part_size)
    except TooLarge:
        assert sum(sizes) > MAX_PART * (MAX_PARTS - len(sizes)) - MIB * MAX_PARTS
        return
    assert [upload.size for upload in uploads] == sizes
    assert sum(upload.parts for upload in uploads) <= MAX_PARTS
    for upload in uploads:
        if upload.part_size is None:
            assert upload.size <= single
        else:
            assert part_size <= upload.part_size <= MAX_PART
            assert (upload.parts - 1) * upload.part_size < upload.size <= upload.parts * upload.part_size


def test_staged_files_keep_the_declared_order_and_share_an_upload() -> None:
    declared = [file("b", 5, "same"), file("landed", 3), file("a", 5, "same")]
    landed = staged(declared[1], ObjectLocation(bucket="landing", key="x", version_id="1"))
    uploaded = {declared[0].sha256: ObjectLocation(bucket="models", key="y", version_id="2")}
    files = staged_uploads(declared, [landed], uploaded)
    assert [one.path for one in files] == ["b", "landed", "a"]
    assert [one.location.version_id for one in files] == ["2", "1", "2"]
