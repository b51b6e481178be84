"""Two to six manifests side by side, section by section. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from muniment.contracts.errors import Rejected
from muniment.contracts.events import Direction

MIN_VERSIONS: Final = 2
MAX_VERSIONS: Final = 6
SECTIONS: Final = ("metrics", "params", "hyperparams", "environment", "packages", "datasets", "code", "files")

Manifest = Mapping[str, Any]
"""A manifest as parsed from its canonical JSON: what is empty is left out."""
Change = Literal["better", "worse"]


@dataclass(frozen=True, slots=True)
class Row:
    """One field over all versions, in their order. `present` tells a stored null from a field that is not there.

    `deltas` (metrics only) are the differences to the first version, None where either has no value or where the
    difference is beyond a float; `changes` say which way that is, None where equal or where no direction is known.
    """

    name: str
    values: tuple[Any, ...]
    present: tuple[bool, ...]
    changed: bool
    deltas: tuple[float | None, ...] | None = None
    changes: tuple[Change | None, ...] | None = None


def compare_manifests(
    manifests: Sequence[Manifest], directions: Mapping[str, Direction] | None = None, *, only_changed: bool = True
) -> dict[str, list[Row]]:
    """The rows of each of `SECTIONS`, by name. The first manifest is what the others are compared with.

    Raises `Rejected` (`compare_count_invalid`) for fewer than two or more than six manifests.
    """
    check_count(len(manifests))
    fields = [_sections(manifest) for manifest in manifests]
    answer: dict[str, list[Row]] = {}
    for section in SECTIONS:
        columns = [one[section] for one in fields]
        names = sorted(set().union(*columns))
        rows = [_row(name, columns, directions or {}, is_metric=section == "metrics") for name in names]
        answer[section] = [row for row in rows if row.changed or not only_changed]
    return answer


def check_count(count: int) -> None:
    """Raises `Rejected` (`compare_count_invalid`)."""
    if not MIN_VERSIONS <= count <= MAX_VERSIONS:
        raise Rejected(
            "compare_count_invalid",
            "the number of versions to compare is out of range",
            expected=f"{MIN_VERSIONS} to {MAX_VERSIONS} versions",
            actual=str(count),
            hint="compare more versions in several calls with the same first one",
        )


def _sections(manifest: Manifest) -> dict[str, dict[str, Any]]:
    environment = dict(manifest.get("environment", {}))
    packages = environment.pop("packages", {})
    hardware = environment.pop("hardware", {})
    return {
        "metrics": manifest.get("metrics", {}),
        "params": manifest.get("params", {}),
        "hyperparams": manifest.get("hyperparams", {}),
        "environment": {**environment, **{f"hardware.{name}": value for name, value in hardware.items()}},
        "packages": packages,
        "datasets": _datasets(manifest.get("datasets", [])),
        "code": manifest.get("code", {}),
        "files": {file["path"]: {k: v for k, v in file.items() if k != "path"} for file in manifest["files"]},
    }


def _datasets(datasets: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """By name and split. A run may name one twice (two digests of one name), so each has a list, in a fixed order."""
    found: dict[str, list[Any]] = {}
    for dataset in datasets:
        name = f"{dataset['name']}[{dataset['split']}]" if "split" in dataset else dataset["name"]
        found.setdefault(name, []).append(dict(dataset))
    return {name: sorted(entries, key=_spelling) for name, entries in found.items()}


def _row(
    name: str, columns: Sequence[Mapping[str, Any]], directions: Mapping[str, Direction], *, is_metric: bool
) -> Row:
    values = tuple(column.get(name) for column in columns)
    present = tuple(name in column for column in columns)
    changed = len({_spelling(value) if there else None for value, there in zip(values, present, strict=True)}) > 1
    if not is_metric:
        return Row(name, values, present, changed)
    deltas = tuple(_delta(values[0], value) for value in values)
    changes = tuple(_change(values[0], value, directions.get(name)) for value in values)
    return Row(name, values, present, changed, deltas, changes)


def _spelling(value: Any) -> str:
    """A value as text that tells true from 1 and 1 from "1", as Python's equality does not."""
    return json.dumps(value, sort_keys=True)


def _delta(before: float | None, value: float | None) -> float | None:
    if before is None or value is None:
        return None
    delta = float(value) - float(before)
    return delta if math.isfinite(delta) else None


def _change(before: float | None, value: float | None, direction: Direction | None) -> Change | None:
    if direction is None or before is None or value is None or value == before:
        return None
    return "better" if (value > before) == (direction == "higher") else "worse"
