"""The safetensors files of two versions, tensor by tensor, in bounded memory. Blocking: for a worker thread."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple

from muniment.contracts.errors import NotFound, TooLarge
from muniment.ports.blobs import BlobStore
from muniment.registry.comparing.figures import Figures, Sums, item_size
from muniment.registry.comparing.headers import StoredFile, Tensor, read_tensors
from muniment.registry.comparing.matching import match_tensors, split_same
from muniment.registry.comparing.streams import Stream, bytes_missing

Status = Literal["changed", "unchanged", "added", "removed"]

MAX_TENSORS: Final = 100_000
"""Of each version."""
_PIECE: Final = 4 * 1024 * 1024
"""Bytes of the larger side that are computed on at a time."""
_AHEAD: Final = 5
"""Pieces that are read ahead, of both sides: 48 MiB in all. With one, store and sums wait for each other in turn,
since each new request of a stream costs a pause."""


@dataclass(frozen=True, slots=True)
class TensorRow:
    """One tensor. Figures are there where it changed and both sides have one shape and dtypes that are numbers.

    `flags`, besides those of `Figures`: `shape_changed`, `dtype_changed`, `bytes_only` (a dtype of which only the
    bytes are compared).
    """

    name: str
    status: Status
    old: Tensor | None
    new: Tensor | None
    figures: Figures = field(default_factory=Figures)

    def fields(self) -> dict[str, Any]:
        """As JSON."""
        sides = {"from": _side(self.old), "to": _side(self.new)}
        return {"name": self.name, "status": self.status, **sides, **asdict(self.figures)}


@dataclass(frozen=True, slots=True)
class Compared:
    """All tensors, but for those of files that are the same in both versions, unless all were asked for."""

    rows: list[TensorRow]
    same_files: int
    bytes_read: int
    """Of both sides, without headers."""


class _Span(NamedTuple):
    """Bytes of a tensor, counted from its first."""

    tensor: Tensor
    begin: int
    length: int


class _Part(NamedTuple):
    """The same elements of both sides."""

    old: _Span
    new: _Span


_Bytes = tuple[bytearray, bytearray]


def compare_tensors(
    blobs: BlobStore,
    old: Sequence[StoredFile],
    new: Sequence[StoredFile],
    *,
    max_bytes: int,
    cancel: threading.Event,
    with_same: bool = False,
    piece: int = _PIECE,
) -> Compared:
    """Compare two versions' safetensors files; files with equal digests are not read (`with_same`: their tables are).

    Raises `TooLarge` (`compare_too_large`) before more than `max_bytes` would be read, `Rejected`
    (`safetensors_invalid`, `bytes_missing`), and `Transient` from the store.
    """
    same, old, new = split_same(old, new)
    matched = match_tensors(_tables(blobs, old), _tables(blobs, new))
    planned = sum(one.size + other.size for one, other in matched.both if _is_read(one, other))
    if planned > max_bytes:
        raise _too_large(f"<= {max_bytes} B of changed files", f"{planned} B")
    rows = [TensorRow(one.name, "unchanged", one, one) for one in (_tables(blobs, same) if with_same else ())]
    rows += [TensorRow(one.name, "removed", one, None) for one in matched.removed]
    rows += [TensorRow(one.name, "added", None, one) for one in matched.added]
    with (
        closing(Stream(blobs, cancel)) as before,
        closing(Stream(blobs, cancel)) as after,
        ThreadPoolExecutor(1, "compare-old") as of_old,  # a thread for each stream: they take one at a time
        ThreadPoolExecutor(1, "compare-new") as of_new,
    ):
        rooms = itertools.cycle([_Rooms(piece) for _ in range(_AHEAD + 1)])  # one to compute on, others to read into

        def start(part: _Part) -> Callable[[], _Bytes]:
            room = next(rooms)
            reads = of_old.submit(_read, before, part.old, room.old), of_new.submit(_read, after, part.new, room.new)
            return lambda: (reads[0].result(), reads[1].result())

        # One flow of parts over all tensors, so that the store is reading while the last part is computed.
        parts = (part for one, other in matched.both if _is_read(one, other) for part in _parts(one, other, piece))
        flow = _ahead(start, parts)
        rows += [_row(one, other, flow, piece) for one, other in matched.both]
    return Compared(sorted(rows, key=lambda row: row.name), len(same), planned)


def _tables(blobs: BlobStore, files: Iterable[StoredFile]) -> list[Tensor]:
    tensors: list[Tensor] = []
    for file in files:
        try:
            tensors += read_tensors(blobs.random_reader(file.location, size=file.size), file)
        except NotFound as error:
            raise bytes_missing(file) from error
        if len(tensors) > MAX_TENSORS:
            raise _too_large(f"<= {MAX_TENSORS} tensors of a version", f"{len(tensors)} and more")
    return tensors


def _row(old: Tensor, new: Tensor, flow: Iterator[_Bytes], piece: int) -> TensorRow:
    """The row of a tensor that both have; takes this tensor's parts from the flow, all of them."""
    flags = [name for name in ("shape", "dtype") if getattr(old, name) != getattr(new, name)]
    told = Figures(flags=tuple(f"{name}_changed" for name in flags))
    if not _is_read(old, new):
        return TensorRow(new.name, "changed", old, new, told)
    parts = (next(flow) for _ in _parts(old, new, piece))
    if not _has_values(old, new):
        differs = [one != other for one, other in parts]
        told = Figures(flags=("bytes_only",))
        return TensorRow(new.name, "changed" if any(differs) else "unchanged", old, new, told)
    sums = Sums(old.dtype, new.dtype)
    for one, other in parts:
        sums.add(one, other)
    if not sums.differs:
        return TensorRow(new.name, "unchanged", old, new)
    figures = sums.figures()
    return TensorRow(new.name, "changed", old, new, replace(figures, flags=told.flags + figures.flags))


