"""The routing table of checksum-validator."""

from __future__ import annotations

from muniment.checksum_validator.handlers import Validate
from muniment.checksum_validator.reading import FileReader
from muniment.checksum_validator.work import Workers
from muniment.contracts import topics
from muniment.runtime.delivery.handler import Route
from muniment.runtime.service import Built, Deps, Service


def build(deps: Deps) -> Built:
    """Wire handlers and workers."""
    reader = FileReader(deps.blobs, deps.settings.s3.bucket, deps.settings.validator.allow_executable)
    workers = Workers(deps.transactions, reader, deps.settings.validator)
    validate = Validate(reader, deps.settings.validator.at_once_bytes, workers.wake)
    return Built(routes=(Route(topics.MODEL_TRAINED, validate),), tasks=(workers.run,))


service = Service(name=topics.VALIDATOR, package="muniment.checksum_validator", build=build)
