"""What a run says of itself, as fields of a training-completed event, checked before anything is hashed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from muniment.contracts.errors import Rejected
from muniment.contracts.ids import branch_name, model_name, version_id

Scalars = Mapping[str, Any]


def event_fields(
    model: str,
    *,
    params: Scalars | None = None,
    hyperparams: Scalars | None = None,
    metrics: Scalars | None = None,
    datasets: Iterable[Mapping[str, Any]] = (),
    code: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    experiment_id: str | None = None,
    parents: Iterable[str | Mapping[str, Any]] = (),
    branch: str = "main",
    track: str | None = None,
    commit: str = "auto",
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    reproduces: str | None = None,
) -> dict[str, Any]:
    """The event's fields without its files; empty ones are left out.

    NumPy scalars are taken as the numbers they are. Raises `Rejected` (`model_name_invalid`, `branch_name_invalid`,
    `version_id_invalid`, `value_invalid`, `commit_invalid`).
    """
    if commit not in {"auto", "manual"}:
        raise Rejected("commit_invalid", "commit is unknown", expected="auto or manual", actual=repr(commit))
    facts = {
        "run_id": run_id,
        "experiment_id": experiment_id,
        "params": {name: scalar(value, f"params.{name}") for name, value in (params or {}).items()},
        "hyperparams": {name: scalar(value, f"hyperparams.{name}") for name, value in (hyperparams or {}).items()},
        "metrics": {name: number(value, f"metrics.{name}") for name, value in (metrics or {}).items()},
        "datasets": [dict(dataset) for dataset in datasets],
        "code": None if code is None else _filled(code),
        "environment": None if environment is None else _filled(environment),
        "parents": [_parent(parent) for parent in parents],
    }
    return _filled(
        {
            "model": model_name(model),
            "branch": branch_name(branch),
            "commit": commit,
            "track": track,
            "description": description,
            "tags": dict(tags or {}),
            "reproduces": None if reproduces is None else version_id(reproduces),
            "facts": _filled(facts),
        }
    )


_NOT_FINITE: Final = "JSON has no NaN and no infinity: leave it out; a setting can be sent as a string"


def scalar(value: Any, name: str) -> str | int | float | bool | None:
    """A JSON scalar. Raises `Rejected` (`value_invalid`) for anything else, NaN included."""
    if not isinstance(value, str | int | float | None) and hasattr(value, "item"):
        value = value.item()  # NumPy and PyTorch scalars
    if isinstance(value, float) and not math.isfinite(value):
        raise _invalid(name, "a finite number", value, _NOT_FINITE)
    if not isinstance(value, str | int | float | None):
        raise _invalid(name, "a string, number, boolean or None", type(value).__name__, "send it as a string")
    return value


def number(value: Any, name: str) -> float:
    """A finite number. Raises `Rejected` (`value_invalid`)."""
    found = scalar(value, name)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise _invalid(name, "a number", repr(found), None)
    return float(found)


def _parent(parent: str | Mapping[str, Any]) -> dict[str, Any]:
    fields = {"id": parent} if isinstance(parent, str) else dict(parent)
    version_id(str(fields.get("id", "")))
    return fields


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, {}, [], ())}


def _invalid(name: str, expected: str, actual: object, hint: str | None) -> Rejected:
    return Rejected("value_invalid", f"{name} cannot be recorded", expected=expected, actual=actual, hint=hint)
