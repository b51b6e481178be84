"""The services there are, and where their migrations lie. The one place that imports them all."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from muniment.adapters.postgres import Schema
from muniment.audit.app import service as audit
from muniment.checksum_validator.app import service as checksum_validator
from muniment.contracts.errors import Rejected
from muniment.ingest.app import service as ingest
from muniment.notifier.app import service as notifier
from muniment.registry.app import service as registry
from muniment.runtime.service import Service

SERVICES: Final[tuple[Service, ...]] = (ingest, checksum_validator, registry, audit, notifier)
BY_NAME: Final = {service.name: service for service in SERVICES}


def chosen(names: tuple[str, ...]) -> tuple[Service, ...]:
    """The services with these names, all of them for none. Raises `Rejected` (`service_unknown`)."""
    for name in names:
        if name not in BY_NAME:
            raise Rejected("service_unknown", f"there is no service {name!r}", expected=", ".join(BY_NAME), actual=name)
    return tuple(service for service in SERVICES if not names or service.name in names)


def schemas(services: tuple[Service, ...]) -> list[Schema]:
    """The schemas to migrate for these services: the identities first, which every service reads."""
    delivery = _migrations("muniment.runtime.delivery")
    own = [Schema(service.schema, (delivery, _migrations(service.package))) for service in services]
    return [Schema("identity", (_migrations("muniment.runtime.identity"),)), *own]


def _migrations(package: str) -> Path:
    return Path(str(files(package).joinpath("sql/migrations")))
