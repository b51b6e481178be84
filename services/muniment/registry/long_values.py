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
"""Pieces of one entry: with its other fields they stay below its 65,535 bytes, and its changes below 100."""


def whole(values: Mapping[str, Any]) -> list[Change]:
    """The changes of fields (by path) to values, in pieces where they are long.

    All of one entry in one call: together they share its room. One too long for what is left is left to be digested.
    """
    changes: list[Change] = []
    room = _MOST
    for path, value in values.items():
        pieces = _pieces(value)
        if not 1 < len(pieces) <= room:
            changes.append(Change(path=path, after=value))
            continue
        room -= len(pieces)
        changes += [Change(path=path, after={**piece, "of": len(pieces)}) for piece in pieces]
    return changes


def _pieces(value: Any) -> list[dict[str, Any]]:
    text = canonical_json(value)
    if len(text) <= _KEPT:
        return []
    kind, long = ("text", value) if isinstance(value, str) else ("json", text.decode())
    return [{kind: piece} for piece in _cut(long)]


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
