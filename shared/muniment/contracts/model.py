"""The base of every payload, and the field types they share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, StrictBool, StrictInt, StrictStr

from muniment.contracts import file_path as paths
from muniment.contracts import ids, strict_json
from muniment.contracts.errors import Rejected


class Payload(BaseModel):
    """A frozen record on the wire. Unknown fields are refused: what is not understood must not be lost silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants", allow_inf_nan=False)


def _checked(check: Any) -> AfterValidator:
    def run(value: str) -> str:
        try:
            return str(check(value))
        except Rejected as error:  # Pydantic gathers ValueErrors; the code travels in the message
            raise ValueError(f"{error.code}: {error}") from error

    return AfterValidator(run)


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("time_without_zone: a time needs an offset or Z (RFC 3339)")
    return value.astimezone(UTC)


def rfc3339(moment: datetime) -> str:
    """A moment as RFC 3339 in UTC with microseconds: one spelling for every event, entry and answer."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


ModelNameField = Annotated[ids.ModelName, _checked(ids.model_name)]
BranchField = Annotated[ids.BranchName, _checked(ids.branch_name)]
Sha256Field = Annotated[ids.Sha256, _checked(ids.sha256)]
VersionIdField = Annotated[ids.VersionId, _checked(ids.version_id)]
PublicationIdField = Annotated[ids.PublicationId, _checked(ids.publication_id)]
FilePathField = Annotated[str, _checked(paths.file_path)]
Timestamp = Annotated[datetime, AfterValidator(_utc), PlainSerializer(rfc3339, return_type=str, when_used="json")]


def text(limit: int) -> Any:
    """A free-text field: NFC, no control or bidirectional characters, at most `limit` characters."""
    return _checked(lambda value: ids.free_text(value, limit=limit, field="the text"))


def _said(value: str) -> str:
    if not value.strip():
        raise Rejected("text_empty", "it says nothing", expected="a text, and not spaces alone", actual=repr(value))
    return value


Word = Annotated[StrictStr, text(256)]
"""A short text: a name, a key, an id given by someone else."""
Line = Annotated[StrictStr, text(2000)]
Reason = Annotated[Line, _checked(_said)]
"""Why something is done, where it must be told: spaces alone tell nothing."""
Label = Annotated[Word, _checked(_said)]
"""A name that people see."""
Prose = Annotated[StrictStr, text(20_000)]
Verbatim = Annotated[StrictStr, Field(max_length=2048), _checked(strict_json.verbatim)]
"""A text that means something elsewhere (an object's key): taken exactly as it is, never normalised."""
Number = Annotated[float, Field(strict=True)]
ByteCount = Annotated[StrictInt, Field(ge=0, le=2**53 - 1)]
Scalar = StrictBool | StrictInt | Number | Prose | None
