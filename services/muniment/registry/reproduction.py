"""Whether a run that repeats another came out the same: two manifests side by side. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from muniment.contracts.canonical import canonical_json, sha256_hex
from muniment.registry.tolerances import Tolerance

Outcome = Literal["identical", "within-tolerance", "differs"]

DEFAULT_RELATIVE: Final = 1e-6
"""The share of the original's value by which a metric may be off where the model's contract says nothing: the last
digits that another order of the same sums changes, and no more."""
MAX_DIFFERENCES: Final = 50
_LONGEST_VALUE: Final = 128
"""Bytes of a value's canonical JSON that an answer repeats; a longer one is given by its digest."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs. For metrics, `allowed` is how far off it may be, and `within` whether it is."""

    path: str
    original: Any
    reproduction: Any
    allowed: float | None = None
    within: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """Without what does not apply."""
        shown = {"path": self.path, "original": _short(self.original), "reproduction": _short(self.reproduction)}
        if self.within is not None:
            shown |= {"allowed": self.allowed, "within": self.within}
        return {name: value for name, value in shown.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer, what decided it, and what differs: metrics out of bounds first."""

    outcome: Outcome
    judged_by: str
    differences: tuple[Difference, ...]

    def differences_as_json(self) -> dict[str, Any]:
        """At most `MAX_DIFFERENCES`, and how many were left out."""
        items = [one.as_json() for one in self.differences[:MAX_DIFFERENCES]]
        return {"items": items, "left_out": max(0, len(self.differences) - MAX_DIFFERENCES)}


def compare(
    original: Mapping[str, Any], rerun: Mapping[str, Any], tolerances: Sequence[Tolerance], *, contract: int | None
) -> Judgement:
    """Compare two manifests. `contract` is the revision of the contract that the tolerances are from, if there is one.

    `identical`: every file has the same path and bytes. `within-tolerance`: each metric of the original is there and
    off by no more than is allowed, in either direction (a run that is better than it should be is no repetition).
    """
    metrics = list(_metrics(original.get("metrics", {}), rerun.get("metrics", {}), tolerances))
    beyond = [one for one in metrics if not one.within]
    within = [one for one in metrics if one.within]
    differences = (*beyond, *_facts(original, rerun), *within)
    outcome: Outcome = "differs"
    if _digests(original) == _digests(rerun):
        outcome, judged_by = "identical", "the digests of all files"
    elif not original.get("metrics"):
        judged_by = "the digests of all files; the original has no metrics"
    else:
        outcome = "differs" if beyond else "within-tolerance"
        rest = f"relative {DEFAULT_RELATIVE:g} by default"
        judged_by = rest if contract is None else f"the contract's tolerances (revision {contract}), else {rest}"
    return Judgement(outcome, judged_by, differences)


def _metrics(
    original: Mapping[str, float], rerun: Mapping[str, float], tolerances: Sequence[Tolerance]
) -> Iterator[Difference]:
    # A manifest's metrics are over all data: tolerances of a slice or of a dataset are about others.
    by_name = {one.metric: one for one in tolerances if one.slice is None and one.dataset is None}
    for name in sorted(original.keys() | rerun.keys()):
        before, after = original.get(name), rerun.get(name)
        if before == after:
            continue
        if before is None:  # measured in addition: says nothing of the repetition
            yield Difference(f"metrics/{name}", None, after, within=True)
            continue
        allowed = _allowed(by_name.get(name), before)
        within = after is not None and abs(after - before) <= allowed
        yield Difference(f"metrics/{name}", before, after, allowed, within)


def _allowed(tolerance: Tolerance | None, value: float) -> float:
    if tolerance is not None and tolerance.absolute is not None:
        return tolerance.absolute
    if tolerance is not None and tolerance.relative is not None:
        return tolerance.relative * abs(value)
    return DEFAULT_RELATIVE * abs(value)


def _facts(original: Mapping[str, Any], rerun: Mapping[str, Any]) -> Iterator[Difference]:
    before, after = dict(_flat(original)), dict(_flat(rerun))
    for path in sorted(before.keys() | after.keys(), key=lambda path: (_PLACE[path.partition("/")[0]], path)):
        if before.get(path) != after.get(path):
            yield Difference(path, before.get(path), after.get(path))


_PLACE: Final = {
    name: place for place, name in enumerate(("datasets", "code", "environment", "hyperparams", "params", "files"))
}


def _flat(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What may explain a difference, by path. Run ids are left out: two runs never share one."""
    for dataset in manifest.get("datasets", ()):
        name = "/".join(filter(None, (dataset["name"], dataset.get("split"))))
        yield f"datasets/{name}", {key: value for key, value in dataset.items() if key != "name"}
    for part in ("code", "environment"):
        for name, value in manifest.get(part, {}).items():
            if isinstance(value, dict):
                yield from ((f"{part}/{name}/{key}", item) for key, item in value.items())
            else:
                yield f"{part}/{name}", value
    for part in ("hyperparams", "params"):
        yield from ((f"{part}/{name}", value) for name, value in manifest.get(part, {}).items())
    for path, digest in _digests(manifest).items():
        yield f"files/{path}", digest


def _digests(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {file["path"]: f"sha256:{file['sha256']}" for file in manifest["files"]}


def _short(value: Any) -> Any:
    text = canonical_json(value)
    return {"value_sha256": sha256_hex(text), "value_size": len(text)} if len(text) > _LONGEST_VALUE else value
