"""Kafka headers as text that Postgres can hold, and back: any bytes, nothing lost."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import cast

Header = tuple[str, bytes | None]


def pack_headers(headers: Sequence[Header] | Sequence[tuple[str, bytes]]) -> str:
    """Headers as JSON text for a table: pairs of name and text, or name and {"b64": ...} for what is no text."""
    return json.dumps([[_printable(name), _packed(value)] for name, value in headers])


def unpack_headers(text: str) -> list[tuple[str, bytes]]:
    """The inverse of `pack_headers`, without those that had no value."""
    return [(name, _unpacked(value)) for name, value in json.loads(text) if value is not None]


def _packed(value: bytes | None) -> object:
    if value is None:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}
    return text if "\x00" not in text else {"b64": base64.b64encode(value).decode()}


def _unpacked(value: object) -> bytes:
    if isinstance(value, dict):
        return base64.b64decode(cast("str", value["b64"]))
    return cast("str", value).encode()


def _printable(text: str) -> str:
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
