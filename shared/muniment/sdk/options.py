"""The optional arguments that `Client` and `AsyncClient` share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypedDict

from muniment.sdk.transfer.progress import OnProgress
from muniment.sdk.transfer.scan import Scan


class PublishOptions(TypedDict, total=False):
    """What may be said of a run and its files, all of it optional."""

    params: Mapping[str, Any]
    """Settings of the run; JSON scalars, NumPy scalars included."""
    hyperparams: Mapping[str, Any]
    """What was searched or tuned; JSON scalars."""
    metrics: Mapping[str, Any]
    """Finite numbers."""
    datasets: Iterable[Mapping[str, Any]]
    """Each with `name`, and `uri`, `digest`, `split`, `rows` as far as known."""
    code: Mapping[str, Any]
    """`repository`, `commit`, `branch`, `dirty`, `patch_sha256`, `command`."""
    environment: Mapping[str, Any]
    """`python`, `platform`, `image`, `packages`, `hardware`."""
    run_id: str | None
    experiment_id: str | None
    parents: Iterable[str | Mapping[str, Any]]
    """Version ids or references; with a kind `{"id": ..., "kind": "derived" | "fine-tune" | "distil" | "merge" |
    "quantise"}`."""
    branch: str
    """Default `main`; experiments are `exp/...`."""
    track: str | None
    commit: Literal["auto", "manual"]
    """`manual`: wait as a candidate until a person commits it."""
    description: str | None
    tags: Mapping[str, str]
    reproduces: str | None
    """The version that this run repeats, by its id or a reference: the registry compares the two."""
    roles: Mapping[str, str]
    """Roles of files by path (`config`, `tokenizer`, ...); default `file`."""
    idempotency_key: str | None
    """The same key gives the same publication. By default each call is a publication of its own."""
    wait: bool
    """Wait for the outcome (the default)."""
    timeout: float
    """Seconds to wait for the outcome at most, after the upload; default an hour."""
    on_progress: OnProgress | None
    on_scan: Callable[[Scan], None] | None
    """Told which files go, and which were left out, before anything is read."""


class CommitOptions(TypedDict, total=False):
    """What a person says of a candidate; what is left out stays as the publisher gave it."""

    tags: Mapping[str, str]
    description: str | None
    experiment_id: str | None
    branch: str | None
    track: str | None


class EventFilters(TypedDict, total=False):
    """Which events are meant; each one that is given must fit, and an event without that fact does not."""

    model: str | None
    """A name or a pattern with `*` and `?`, without regard to case."""
    type: str | Iterable[str] | None
    """`version-available`, `release-published`, ...; all without it."""
    branch: str | None
    """A name or a pattern; `*` also crosses `/`."""
    stability: str | None
    track: str | None
    tags: Mapping[str, str | None] | Iterable[str] | None
    """Tags that must be there: `KEY` or `KEY=VALUE`."""
    metrics: Iterable[str] | None
    """Conditions that must hold, such as `accuracy>=0.95`."""


class AuditFilters(TypedDict, total=False):
    """Which entries of the audit log are meant; each one that is given must fit."""

    model: str | None
    action: str | None
    operator: str | None
    resource: str | None
    correlation: str | None
    """A publication's id: everything that it caused."""
    outcome: Literal["done", "refused"] | None
    since: str | None
    """The log time's first moment, RFC 3339."""
    until: str | None
    """The first moment that is too late, RFC 3339."""
    after_index: int | None
    order: Literal["oldest", "newest"]