def _has_values(old: Tensor, new: Tensor) -> bool:
    return bool(item_size(old.dtype) and item_size(new.dtype))


def _is_read(old: Tensor, new: Tensor) -> bool:
    """Whether the bytes tell something: element by element, or as the bytes of one dtype."""
    return old.shape == new.shape and (old.dtype == new.dtype or _has_values(old, new))


def _parts(old: Tensor, new: Tensor, piece: int) -> Iterator[_Part]:
    """The same elements of both sides, `piece` bytes of the wider dtype at a time."""
    widths = item_size(old.dtype) or 1, item_size(new.dtype) or 1
    elements, step = old.size // widths[0], max(piece // max(widths), 1)
    for first in range(0, elements, step):
        count = min(step, elements - first)
        yield _Part(*(_Span(of, first * width, count * width) for of, width in zip((old, new), widths, strict=True)))


class _Rooms:
    """Where whole pieces of both sides are read to, again and again: new memory costs a page fault every 4 KiB."""

    def __init__(self, piece: int) -> None:
        self.old, self.new = bytearray(piece), bytearray(piece)


def _read(stream: Stream, span: _Span, room: bytearray) -> bytearray:
    into = room if span.length == len(room) else bytearray(span.length)
    stream.read(span.tensor.file, span.tensor.offset + span.begin, into)
    return into


def _ahead(start: Callable[[_Part], Callable[[], _Bytes]], parts: Iterable[_Part]) -> Iterator[_Bytes]:
    """The bytes in order; `_AHEAD` parts are started before one is handed out, which is good until the next."""
    waiting: deque[Callable[[], _Bytes]] = deque()
    for part in parts:
        waiting.append(start(part))
        if len(waiting) > _AHEAD:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def _side(tensor: Tensor | None) -> dict[str, Any] | None:
    if tensor is None:
        return None
    return {"file": tensor.file.path, "dtype": tensor.dtype, "shape": list(tensor.shape)}


def _too_large(expected: str, actual: str) -> TooLarge:
    return TooLarge(
        "compare_too_large",
        "the versions' tensors are too much for one request",
        expected=expected,
        actual=actual,
        hint="compare without the tensors (--no-tensors), or raise registry.compare_max_bytes",
    )
