"""A manifest as named fields: `params.lr`, `datasets.train.digest`, `environment.packages.numpy`. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

Scalar = str | int | float | bool | None
Section = Mapping[str, Scalar]
Sections = Mapping[str, Section]
"""Sections by name. A field's name is its section's, a dot, and its own; those of the section `run` stand alone."""

RUN: Final = "run"
TENSORS: Final = "tensors"
SECTIONS: Final = (
    "datasets",
    "hyperparams",
    "params",
    "code",
    "environment.packages",
    "environment.hardware",
    "environment",
    "metrics",
    "files",
    RUN,
)


def sections_of(manifest: Mapping[str, Any], wanted: Collection[str] = SECTIONS) -> dict[str, Section]:
    """The wanted sections. A file's value is its SHA-256; `schema`, `model` and `parents` are no fields."""
    return {name: _section(manifest, name) for name in wanted}


def field_name(section: str, name: str) -> str:
    """The full name of a field."""
    return name if section == RUN else f"{section}.{name}"


def same(one: Scalar, other: Scalar) -> bool:
    """Whether two values are the same in JSON: `true` is not 1, and 1 is 1.0."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _section(manifest: Mapping[str, Any], name: str) -> Section:
    if name == "datasets":
        return _datasets(manifest.get(name) or ())
    if name == "files":
        return {file["path"]: file["sha256"] for file in manifest.get(name) or ()}
    if name == RUN:
        return {field: manifest[field] for field in ("run_id", "experiment_id") if field in manifest}
    outer, _, inner = name.partition(".")
    found = manifest.get(outer) or {}
    if inner:
        return found.get(inner) or {}
    if outer == "environment":
        return {field: value for field, value in found.items() if not isinstance(value, dict)}
    return found


def _datasets(datasets: Sequence[Mapping[str, Any]]) -> dict[str, Scalar]:
    """A dataset that is named more than once is told apart by its split, then by its place."""
    times = Counter(dataset["name"] for dataset in datasets)
    found: dict[str, Scalar] = {}
    seen: Counter[str] = Counter()
    for dataset in datasets:
        name = dataset["name"]
        if times[name] > 1:
            name += f"[{dataset.get('split') or ''}]"
            seen[name] += 1
            name += f"#{seen[name]}" if seen[name] > 1 else ""
        found |= {f"{name}.{key}": value for key, value in dataset.items() if key != "name"}
    return found
