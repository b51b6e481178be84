"""What a publisher asks of a publication reaches the registry, whatever is added to it."""

from __future__ import annotations

from muniment.contracts.events import PublicationSettings, StagedFile, TrainingCompleted
from muniment.contracts.identity import Author
from muniment.contracts.ids import PublicationId
from muniment.ingest.domain import trained


def test_every_setting_goes_from_the_declaration_into_the_event() -> None:
    given = {
        "branch": "exp/a",
        "commit": "manual",
        "track": "production",
        "description": "text",
        "tags": {"a": "b"},
        "reproduces": f"sha256:{'0' * 64}",
    }
    assert given.keys() == PublicationSettings.model_fields.keys(), "a new setting needs a value here"
    file = {"path": "a", "sha256": "a" * 64, "size": 1}
    declared = TrainingCompleted.model_validate({"model": "digits", "files": [file], **given})
    staged = {**file, "location": {"bucket": "b", "key": "k", "version_id": "v"}, "origin": "upload"}
    publication = PublicationId("00000000-0000-0000-0000-000000000001")
    event = trained(publication, declared, Author("muniment|ci", "token"), [StagedFile.model_validate(staged)])
    assert {name: getattr(event, name) for name in given} == given
