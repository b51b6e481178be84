"""Measurements in Postgres's binary COPY format: what is the same in many rows is made into bytes once. Pure.

Format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format". A `timestamptz` is microseconds since
2000-01-01T00:00:00Z, a `text` UTF-8, numbers are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from muniment.registry.measurements import Kind, Point

COLUMNS: Final = (
    "batch_id",
    "model_id",
    "number",
    "kind",
    "recorded_at",
    "operator",
    "metric",
    "dataset",
    "slice",
    "unit",
    "value",
    "measured_at",
)
"""In the order of the bytes: those of the whole batch, those of its series, those of the point."""
_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_END: Final = struct.pack(">h", -1)
_FIELDS: Final = struct.pack(">h", len(COLUMNS))
_NULL: Final = struct.pack(">i", -1)
_VALUE_AND_TIME: Final = struct.Struct(">idiq")
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ROWS_AT_ONCE: Final = 2_000


def copied(
    batch: UUID,
    model_id: int,
    number: int,
    kind: Kind,
    operator: str,
    now: datetime,
    points: Sequence[Point],
    units: Mapping[str, str],
) -> Iterator[bytes]:
    """The rows of a batch, in their order and in pieces. A point without a time was measured now."""
    whole = _FIELDS + b"".join(
        (
            _field(batch.bytes),
            _field(struct.pack(">q", model_id)),
            _field(struct.pack(">q", number)),
            _field(kind.encode()),
            _field(struct.pack(">q", _microseconds(now))),
            _field(operator.encode()),
        )
    )
    series: dict[object, bytes] = {}
    pack = _VALUE_AND_TIME.pack
    recorded = _microseconds(now)
    yield _HEAD
    for start in range(0, len(points), _ROWS_AT_ONCE):
        rows: list[bytes] = []
        for of, value, _, at in points[start : start + _ROWS_AT_ONCE]:
            if (known := series.get(of)) is None:
                unit = units.get(of.metric)
                said = (of.metric, of.dataset or "", of.slice or "")
                known = whole + b"".join(_field(text.encode()) for text in said)
                known += _NULL if unit is None else _field(unit.encode())
                series[of] = known
            rows += (known, pack(8, value, 8, recorded if at is None else _microseconds(at)))
        yield b"".join(rows)
    yield _END


def _field(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
