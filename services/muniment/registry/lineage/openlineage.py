"""OpenLineage run events, out and in. Pure; facts from the specification 2-0-2 (openlineage.io/spec/2-0-2).

Out: a version is the COMPLETE event of its run: the manifest's datasets are inputs, the version is the output.
In: what a run elsewhere has read and written. A dataset there has a namespace and a name; here it is
`NAMESPACE/NAME`, which is what the `uri` of a manifest's dataset may say; our own namespace is left out.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, JsonValue, StrictStr

from muniment.contracts.model import Line, Payload, Timestamp, Word, rfc3339
from muniment.contracts.version import VERSION

NAMESPACE: Final = "muniment"
SCHEMA_URL: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_BASE: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs"
_FACETS: Final = "https://openlineage.io/spec/facets"
PRODUCER: Final = f"urn:muniment:registry:{VERSION}"
MAX_DATASETS: Final = 1000


def _run_id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError("run_id_invalid: a run id is a UUID") from None


def _uri(text: str) -> str:
    if not urlsplit(text).scheme:
        raise ValueError("uri_invalid: a URI with its scheme is expected")
    return text


Facets = Annotated[dict[Word, JsonValue], Field(max_length=100)]
Uri = Annotated[Line, AfterValidator(_uri)]


class Run(Payload):
    """The run of an event."""

    run_id: Annotated[StrictStr, AfterValidator(_run_id)] = Field(alias="runId")
    facets: Facets = {}


class Job(Payload):
    """What the run is a run of."""

    namespace: Line
    name: Line
    facets: Facets = {}


class _Dataset(Payload):
    namespace: Word
    name: Word
    facets: Facets = {}

    @property
    def lineage_name(self) -> str:
        """What the dataset is called in lineage."""
        return self.name if self.namespace == NAMESPACE else f"{self.namespace.rstrip('/')}/{self.name}"

    @property
    def version(self) -> str:
        """`datasetVersion` of the facet `version` (DatasetVersionDatasetFacet); `''` where it is not told."""
        facet = self.facets.get("version")
        told = facet.get("datasetVersion") if isinstance(facet, Mapping) else None
        return told if isinstance(told, str) and len(told) <= 256 and told.isprintable() else ""


class InputDataset(_Dataset):
    """A dataset that the run has read."""

    input_facets: Facets = Field({}, alias="inputFacets")


class OutputDataset(_Dataset):
    """A dataset that the run has written."""

    output_facets: Facets = Field({}, alias="outputFacets")


class RunEvent(Payload):
    """An OpenLineage RunEvent. Required by the specification: eventTime, producer, schemaURL, run, job."""

    event_type: Literal["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"] | None = Field(
        None, alias="eventType"
    )
    event_time: Timestamp = Field(alias="eventTime")
    run: Run
    job: Job
    inputs: Annotated[tuple[InputDataset, ...], Field(max_length=MAX_DATASETS)] = ()
    outputs: Annotated[tuple[OutputDataset, ...], Field(max_length=MAX_DATASETS)] = ()
    producer: Uri
    schema_url: Uri = Field(alias="schemaURL")


def run_event(version: Mapping[str, Any]) -> dict[str, Any]:
    """The RunEvent of a version's row (statement `version`)."""
    manifest = json.loads(version["manifest"])
    model = version["model"]
    parents = [_model_dataset(model, one["id"], kind=one["kind"]) for one in manifest.get("parents", [])]
    return {
        "eventType": "COMPLETE",
        "eventTime": rfc3339(version["committed_at"]),
        "run": {"runId": str(version["publication_id"]), "facets": _run_facets(manifest)},
        "job": {"namespace": NAMESPACE, "name": model, "facets": _job_facets(manifest)},
        "inputs": [*(_input(dataset) for dataset in manifest.get("datasets", [])), *parents],
        "outputs": [_model_dataset(model, version["id"], number=version["number"])],
        "producer": PRODUCER,
        "schemaURL": SCHEMA_URL,
    }


def _run_facets(manifest: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: manifest[name] for name in ("run_id", "experiment_id") if name in manifest}
    return {"muniment_run": _facet(f"{_BASE}/RunFacet", **told)} if told else {}


def _job_facets(manifest: Mapping[str, Any]) -> dict[str, Any]:
    code = manifest.get("code", {})
    repository = code.get("repository", "")
    if not urlsplit(repository).scheme:
        return {"muniment_code": _facet(f"{_BASE}/JobFacet", **code)} if code else {}
    facts = {"type": "git", "url": repository, "version": code.get("commit"), "branch": code.get("branch")}
    given = {name: value for name, value in facts.items() if value is not None}
    return {"sourceCodeLocation": _facet(f"{_FACETS}/1-0-1/SourceCodeLocationJobFacet.json", **given)}


def _input(dataset: Mapping[str, Any]) -> dict[str, Any]:
    facets = {}
    if "digest" in dataset:
        facets["version"] = _version_facet(dataset["digest"])
    if urlsplit(dataset.get("uri", "")).scheme:
        facets["dataSource"] = _facet(
            f"{_FACETS}/1-0-1/DatasourceDatasetFacet.json", name=dataset["name"], uri=dataset["uri"]
        )
    return {"namespace": NAMESPACE, "name": dataset["name"], "facets": facets}


def _model_dataset(model: str, version_id: str, **told: Any) -> dict[str, Any]:
    return {
        "namespace": f"{NAMESPACE}/models",
        "name": model,
        "facets": {
            "version": _version_facet(version_id),
            "muniment_digest": _facet(f"{_BASE}/DatasetFacet", digest=version_id, **told),
        },
    }


def _version_facet(version: str) -> dict[str, Any]:
    return _facet(f"{_FACETS}/1-0-1/DatasetVersionDatasetFacet.json", datasetVersion=version)


def _facet(schema: str, **told: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": schema, **told}
