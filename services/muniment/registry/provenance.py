"""The provenance of a version: an in-toto Statement v1 with the SLSA v1 predicate, from what its manifest says. Pure.

It says what the publisher said of the run, and what the registry has seen: files, id, publisher, time of the commit.
Start and end of a run are in no manifest, so they are left out rather than guessed. Field names with `muniment_` are
extensions, as the predicate's specification asks for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from muniment.contracts.canonical import canonical_json
from muniment.contracts.oms.statement import STATEMENT_TYPE

PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:muniment:training:v1"
"""A training run as a manifest tells it (docs/decisions/signatures.md): all parameters, nothing else."""
_SHA256: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_GIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Attested:
    """A committed version: its manifest (JSON values), and what was recorded beside it. `committed_at` in RFC 3339."""

    model: str
    number: int
    id: str
    publication: str
    operator: str
    committed_at: str
    manifest: Mapping[str, Any]


def provenance_bytes(version: Attested, builder_id: str) -> bytes:
    """The canonical text (RFC 8785) of the statement: the same version gives the same bytes."""
    manifest = version.manifest
    parameters = {name: manifest[name] for name in ("experiment_id", "params", "hyperparams") if name in manifest}
    run: dict[str, Any] = {"muniment_publication": version.publication, "muniment_committedAt": version.committed_at}
    if "run_id" in manifest:
        run["invocationId"] = manifest["run_id"]
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": one["path"], "digest": {"sha256": one["sha256"]}} for one in manifest["files"]],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {"model": version.model, **parameters},
                    "internalParameters": _environment(manifest),
                    "resolvedDependencies": list(_dependencies(manifest)),
                },
                "runDetails": {
                    "builder": {"id": builder_id},
                    "metadata": run,
                    "byproducts": list(_byproducts(version)),
                    "muniment_publisher": version.operator,
                },
            },
        }
    )


def _environment(manifest: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(manifest.get("environment", {}))
    found.pop("packages", None)  # each is a dependency
    command = manifest.get("code", {}).get("command")
    return {"environment": found, **({"command": command} if command is not None else {})}


def _dependencies(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Resource descriptors: code, data, the versions it was made from, packages."""
    code = manifest.get("code", {})
    if "repository" in code or "commit" in code:
        uri = f"git+{code.get('repository', '')}" + (f"@{code['commit']}" if "commit" in code else "")
        one: dict[str, Any] = {"name": "code", "uri": uri}
        if _GIT.fullmatch(code.get("commit", "")):
            one["digest"] = {"gitCommit": code["commit"]}
        told = {name: code[name] for name in ("branch", "dirty", "patch_sha256") if name in code}
        yield {**one, "annotations": told} if told else one
    for dataset in manifest.get("datasets", ()):
        yield _dataset(dataset)
    for parent in manifest.get("parents", ()):
        digest = parent["id"].removeprefix("sha256:")
        uri = f"urn:muniment:version:{parent['id']}"
        yield {"name": parent["kind"], "uri": uri, "digest": {"sha256": digest}}
    for name, release in sorted(manifest.get("environment", {}).get("packages", {}).items()):
        yield {"name": name, "uri": f"pkg:pypi/{name}@{release}"}


def _dataset(dataset: Mapping[str, Any]) -> dict[str, Any]:
    one: dict[str, Any] = {"name": dataset["name"]}
    told = {name: dataset[name] for name in ("split", "rows") if name in dataset}
    if "uri" in dataset:
        one["uri"] = dataset["uri"]
    if "digest" in dataset:
        match = _SHA256.fullmatch(dataset["digest"])
        if match is not None:
            one["digest"] = {"sha256": match[1]}
        else:  # of a kind that in-toto has no name for
            told["digest"] = dataset["digest"]
    if "uri" not in one and "digest" not in one:  # a descriptor needs one of them
        one["uri"] = f"urn:muniment:dataset:{dataset['name']}"
    return {**one, "annotations": told} if told else one


def _byproducts(version: Attested) -> Iterator[dict[str, Any]]:
    uri = f"urn:muniment:version:{version.id}"
    yield {"name": "manifest", "uri": uri, "digest": {"sha256": version.id.removeprefix("sha256:")}}
    if metrics := version.manifest.get("metrics"):
        yield {"name": "metrics", "uri": uri, "annotations": dict(metrics)}
