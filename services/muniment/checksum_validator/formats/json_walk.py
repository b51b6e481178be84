"""JSON read token by token through a cursor, for texts that are too large or too hostile to be parsed whole."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any, Final, NoReturn

from muniment.checksum_validator.formats.source import Cursor
from muniment.checksum_validator.formats.spec import FormatError

WINDOW: Final = 64 * 1024
"""The longest text that is handed out whole."""

_SPACE: Final = re.compile(rb"[ \t\n\r]*+")
_PIECE: Final = re.compile(rb'(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')


def upcoming(cursor: Cursor) -> bytes:
    """The next byte that is not white space, not taken yet; empty at the end."""
    while True:
        window, at = cursor.window(1)
        space = _SPACE.match(window, at)
        stop = space.end() if space else at
        cursor.skip(stop - at)
        if stop < len(window) or not cursor.remaining:
            return window[stop : stop + 1]


def expect(cursor: Cursor, one_of: bytes) -> bytes:
    """Take the next byte that is not white space; it must be one of these."""
    found = upcoming(cursor)
    if not found or found not in one_of:
        raise malformed(cursor, f"expected one of {one_of.decode()!r}")
    cursor.skip(1)
    return found


def text(cursor: Cursor) -> tuple[bytes, bool]:
    """A JSON string as UTF-8 with its escapes resolved, and whether that is only its beginning.

    A string of more than `WINDOW` bytes is checked to its end, and kept in part.
    """
    expect(cursor, b'"')
    utf8 = codecs.getincrementaldecoder("utf-8")("strict")
    pieces = 0
    first = b""
    try:
        while True:
            window, at = cursor.window(WINDOW)
            piece = _PIECE.match(window, at, at + WINDOW)
            raw = piece[0] if piece else b""
            closed = window[at + len(raw) : at + len(raw) + 1] == b'"'
            utf8.decode(raw, closed)
            first = first if pieces else raw
            pieces += 1
            cursor.skip(len(raw) + closed)
            if closed:
                break
            if not raw:
                raise malformed(cursor, "a text does not end, or holds a control character or a wrong escape")
        if b"\\" in first:
            first = json.loads(b'"' + first + b'"').encode("utf-8")  # lone surrogates cannot be encoded
    except ValueError as error:
        raise malformed(cursor, f"a text is not UTF-8 ({error})") from error
    return first, pieces > 1


def key(cursor: Cursor) -> bytes:
    """The name of a member, and the colon after it."""
    name, cut = text(cursor)
    if cut:
        raise malformed(cursor, "a name is too long")
    expect(cursor, b":")
    return name


def malformed(cursor: Cursor, what: str) -> FormatError:
    """The error for a text that is not what it must be."""
    return FormatError(
        "json_malformed", f"the JSON text is not what the format asks for: {what}", actual=f"byte {cursor.position}"
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member appears twice")
    return members


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


SMALL: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
"""Parses a text of some kilobytes whole. Raises `ValueError` or `RecursionError`."""
