"""Where a listener is, kept in a file: written whole or not at all, so that a crash never leaves half a cursor."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from muniment.contracts.errors import Rejected

_MAX: Final = 64 * 1024
_TOKEN: Final = re.compile(r"[0-9]{1,19}|kafka\.[A-Za-z0-9_-]{2,65000}")


def cursor_text(text: str) -> str:
    """A cursor as it is kept and given. Raises `Rejected` (`cursor_invalid`)."""
    if not _TOKEN.fullmatch(text):
        raise Rejected(
            "cursor_invalid",
            "this is no cursor of a Muniment event stream",
            expected="a number (over HTTP) or kafka.… (over Kafka), as an event's cursor says",
            actual=repr(text[:80]),
            hint="start again with a time or `beginning`",
        )
    return text


@dataclass(frozen=True, slots=True)
class CursorFile:
    """One line of text. One listener writes it; two would overwrite each other's place."""

    path: Path

    def load(self) -> str | None:
        """The cursor, None where there is no file yet. Raises `Rejected` (`cursor_invalid`)."""
        try:
            with self.path.open("rb") as file:
                raw = file.read(_MAX)
        except FileNotFoundError:
            return None
        try:
            return cursor_text(raw.decode("ascii", "replace").removesuffix("\n"))
        except Rejected as error:
            error.hint = (
                f"{self.path} is damaged or something else; remove it to start again with a time or `beginning`"
            )
            raise

    def save(self, cursor: str) -> None:
        """Keep a cursor: durable, and in one step."""
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}.new")
        try:
            with fresh.open("w", encoding="ascii") as file:
                file.write(f"{cursor}\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
