"""Keras's zip format: a configuration in JSON that names classes to build, and weights.

The configuration can be any size, so it is read text by text. What runs code when a model is built is refused: Lambda
layers (marshalled byte code), serialised functions, and classes from modules outside Keras (CVE-2024-3660,
CVE-2025-1550).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from muniment.checksum_validator.formats import json_walk
from muniment.checksum_validator.formats.report import Report, clip
from muniment.checksum_validator.formats.source import Cursor, Source
from muniment.checksum_validator.formats.spec import FormatError
from muniment.checksum_validator.formats.zip_directory import Member
from muniment.checksum_validator.formats.zip_members import check, open_member

_CODE: Final = frozenset({b"Lambda", b"__lambda__", b"function"})
_MODULES: Final = re.compile(rb"(?:keras|tf_keras|tensorflow|builtins|numpy)(?:\.[A-Za-z0-9_.]*)?")
_CONFIG_BYTES: Final = 64 * 1024 * 1024
# Plain texts that cannot matter, as many as there are: passed over at once.
_DULL: Final = re.compile(rb'(?:[^"]*+"(?!class_name"|module"|keras_version")[^"\\\x00-\x1f]*+")*+')
_SHOWN: Final = 8
_INTERESTING: Final = frozenset({b"class_name", b"module", b"keras_version"})


def read(source: Source, members: Mapping[str, Member], report: Report) -> None:
    """Look through the configuration and report version and layers. Raises `FormatError`."""
    found: dict[bytes, None] = {}
    layers = 0
    for name, value in _texts(source, members["config.json"]):
        layers += name == b"class_name"
        if (name == b"class_name" and value in _CODE) or (name == b"module" and not _MODULES.fullmatch(value)):
            found[value[:256]] = None
            if len(found) >= _SHOWN:
                break
    versions = [value for name, value in _texts(source, members["metadata.json"]) if name == b"keras_version"]
    version = versions[0] if len(versions) == 1 else b""
    report.facts |= {"keras_version": clip(version.decode("utf-8", "replace")), "objects": layers}
    if found:
        report.executable = True
        report.block(
            "keras_code",
            "building the model runs code that is not Keras's own",
            expected="layers and functions of Keras",
            actual=", ".join(clip(value.decode("utf-8", "replace")) for value in found),
        )


def _texts(source: Source, member: Member) -> Iterator[tuple[bytes, bytes]]:
    """Every interesting `"name": "text"` in a JSON member, whatever it is nested in, escapes resolved."""
    if member.size > _CONFIG_BYTES:
        raise FormatError(
            "json_too_large", f"{clip(member.name)!r}", expected=f"<= {_CONFIG_BYTES} B", actual=member.size
        )
    stream = open_member(source, member)
    cursor = Cursor(stream, 0, member.size)
    while cursor.remaining:
        window, at = cursor.window(json_walk.WINDOW)
        if dull := _DULL.match(window, at):
            cursor.skip(dull.end() - at)
            at = dull.end()
        quote = window.find(b'"', at)
        cursor.skip((quote if quote >= 0 else len(window)) - at)
        if quote < 0:
            continue
        name, _ = json_walk.text(cursor)
        if name in _INTERESTING and json_walk.upcoming(cursor) == b":":
            cursor.skip(1)
            if json_walk.upcoming(cursor) == b'"':
                yield name, json_walk.text(cursor)[0]
    check(stream, member)
