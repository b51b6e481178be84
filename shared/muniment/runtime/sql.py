"""SQL lives in `.sql` files beside the code that owns it: blocks under `-- name: word` lines."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import MappingProxyType

_NAME = re.compile(r"^-- name: ([a-z][a-z0-9_]*)[ \t]*$", re.MULTILINE)


@cache
def load_queries(package: str, file: str = "queries") -> MappingProxyType[str, str]:
    """The statements of `{package}/sql/{file}.sql`, by name. A name given twice is an error."""
    text = files(package).joinpath(f"sql/{file}.sql").read_text("utf-8")
    pieces = _NAME.split(text)
    queries: dict[str, str] = {}
    for name, body in zip(pieces[1::2], pieces[2::2], strict=True):
        if name in queries:
            raise ValueError(f"{package}/sql/{file}.sql names {name} twice")
        queries[name] = body.strip().rstrip(";")
    return MappingProxyType(queries)
