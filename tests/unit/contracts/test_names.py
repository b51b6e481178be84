"""Names, paths, locations and references: what is allowed has one meaning, everything else a code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts import ids
from muniment.contracts.errors import Rejected
from muniment.contracts.file_path import file_path, landing_location
from muniment.contracts.reference import parse_reference

BUCKETS = frozenset({"muniment-landing"})


@pytest.mark.parametrize("name", ["a", "digits", "Resnet-50_v2.1", "0", "a" * 128])
def test_model_names_that_are_allowed(name: str) -> None:
    assert ids.model_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-a",
        ".a",
        "_a",
        "a b",
        "a/b",
        "ä",
        "аdigits",
        "a\n",
        "a\x00",
        "a" * 129,
        "a@b",
        "a:b",
        "Ⅷ",
        "a\u202eb",
        "a.",
    ],
)
def test_model_names_that_are_refused(name: str) -> None:
    with pytest.raises(Rejected) as caught:
        ids.model_name(name)
    assert caught.value.code == "model_name_invalid"


@given(st.text(max_size=200))
def test_a_model_name_is_ascii_or_refused(text: str) -> None:
    try:
        assert ids.model_name(text).isascii()
    except Rejected as error:
        assert error.code == "model_name_invalid"


@pytest.mark.parametrize("name", ["main", "exp/dropout", "exp/a/b", "team-x/lr_0.1"])
def test_branch_names_that_are_allowed(name: str) -> None:
    assert ids.branch_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "1.2.0", "a..b", "../a", "a b", "baseline", "a.", "sha256:ab", "x" * 129]
)
def test_branch_names_that_are_refused(name: str) -> None:
    with pytest.raises(Rejected) as caught:
        ids.branch_name(name)
    assert caught.value.code == "branch_name_invalid"


@pytest.mark.parametrize(
    "digest",
    [
        "md5:" + "a" * 32,
        "A" * 64,
        "sha256:" + "a" * 63,
        "a" * 65,
        "",
        "g" * 64,
        " " + "a" * 64,
        "sha256:sha256:" + "a" * 64,
    ],
)
def test_digests_that_are_refused(digest: str) -> None:
    with pytest.raises(Rejected) as caught:
        ids.sha256(digest)
    assert caught.value.code == "digest_invalid"


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "//host/key",
        "http://muniment-landing/key",
        "S3://muniment-landing/key",
        "s3://muniment-landing",
        "s3://muniment-landing/",
        "s3:///key",
        "s3://muniment-landing/../other/key",
        "s3://muniment-landing/a/../b",
        "s3://muniment-landing/a/./b",
        "s3://muniment-landing//a",
        "s3://muniment-landing/a//b",
        "s3://muniment-landing/%2e%2e/b",
        "s3://muniment-landing/%252e%252e/b",
        "s3://muniment-landing/a%2fb",
        "s3://muniment-landing/a\\..\\b",
        "s3://muniment-landing/a;/../b",
        "s3://muniment-landing/a#b",
        "s3://muniment-landing/a?versionId=1",
        "s3://muniment-landing/a\x00b",
        "s3://muniment-landing/a\nb",
        "s3://user@muniment-landing/a",
        "s3://user:password@muniment-landing/a",
        "s3://muniment-landing:443/a",
        "s3://münchen/a",
        "s3://Muniment-landing/a",
        "s3://muniment-landing/" + "k" * 4096,
        "s3://muniment-landing/ a",
        "s3://muniment-landing/a\u202eb",
        "",
    ],
)
def test_locations_that_are_refused(uri: str) -> None:
    with pytest.raises(Rejected) as caught:
        landing_location(uri, allowed_buckets=BUCKETS)
    assert caught.value.code == "location_invalid"


def test_a_bucket_that_is_not_allowed_is_named() -> None:
    with pytest.raises(Rejected) as caught:
        landing_location("s3://other-bucket/key", allowed_buckets=BUCKETS)
    assert caught.value.code == "location_not_allowed"


@given(st.text(max_size=60))
def test_an_accepted_location_is_its_own_spelling(key: str) -> None:
    uri = f"s3://muniment-landing/{key}"
    try:
        bucket, found = landing_location(uri, allowed_buckets=BUCKETS)
    except Rejected:
        return
    assert f"s3://{bucket}/{found}" == uri
    assert ".." not in found.split("/")


@pytest.mark.parametrize("path", ["a", "weights/model.safetensors", "ünïcode/ß.json", "a b.txt", "..a/b..", "." + "a"])
def test_file_paths_that_are_allowed(path: str) -> None:
    assert file_path(path) == path


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "../a", "a/../b", "./a", "a\\b", "a\x00", "a//b", " a", "a\n", "x" * 513, "\ud800"]
)
def test_file_paths_that_are_refused(path: str) -> None:
    with pytest.raises(Rejected) as caught:
        file_path(path)
    assert caught.value.code == "file_path_invalid"


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("digits", "name", "baseline"),
        ("digits@main", "name", "main"),
        ("digits@exp/dropout", "name", "exp/dropout"),
        ("digits@champion", "name", "champion"),
        ("digits@1.2.0", "release", "1.2.0"),
        ("digits@1.2.0-rc.1", "release", "1.2.0-rc.1"),
        ("digits/3", "number", "3"),
        ("digits@sha256:ab12cd34", "digest", "sha256:ab12cd34"),
    ],
)
def test_references(text: str, kind: str, value: str) -> None:
    reference = parse_reference(text)
    assert (reference.model, reference.kind, reference.value) == ("digits", kind, value)
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    [
        "digits@",
        "digits/0",
        "digits/03",
        "digits/-1",
        "digits/x",
        "digits@sha256:ab12",
        "digits@SHA256:ab12cd34",
        "@main",
        "digits@main@x",
        "digits@a b",
        "x" * 301,
    ],
)
def test_references_that_are_refused(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse_reference(text)
    assert caught.value.code in {"reference_invalid", "model_name_invalid"}


@given(st.text(max_size=80))
def test_a_reference_reads_back_as_itself(text: str) -> None:
    try:
        reference = parse_reference(text)
    except Rejected:
        return
    assert parse_reference(str(reference)) == reference


def test_free_text_is_normal_and_printable() -> None:
    assert ids.free_text("e\u0301\n\t", limit=10, field="x") == "é\n\t"
    for bad in ("\x00", "\u202e", "\x1b[31m", "\r", "\ud800"):
        with pytest.raises(Rejected):
            ids.free_text(bad, limit=10, field="x")


@given(st.text(max_size=3000), st.integers(1, 2000))
def test_what_is_made_printable_is_free_text(text: str, limit: int) -> None:
    shown = ids.printable(text, limit=limit)
    assert ids.free_text(shown, limit=limit, field="it") == shown


def test_printable_keeps_what_free_text_may_hold() -> None:
    assert ids.printable("caf\u0065\u0301\n\tok") == "caf\u00e9\n\tok"
    assert ids.printable("a\x07b\x85c\u202ed\u200de\ud800") == "a\ufffdb\ufffdc\ufffdd\ufffde\ufffd"
    assert ids.printable("\u0958" * 3000) == "\u0915\u093c" * 1000, "it is cut where its normal form is too long"


@given(st.text(max_size=600))
def test_a_file_path_is_free_text(text: str) -> None:
    """Events that tell of a file name it: a path that they could not hold would stop whoever tells."""
    try:
        path = file_path(text)
    except Rejected:
        return
    assert ids.free_text(path, limit=2000, field="it")


@pytest.mark.parametrize(
    "control", ["\x00", "\x1f", "\x7f", "\x80", "\x85", "\x9f", "\u202e", "\u2066", "\ud800"], ids=ascii
)
def test_no_file_path_holds_a_control(control: str) -> None:
    with pytest.raises(Rejected):
        file_path(f"a{control}b")
