"""What a run left behind, as plain values: gathered by `gather`, judged by `invariants`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

End = Literal["version", "rejection", "dead letter"]


@dataclass(frozen=True)
class Acknowledged:
    """Something the load was told is taken. `key` is its publication id, or the SHA-256 of a malformed record."""

    key: str
    model: str
    end: End


@dataclass(frozen=True)
class Version:
    """A row of the registry."""

    publication_id: str
    model: str
    number: int
    id: str


@dataclass(frozen=True)
class StoredBytes:
    """A version-id that a version refers to. `actual_sha256` is None where the store does not have it."""

    name: str
    sha256: str
    actual_sha256: str | None
    promised_until: datetime
    locked_until: datetime | None


@dataclass(frozen=True)
class Entry:
    """A leaf of the audit log."""

    index: int
    event_id: str
    data: bytes
    root: bytes


@dataclass(frozen=True)
class Head:
    """A tree head."""

    size: int
    root: bytes


@dataclass(frozen=True)
class Call:
    """A request that the webhook sink took. `event` is the CloudEvent's id."""

    webhook_id: str
    event: str
    correlation: str
    signed: bool
    status: int


@dataclass(frozen=True)
class Happening:
    """Something that happened to a publication, for its history."""

    flow: str
    what: str


@dataclass
class Facts:
    """Everything that the invariants look at."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    """Publication id -> code, from the topic model-rejected."""
    dead: list[str] = field(default_factory=list)
    """SHA-256 of the value of each dead letter."""
    announced: dict[str, str] = field(default_factory=dict)
    """Event id of each version-available and model-rejected record -> its publication."""
    stored: list[StoredBytes] = field(default_factory=list)
    locked_strangers: list[str] = field(default_factory=list)
    """Locked objects that no version refers to."""
    requested: list[str] = field(default_factory=list)
    """Event ids of the audit requests in all outboxes."""
    entries: list[Entry] = field(default_factory=list)
    heads: list[Head] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    unsettled: dict[str, int] = field(default_factory=dict)
    """What was still open when patience ended: lag by group, unsent rows, open jobs, due deliveries."""
    history: list[Happening] = field(default_factory=list)
