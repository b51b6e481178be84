"""Changed values that an audit entry would hold by their digest alone, told in pieces: the log then holds them whole.

The audit log keeps a changed value of up to 1 KiB of canonical JSON (RFC 8785) and digests a longer one. A longer one
is therefore given as several changes of one path, in order: a text as `{"text": PIECE, "of": COUNT}`, any other value
as `{"json": PIECE, "of": COUNT}`, whose pieces joined are its canonical JSON. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from muniment.contracts.canonical import canonical_json
from muniment.contracts.events import Change

_KEPT: Final = 1024
"""Bytes of a value that an audit entry holds (the first of the audit log's `VALUE_LIMITS`)."""
_PIECE: Final = 990
"""Bytes of a piece's text as JSON: what the object around it needs is below 30."""
_MOST: Final = 54
"""Pieces of one value: with those of an entry's other fields they stay below its 65,535 bytes."""


def whole(path: str, value: Any) -> list[Change]:
    """The change of a field to a value, in pieces if it is long. One too long for that is left to be digested."""
    text = canonical_json(value)
    if len(text) <= _KEPT:
        return [Change(path=path, after=value)]
    kind, long = ("text", value) if isinstance(value, str) else ("json", text.decode())
    pieces = list(_cut(long))
    if len(pieces) > _MOST:
        return [Change(path=path, after=value)]
    return [Change(path=path, after={kind: piece, "of": len(pieces)}) for piece in pieces]


def joined(changes: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """An entry's changes (`path`, `before`, `after`) with the pieces of each value put together again."""
    gathered: dict[str, list[str]] = {}
    for change in changes:
        after = change.get("after")
        kind = _kind(after)
        if after is None or kind is None:
            yield dict(change)
            continue
        pieces = gathered.setdefault(change["path"], [])
        pieces.append(after[kind])
        if len(pieces) == after["of"]:
            long = "".join(gathered.pop(change["path"]))
            yield {**change, "after": long if kind == "text" else json.loads(long)}


def _kind(value: Any) -> str | None:
    """Which piece a changed value is; None for a value that is whole: those with these names hold no number."""
    if not isinstance(value, dict) or not isinstance(value.get("of"), int):
        return None
    return next((kind for kind in ("text", "json") if value.keys() == {kind, "of"}), None)


def _cut(text: str) -> Iterator[str]:
    piece: list[str] = []
    size = 0
    for character in text:
        cost = len(json.dumps(character, ensure_ascii=False).encode()) - 2
        if size + cost > _PIECE:
            yield "".join(piece)
            piece, size = [], 0
        piece.append(character)
        size += cost
    yield "".join(piece)
