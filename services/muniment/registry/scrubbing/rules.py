"""How fast, what is damaged, and what is refused for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from muniment.contracts.errors import Conflict
from muniment.contracts.events import Gate, VersionName
from muniment.contracts.integrity import MAX_NAMED, HeldFile
from muniment.contracts.model import rfc3339
from muniment.contracts.reference import parse_reference

Row = Any
"""A row of a statement, by its columns' names: the driver's record, which is no `Mapping`, or a dict."""
SMALL: Final = 64 * 1024
"""A smaller object counts as so many bytes: asking for it costs more than reading it."""
REST: Final = 0.1
"""Part of a cycle for which bytes that were just read are left alone; the rest of it is for reading all of them."""
SLOWEST: Final = 4 * 1024**2
"""An object that is being read is read at this rate at least: a lease is not held for days. The rest is pausing."""


MANIFEST: Final = "(manifest)"
"""In the place of a file's path where it is the manifest that is damaged."""


def round_due(finished_at: datetime, cycle_s: float, now: datetime) -> bool:
    """Whether manifests are to be read again: so that each is, with the reading's own time, once in a cycle."""
    return now >= finished_at + timedelta(seconds=(1 - REST) * cycle_s)


def cycle_rate(cost: int, cycle_s: float, at_most: float, oldest_s: float | None = None) -> float:
    """Bytes per second at which `cost` bytes are read once in a cycle, and never more than `at_most`.

    Twice that while something has waited longer than a cycle: after an outage, what was missed is caught up with.
    """
    needed = cost / (cycle_s * (1 - REST))
    if oldest_s is not None and oldest_s > cycle_s:
        needed *= 2
    return max(1.0, min(needed, at_most))


def reading_rate(rate: float, at_most: float) -> float:
    """Bytes per second while an object is being read, where the average is to be `rate`."""
    return min(max(rate, SLOWEST), at_most)


def cost_of(sizes: Iterable[int]) -> int:
    """What reading objects of these sizes takes from the rate, in bytes."""
    return sum(max(size, SMALL) for size in sizes)


@dataclass(frozen=True, slots=True)
class Holders:
    """The files of one model that have an object's bytes; `more` are not named."""

    model: str
    files: tuple[HeldFile, ...]
    more: int


def by_model(rows: Iterable[Row]) -> Iterator[Holders]:
    """Rows of the statement `holders`, in their order, as one `Holders` for each model."""
    found: dict[str, list[HeldFile]] = {}
    for row in rows:
        version = VersionName(number=row["number"], id=row["id"])
        held = HeldFile(path=row["path"], version=version, release=row["release"])
        found.setdefault(row["model"], []).append(held)
    for model, files in found.items():
        yield Holders(model, tuple(files[:MAX_NAMED]), max(0, len(files) - MAX_NAMED))


def resource_of(file: HeldFile) -> str:
    """A file as audit entries name it, below its model."""
    holder = f"versions/{file.version.number}" if file.release is None else f"releases/{file.release}"
    return f"{holder}/files/{file.path}"


def damaged_among(rows: Iterable[Row]) -> list[Row]:
    """Those of a version's or release's file rows whose bytes are damaged."""
    return [row for row in rows if row["damaged_at"] is not None]


def damage_json(row: Row) -> dict[str, Any] | None:
    """What is wrong with a file's (or an object's) bytes, as answers tell it; None where nothing is."""
    if row["damaged_at"] is None:
        return None
    return {
        "code": row["damage_code"],
        "expected": f"sha256:{row['sha256']}, {row['size']} B",
        "actual": row["damage_actual"],
        "since": rfc3339(row["damaged_at"]),
    }


def repair_hint(ref: str, path: str) -> str:
    """What one does about a damaged file."""
    if path == MANIFEST:
        model = parse_reference(ref).model
        again = f"muniment scrub run --model {model}"
        return f"the text of {ref} is safe in the database; look at the store, then read it again: {again}"
    return f"put the bytes back: muniment scrub repair {ref} {path} --from FILE; an admin may --force"


def version_damaged(ref: str, damaged: Sequence[Row]) -> Conflict:
    """The refusal of what leads to damaged bytes. `damaged`: its file rows, one at least."""
    first = damaged[0]
    wrong = damage_json(first) or {}
    others = f" and {len(damaged) - 1} more files" if len(damaged) > 1 else ""
    return Conflict(
        "version_damaged",
        f"{ref} is damaged: {first['path']}{others} ({wrong['code']})",
        expected=wrong["expected"],
        actual=wrong["actual"],
        hint=repair_hint(ref, first["path"]),
        details={"files": [{"path": row["path"], **(damage_json(row) or {})} for row in damaged[:100]]},
    )


def integrity_gate(ref: str, damaged: Sequence[Row], *, force: bool) -> Gate | None:
    """The gate that damage shuts; None where there is none. Force opens it, and it says so."""
    if not damaged:
        return None
    first = damaged[0]
    others = f"; {len(damaged) - 1} more" if len(damaged) > 1 else ""
    actual = f"{first['path']}: {first['damage_code']}, {first['damage_actual']}{others}"[:1800]
    return Gate(
        name="integrity",
        passed=force,
        expected=f"{first['path']}: sha256:{first['sha256']}, {first['size']} B",
        actual=f"forced: {actual}" if force else actual,
        hint=None if force else repair_hint(ref, first["path"]),
    )
