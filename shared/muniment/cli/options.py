"""Options that are more than words: NAME=VALUE pairs, datasets, parents, addresses. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, Final

from muniment.cli.failures import Usage

MAX_EXACT: Final = 2**53 - 1
"""Integers beyond this are kept as text: not every JSON reader holds them exactly (RFC 7493)."""
KINDS: Final = ("derived", "fine-tune", "distil", "merge", "quantise")
"""How a version can come from another."""
_DIGEST: Final = re.compile(r"(?:sha[0-9]+|md5|blake[0-9a-z]+):[0-9A-Fa-f]+")
_VERSION_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")


def pairs(items: Iterable[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` items as a mapping; the last one of a name counts."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise Usage(f"{option} is not understood", expected="NAME=VALUE", actual=repr(item))
        found[name] = value
    return found


def scalars(items: Iterable[str], option: str) -> dict[str, Any]:
    """`NAME=VALUE` items whose values are JSON scalars where they read as one (`0.1`, `true`, `"0.1"`), else text."""
    return {name: scalar(value) for name, value in pairs(items, option).items()}


def scalar(text: str) -> str | int | float | bool | None:
    """A text as the JSON scalar it spells, or itself. What JSON cannot carry exactly stays text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= MAX_EXACT else text
    if isinstance(value, float) and math.isfinite(value):
        return value
    return text


def numbers(items: Iterable[str], option: str) -> dict[str, float]:
    """`NAME=NUMBER` items."""
    found: dict[str, float] = {}
    for name, text in pairs(items, option).items():
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise Usage(f"{option} {name} is no number", expected="a finite number", actual=repr(text))
        found[name] = value
    return found


def datasets(items: Iterable[str]) -> list[dict[str, str]]:
    """`NAME[=URI][@DIGEST]` items. What follows the last `@` of a URI is the digest unless it holds a `/`; that of a
    name alone, where it looks like one. A digest in the URI's place is a digest.
    """
    found = []
    for item in items:
        name, equals, place = item.partition("=")
        if not name or (equals and not place):
            raise Usage("--dataset is not understood", expected="NAME[=URI][@DIGEST]", actual=repr(item))
        before, _, tail = name.rpartition("@")
        if not equals and before and _DIGEST.fullmatch(tail):
            name, place = before, tail
        if _DIGEST.fullmatch(place):
            found.append({"name": name, "digest": place})
            continue
        uri, at, digest = place.rpartition("@")
        if not at or not uri or not digest or "/" in digest:
            uri, digest = place, ""
        fields = {"name": name, "uri": uri, "digest": digest}
        found.append({key: value for key, value in fields.items() if value})
    return found


def parents(items: Iterable[str]) -> list[dict[str, str]]:
    """`REF[:KIND]` items; a reference is a model's (`digits/3`, `digits@main`), or a whole id."""
    from muniment.contracts.errors import Rejected
    from muniment.contracts.reference import parse_reference

    found = []
    for item in items:
        ref, colon, kind = item.rpartition(":")
        if not colon or ref == "sha256" or ref.endswith("@sha256"):
            ref, kind = item, "derived"
        wrong: Rejected | None = None
        try:
            known = bool(_VERSION_ID.fullmatch(ref) or parse_reference(ref))
        except Rejected as error:
            known, wrong = False, error
        if not known or kind not in KINDS:
            raise Usage(
                "--parent is not understood",
                expected=f"a reference (digits/3, digits@main, sha256: and 64 digits), then :{', :'.join(KINDS)} or "
                "nothing",
                actual=repr(item),
            ) from wrong
        found.append({"id": ref, **({"kind": kind} if kind != "derived" else {})})
    return found


def address(text: str | None) -> tuple[str, int] | None:
    """`HOST:PORT` (or `[IPV6]:PORT`, or `:PORT` for loopback) as host and port."""
    if text is None:
        return None
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if (
        not colon
        or not port.isascii()
        or not port.isdigit()
        or len(port) > 5
        or int(port) > 65535
        or (":" in host and "[" not in text)
    ):
        raise Usage("--http is not understood", expected="HOST:PORT, for example 127.0.0.1:8686", actual=repr(text))
    return host or "127.0.0.1", int(port)
