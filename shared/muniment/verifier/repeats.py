"""Which event ids come twice, in logs of any size: digests go into files by their first bits, to be read one by one."""

from __future__ import annotations

import hashlib
import struct
import tempfile
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Final, Self

_PARTS: Final = 64
_RECORD: Final = struct.Struct(">16sQ")


class Repeats:
    """Event ids with their indexes; 24 bytes of disk each, and in memory a 64th of them at the end."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._files: list[IO[bytes]] = []
        for _ in range(_PARTS):
            part = tempfile.TemporaryFile()  # noqa: SIM115  # reason: the stack closes it
            self._files.append(self._stack.enter_context(part))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, event_id: str, index: int) -> None:
        """Take note of an entry's event id."""
        digest = hashlib.blake2b(event_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self._files[digest[0] % _PARTS].write(_RECORD.pack(digest, index))

    def first(self) -> tuple[int, int] | None:
        """The first index whose event id an earlier entry has, and that entry's; None if each id is there once."""
        found: tuple[int, int] | None = None
        for file in self._files:
            seen: dict[bytes, int] = {}
            file.seek(0)
            while block := file.read(_RECORD.size * 4096):
                for digest, index in _RECORD.iter_unpack(block):
                    before = seen.setdefault(digest, index)
                    if before != index and (found is None or index < found[0]):
                        found = index, before
            file.seek(0, 2)
        return found
