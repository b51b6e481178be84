"""Paths inside a model and locations in the store: one spelling each, and nothing that could mean another place."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote, urlsplit

from muniment.contracts.errors import Rejected

MAX_PATH: Final = 512
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def file_path(text: str) -> str:
    """A path inside a model: relative, `/` between parts, no `.`, `..` or empty part, at most 512 bytes of UTF-8.

    Raises `Rejected` with code `file_path_invalid`.
    """
    parts = text.split("/")
    if (
        not text
        or len(text.encode("utf-8", "surrogatepass")) > MAX_PATH
        or _FORBIDDEN.search(text)
        or any(part in {"", ".", ".."} or part != part.strip() for part in parts)
    ):
        raise Rejected(
            "file_path_invalid",
            "the file path is not allowed",
            expected="a relative path such as weights/model.safetensors, without '..' or control characters",
            actual=repr(text[:200]),
        )
    return text


def landing_location(uri: str, *, allowed_buckets: frozenset[str]) -> tuple[str, str]:
    """`s3://bucket/key` as (bucket, key), if it can mean nothing but one object in an allow-listed bucket.

    Compared after one percent-decoding; whatever changes on canonicalisation is refused: other schemes, user info,
    ports, queries, fragments, `..`, doubled slashes, encoded characters, back slashes.
    Raises `Rejected` with code `location_invalid` or `location_not_allowed`.
    """
    if len(uri) > 2048 or not uri.startswith("s3://") or _FORBIDDEN.search(uri):
        raise _invalid(uri)
    rest = uri[len("s3://") :]
    bucket, slash, key = rest.partition("/")
    split = urlsplit(uri)
    if (
        not slash
        or not _BUCKET.fullmatch(bucket)
        or split.netloc != bucket
        or split.query
        or split.fragment
        or any(character in key for character in "?#;%")
        or unquote(key) != key
    ):
        raise _invalid(uri)
    try:
        file_path(key)
    except Rejected as error:
        raise _invalid(uri) from error
    if bucket not in allowed_buckets:
        raise Rejected(
            "location_not_allowed",
            f"the bucket {bucket!r} is not a landing bucket",
            expected=f"one of {sorted(allowed_buckets)}",
            actual=bucket,
            hint="write the files into a landing bucket, or add the bucket to MUNIMENT_INGEST__LANDING_BUCKETS",
        )
    return bucket, key


def _invalid(uri: str) -> Rejected:
    return Rejected(
        "location_invalid",
        "the location is not allowed",
        expected="s3://BUCKET/KEY in its plain spelling",
        actual=repr(uri[:200]),
    )
