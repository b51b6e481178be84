"""Uploading what a publication's slots ask for: single PUTs and parts, several at a time, resumed by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from muniment.contracts.errors import MunimentError
from muniment.sdk.transfer import store
from muniment.sdk.transfer.pool import Stop, run_all, with_retries
from muniment.sdk.transfer.progress import Meter, OnProgress
from muniment.sdk.transfer.scan import LocalFile, file_changed
from muniment.sdk.wire import FileRange, Wire

WORKERS: Final = 4
MAX_PARTS: Final = 10_000
"""S3's own limit."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of a file for one PUT; `part` is None where the file goes up whole."""

    file: LocalFile
    offset: int
    size: int
    url: str
    headers: Mapping[str, str]
    part: int | None = None


class Upload:
    """The bytes of one publication on their way.

    `run` moves what the current slots ask for. Pieces whose URL is stale are left over: `take` fresh slots and run
    again. `completed` is what `complete` wants to hear.
    """

    def __init__(
        self, wire: Wire, files: Sequence[LocalFile], on_progress: OnProgress | None, workers: int = WORKERS
    ) -> None:
        self._wire = wire
        self._files = {file.path: file for file in files}
        self._workers = workers
        self._on_progress = on_progress
        self._pieces: list[Piece] = []
        self._versions: dict[str, str | None] = {}
        self._parts: dict[str, dict[int, str]] = {}
        self.refused: MunimentError | None = None
        """Why the store took no URL of the last run, where it took none."""

    def take(self, slots: Sequence[Mapping[str, Any]]) -> None:
        """Plan what is still to be done from slots as ingest gives them."""
        self._pieces = [piece for slot in slots for piece in self._plan(slot)]

    @property
    def left(self) -> int:
        """How many pieces are still to be moved."""
        return len(self._pieces)

    def run(self, stop: Stop) -> None:
        """Move the planned pieces. Raises `Conflict` (`file_changed`), `Transient` or `MunimentError`."""
        meter = Meter("upload", sum(piece.size for piece in self._pieces), self._on_progress)
        jobs = (partial(self._attempt, piece, meter, stop) for piece in self._pieces)
        stale = run_all(jobs, workers=self._workers, stop=stop)
        moved_any = any(error is None for error in stale)
        self.refused = None if moved_any else next((error for error in stale if error is not None), None)
        self._pieces = [piece for piece, error in zip(self._pieces, stale, strict=True) if error is not None]

    def completed(self) -> list[dict[str, Any]]:
        """The files that were uploaded, with their version-ids or their parts' ETags."""
        single: list[dict[str, Any]] = [
            {"path": path} if version is None else {"path": path, "version_id": version}
            for path, version in self._versions.items()
        ]
        parts = [
            {"path": path, "parts": [{"number": number, "etag": etags[number]} for number in sorted(etags)]}
            for path, etags in self._parts.items()
        ]
        return single + parts

    def _plan(self, slot: Mapping[str, Any]) -> Iterator[Piece]:
        file = self._files.get(slot["path"])
        if file is None:
            raise MunimentError("answer_unexpected", f"the server asks for {slot['path']!r}, which was not offered")
        way = slot.get("upload")
        if slot.get("held") or way is None or file.path in self._versions:
            return
        if way["kind"] == "single":
            yield Piece(file, 0, file.size, way["url"], way.get("headers") or {})
            return
        done = self._parts.setdefault(file.path, {})
        part_size = int(way["part_size"])
        if part_size <= 0 or len(way["parts"]) != -(-file.size // part_size) or len(way["parts"]) > MAX_PARTS:
            raise MunimentError("answer_unexpected", f"the server's parts do not make up {file.path}")
        for part in way["parts"]:
            number = int(part["number"])
            offset = (number - 1) * part_size
            if part.get("done") and part.get("etag"):
                done[number] = part["etag"]
            elif number not in done:
                size = min(part_size, file.size - offset)
                yield Piece(file, offset, size, part["url"], part.get("headers") or {}, number)

    def _attempt(self, piece: Piece, meter: Meter, stop: Stop) -> MunimentError | None:
        try:
            with_retries(lambda: self._put(piece, meter, stop), stop)
        except store.Stale as stale:
            return stale.error
        return None

    def _put(self, piece: Piece, meter: Meter, stop: Stop) -> None:
        moved = 0

        def count(sent: int) -> None:
            nonlocal moved
            stop.check()
            moved += sent
            meter.add(sent, piece.file.path)

        body = FileRange(piece.file.source, piece.offset, piece.size, count, lambda: file_changed(piece.file))
        try:
            stop.check()
            headers = store.put(self._wire, piece.url, body, piece.headers)
        except BaseException:
            meter.add(-moved, piece.file.path)
            raise
        piece.file.check_unchanged()
        if piece.part is None:
            self._versions[piece.file.path] = headers.get("x-amz-version-id")
        else:
            self._parts[piece.file.path][piece.part] = headers.get("etag", "")
