"""The services there are, and where their migrations lie. The one place that imports them, each when it is chosen."""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Final

from muniment.adapters.postgres import Schema
from muniment.contracts import topics
from muniment.contracts.errors import Rejected
from muniment.runtime.service import Service

NAMES: Final = topics.SERVICES


def chosen(names: tuple[str, ...]) -> tuple[Service, ...]:
    """The services with these names, all of them for none. Raises `Rejected` (`service_unknown`)."""
    for name in names:
        if name not in NAMES:
            raise Rejected("service_unknown", f"there is no service {name!r}", expected=", ".join(NAMES), actual=name)
    return tuple(_load(name) for name in NAMES if not names or name in names)


def _load(name: str) -> Service:
    """`muniment.NAME.app.service`. A process of one service need not wait for the code of the others."""
    service: Service = import_module(f"muniment.{name.replace('-', '_')}.app").service
    return service


def schemas(services: tuple[Service, ...]) -> list[Schema]:
    """The schemas to migrate for these services: the identities first, which every service reads."""
    delivery = _migrations("muniment.runtime.delivery")
    own = [Schema(service.schema, (delivery, _migrations(service.package))) for service in services]
    return [Schema("identity", (_migrations("muniment.runtime.identity"),)), *own]


def _migrations(package: str) -> Path:
    return Path(str(files(package).joinpath("sql/migrations")))
