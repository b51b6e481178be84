"""The merge version of a promotion: an experiment's files and facts, with both heads as its parents. Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from muniment.contracts.events import ModelValidated
from muniment.contracts.identity import Principal
from muniment.contracts.ids import MAIN

_NAMESPACE: Final = uuid.UUID("5a0c3c8e-30a4-5c0e-8d0b-2f6f3f0f7a41")
_NO_FACTS: Final = {"schema", "model", "files", "parents"}


def merged(version: Mapping[str, Any], files: Sequence[Mapping[str, Any]], head: str, by: Principal) -> ModelValidated:
    """The publication that the merge of a version (statements `version` and `files`) with main's head is.

    The same two versions give the same publication id and the same manifest, so a repeated promotion finds what the
    one before has left in the store.
    """
    manifest = json.loads(version["manifest"])
    facts = {name: value for name, value in manifest.items() if name not in _NO_FACTS}
    facts["parents"] = [{"id": head, "kind": "merge"}, {"id": version["id"], "kind": "merge"}]
    return ModelValidated.model_validate(
        {
            "publication_id": str(uuid.uuid5(_NAMESPACE, f"{head} {version['id']}")),
            "model": version["model"],
            "branch": MAIN,
            "operator": by.operator,
            "authenticated_by": by.authenticated_by,
            "description": version["description"],
            "tags": json.loads(version["tags"]),
            "facts": facts,
            "files": [
                {
                    "path": file["path"],
                    "sha256": file["sha256"],
                    "size": file["size"],
                    "format": file["format"],
                    "role": file["role"],
                    "location": {name: file[name] for name in ("bucket", "key", "version_id")},
                }
                for file in files
            ],
        }
    )
