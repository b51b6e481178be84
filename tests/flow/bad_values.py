"""Values that nobody should send, each with the code of its refusal."""

from __future__ import annotations

import json
from typing import Any


def payload(model: str, **changes: Any) -> dict[str, Any]:
    """A payload with nothing wrong but that its bytes are nowhere, so that none of it can become a version."""
    return {"model": model, "files": [{"path": "model.bin", "sha256": "ab" * 32, "size": 1}], **changes}


TEXTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "json_empty"),
    "spaces": (b"  \n", "json_malformed"),
    "truncated": (b'{"model": "dig', "json_malformed"),
    "trailing": (b'{"model": "digits"} {}', "json_malformed"),
    "byte-order-mark": (b'\xef\xbb\xbf{"model": "digits"}', "json_encoding"),
    "utf-16": ('{"model": "digits"}'.encode("utf-16"), "json_encoding"),
    "utf-16-without-mark": ('{"model": "digits"}'.encode("utf-16-le"), "json_malformed"),
    "latin-1": (b'{"model": "\xe9"}', "json_encoding"),
    "nan": (b'{"model": NaN}', "json_not_finite"),
    "infinity": (b'{"model": -Infinity}', "json_not_finite"),
    "beyond-doubles": (b'{"model": 1e400}', "json_not_finite"),
    "duplicate-name": (b'{"model": "a", "model": "b"}', "json_duplicate_name"),
    "huge-integer": (b'{"model": 1' + b"0" * 400 + b"}", "json_integer_range"),
    "deep": (b"[" * 100_000 + b"]" * 100_000, "json_too_deep"),
    "deep-objects": (b'{"a":' * 100_000, "json_too_deep"),
    "escaped-surrogate": (b'{"model": "\\ud800"}', "json_forbidden_character"),
    "raw-surrogate": (b'{"model": "\xed\xa0\x80"}', "json_encoding"),
    "escaped-nul": (b'{"model": "a\\u0000b"}', "json_forbidden_character"),
    "nul-in-a-name": (b'{"a\\u0000b": 1}', "json_forbidden_character"),
    "raw-nul": (b'{"model": "a\x00b"}', "json_malformed"),
    "null": (b"null", "schema_invalid"),
    "array": (b"[]", "schema_invalid"),
    "nothing-in-it": (b"{}", "schema_invalid"),
    "no-files": (b'{"model": "digits", "files": []}', "schema_invalid"),
    "unknown-field": (json.dumps(payload("digits", surprise=1)).encode(), "schema_invalid"),
    "bidi-in-an-unknown-field": (json.dumps(payload("digits", **{"a\u202eb\x07": 1})).encode(), "schema_invalid"),
    "endless-unknown-field": (json.dumps(payload("digits", **{"\u0958" * 9000: 1})).encode(), "schema_invalid"),
    "numbers-for-words": (json.dumps(payload("digits", description=1)).encode(), "schema_invalid"),
}
"""What is no JSON, or no publication."""

FILES: dict[str, tuple[dict[str, Any], str, bool]] = {
    "md5": ({"sha256": "md5:" + "a" * 32}, "digest_invalid", False),
    "sha512": ({"sha256": "sha512:" + "a" * 128}, "digest_invalid", False),
    "upper-case": ({"sha256": "AB" * 32}, "digest_invalid", False),
    "63-digits": ({"sha256": "sha256:" + "a" * 63}, "digest_invalid", False),
    "65-digits": ({"sha256": "a" * 65}, "digest_invalid", False),
    "full-width-digits": ({"sha256": "０" * 64}, "digest_invalid", False),
    "no-digest": ({"sha256": ""}, "digest_invalid", False),
    "null-digest": ({"sha256": None}, "schema_invalid", False),
    "empty-file": ({"size": 0}, "file_empty", True),
    "negative-size": ({"size": -1}, "schema_invalid", False),
    "half-a-byte": ({"size": 1.5}, "schema_invalid", False),
    "size-in-words": ({"size": "17"}, "schema_invalid", False),
    "true-size": ({"size": True}, "schema_invalid", False),
    "endless-size": ({"size": 2**53}, "json_integer_range", False),
    "one-byte-more": ({"size": 18}, "size_mismatch", True),
    "one-byte-less": ({"size": 16}, "size_mismatch", True),
    "no-such-version": ({"version_id": "not-there"}, "file_missing", True),
    "version-of-nothing": ({"location": None, "version_id": "1"}, "version_id_without_location", True),
}
"""Changes to a good file of 17 bytes, the code, and whether the payload is readable."""

LOCATIONS: dict[str, str] = {
    "file": "file:///etc/passwd",
    "http": "http://169.254.169.254/latest/meta-data",
    "no-scheme": "LANDING/model.bin",
    "no-scheme-host": "//LANDING/model.bin",
    "empty-scheme": "://LANDING/model.bin",
    "empty": "",
    "upper-case-scheme": "S3://LANDING/model.bin",
    "upper-case-bucket": "s3://Landing/model.bin",
    "no-key": "s3://LANDING",
    "empty-key": "s3://LANDING/",
    "parent": "s3://LANDING/../other/model.bin",
    "deep-parent": "s3://LANDING/a/../../other/model.bin",
    "dot": "s3://LANDING/./model.bin",
    "double-slash": "s3://LANDING//model.bin",
    "encoded-parent": "s3://LANDING/%2e%2e/model.bin",
    "twice-encoded-parent": "s3://LANDING/%252e%252e/model.bin",
    "encoded-nul": "s3://LANDING/model%00.bin",
    "back-slash": "s3://LANDING\\..\\model.bin",
    "parameters": "s3://LANDING/a;/../model.bin",
    "fragment": "s3://LANDING/model.bin#x",
    "query": "s3://LANDING/model.bin?versionId=1",
    "user": "s3://user:word@LANDING/model.bin",
    "port": "s3://LANDING:9000/model.bin",
    "other-host": "s3://LANDING@evil.example/model.bin",
    "international": "s3://lаnding/model.bin",
    "long-key": "s3://LANDING/" + "k" * 1900,
    "control": "s3://LANDING/model\n.bin",
    "upper-control": "s3://LANDING/model\u0085.bin",
    "bidi": "s3://LANDING/\u202enib.ledom",
}
"""Locations that are not allowed; LANDING stands for a landing bucket."""

PATHS = [
    "",
    "/etc/passwd",
    "../up.bin",
    "a/../b",
    "./a",
    "a//b",
    "a/",
    "a\\b",
    "a\nb",
    "a\x85b",
    "\u202eb",
    " a",
    "é" * 257,
]
"""What is no path inside a model."""

NAMES = [
    "",
    "-a",
    ".hidden",
    "a b",
    "a/b",
    "../a",
    "digıts",
    "dіgits",
    "ｄigits",
    "Ⅷ",
    "a\u200db",
    "a\u202eb",
    "a\nb",
    "a" * 129,
    "a.",
]
"""What is no model's name."""
