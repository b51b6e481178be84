"""What the server answers, as frozen records. Times are RFC 3339 texts in UTC; `raw` is the whole JSON object.

Fields that this version does not know stay in `raw`, so a newer server does not break an older client.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

from muniment.contracts.errors import MunimentError, Rejected

if TYPE_CHECKING:
    from muniment.contracts.model import Payload


@dataclass(frozen=True, kw_only=True)
class Record:
    """A JSON object of the server's."""

    raw: dict[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, value: Any) -> Self:
        """The JSON object as this record. Raises `MunimentError` (`answer_unexpected`) where a field is missing."""
        known = value if isinstance(value, dict) else {}
        if known is not value:
            raise MunimentError(
                "answer_unexpected", "the answer is no JSON object", expected=cls.__name__, actual=type(value).__name__
            )
        given = {item.name: known[item.name] for item in fields(cls) if item.name != "raw" and item.name in known}
        for item in fields(cls):
            optional = item.default is not MISSING or item.default_factory is not MISSING
            if item.name not in given and item.name != "raw" and not optional:
                raise MunimentError(
                    "answer_unexpected",
                    f"the server's answer has no {item.name}",
                    expected=cls.__name__,
                    actual=", ".join(sorted(known)) or "an empty object",
                    hint="do the versions of the client and the server fit? `muniment version --remote` shows both",
                )
        return cls(raw=known, **given)


@dataclass(frozen=True, kw_only=True)
class Version(Record):
    """A committed version."""

    id: str
    number: int
    model: str | None = None
    branch: str | None = None
    previous: str | None = None
    stability: str | None = None
    track: str | None = None
    operator: str | None = None
    committed_at: str | None = None
    description: str | None = None

    @property
    def ref(self) -> str:
        """A reference that will always mean this version."""
        return f"{self.model}/{self.number}" if self.model else self.id


@dataclass(frozen=True, kw_only=True)
class Publication(Record):
    """One attempt to turn a finished run into a version."""

    id: str
    stage: str
    model: str | None = None
    branch: str | None = None
    commit: str | None = None
    track: str | None = None
    operator: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    version: Version | None = None
    rejection: dict[str, Any] | None = None
    progress: dict[str, int] | None = None

    @classmethod
    def of(cls, value: Any) -> Self:
        """The publication, with its version where it has one."""
        publication = super().of(value)
        if not publication.raw.get("version"):
            return publication
        return replace(publication, version=Version.of({"model": publication.model, **publication.raw["version"]}))

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.stage in {"candidate", "committed", "rejected", "abandoned"}


@dataclass(frozen=True, kw_only=True)
class Model(Record):
    """A named line of work."""

    name: str
    versions: int | None = None
    newest_id: str | None = None
    newest_at: str | None = None
    created_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class Branch(Record):
    """A named line of versions in a model, and its head."""

    name: str
    head_number: int | None = None
    head_id: str | None = None
    moved_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class Candidate(Record):
    """A validated publication that waits for a person."""

    publication: str
    model: str | None = None
    state: str | None = None
    branch: str | None = None
    operator: str | None = None
    validated_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class RemoteFile(Record):
    """A file of a version and where to read it: a presigned URL that names the object's version-id."""

    path: str
    size: int
    sha256: str
    url: str = field(repr=False)
    format: str | None = None
    expires_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class AuditEntry(Record):
    """One entry of the audit log at its index. `leaf_hash` is of the RFC 8785 text of `entry`."""

    index: int
    leaf_hash: str
    entry: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Event(Record):
    """One outward event. `cursor` continues after it; `id` (with `source`) is what to deduplicate by.

    `raw` is `cursor`, `type`, `id`, `time`, `model` and `data`; `cloudevent` the whole event in CloudEvents'
    JSON format.
    """

    cursor: str
    type: str
    id: str
    source: str | None = None
    time: str | None = None
    model: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    cloudevent: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of_cloudevent(cls, event: Any, cursor: str) -> Self:
        """A CloudEvent in structured JSON, and its place. Raises `MunimentError` (`answer_unexpected`)."""
        given = event if isinstance(event, dict) else {}
        data = given.get("data")
        known = {name: given[name] for name in ("type", "id", "source", "time") if name in given}
        if isinstance(data, dict):
            known |= {"data": data, "model": data.get("model")}
        made = cls.of({"cursor": cursor, **known})
        shown = {name: getattr(made, name) for name in ("cursor", "type", "id", "time", "model", "data")}
        return replace(made, raw=shown, cloudevent=given)

    @property
    def kind(self) -> str:
        """The topic's name, such as `version-available`."""
        return self.type.removeprefix("muniment.").rpartition(".v")[0] or self.type

    @property
    def payload(self) -> Payload:
        """The data as the event's own class, such as `contracts.events.VersionAvailable`.

        Fields that this version does not know are left out. Raises `Rejected` (`event_type`, `schema_invalid`).
        """
        from muniment.contracts import topics
        from muniment.contracts.codec import parse

        topic = topics.BY_TYPE.get(self.type)
        if topic is None:
            raise Rejected("event_type", "this version does not know the event's type", actual=self.type)
        return parse(
            topic.event, {name: value for name, value in self.data.items() if name in topic.event.model_fields}
        )


def plain(value: Any) -> dict[str, Any]:
    """A JSON object as it is. Raises `MunimentError` (`answer_unexpected`) for anything else."""
    return Record.of(value).raw
