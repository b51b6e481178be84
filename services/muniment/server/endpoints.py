"""From settings to running parts to the endpoints that the stack connects to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from muniment.contracts.errors import Misconfigured
from muniment.runtime.settings import Settings
from muniment.server.parts import PartError, Parts, PartsSettings, start_parts
from muniment.server.parts.datadir import REMEMBERED_PORTS

if TYPE_CHECKING:
    from muniment.adapters.kafka import KafkaConnection

PARTS_ENV: Final = "parts.env"
"""The file in the data folder of a running `muniment up` that tells other processes how to reach its parts."""
CREDENTIALS: Final = "credentials.json"
"""The file in the data folder with the first admin token; the command line looks for it there."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the three parts are."""

    kafka: KafkaConnection
    postgres_dsn: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    s3_region: str


def parts_settings(settings: Settings) -> PartsSettings:
    """The part of the settings that decides where the three parts come from."""
    kafka = settings.kafka.model_dump(
        include={"mode", "bootstrap", "port", "security_protocol", "sasl_mechanism", "username", "password", "cafile"}
    )
    postgres = settings.postgres.model_dump(include={"mode", "dsn"})
    s3 = settings.s3.model_dump(include={"mode", "endpoint", "port", "region", "access_key", "secret_key"})
    return PartsSettings.model_validate({"data_dir": settings.data_dir, "kafka": kafka, "postgres": postgres, "s3": s3})


@asynccontextmanager
async def started_parts(settings: Settings, progress: Callable[[str], None]) -> AsyncIterator[tuple[Parts, Endpoints]]:
    """Start what is embedded or in containers, check what is external, and say where everything is."""
    async with start_parts(parts_settings(settings), on_progress=progress) as parts:
        yield parts, endpoints_of(parts)


@asynccontextmanager
async def reached_parts(settings: Settings, progress: Callable[[str], None]) -> AsyncIterator[Endpoints]:
    """The parts, for a command of an operator: those of a `muniment up` on the same data, or else started for it.

    Raises `Misconfigured` (`no_registry_here`) where embedded parts would have to be made anew: an operator who stands
    in the wrong folder must not be told of an empty registry.
    """
    modes = (settings.kafka.mode, settings.postgres.mode, settings.s3.mode)
    if "embedded" in modes and not (settings.data_dir / REMEMBERED_PORTS).exists():
        raise Misconfigured(
            "no_registry_here",
            "no registry was ever started on this data folder",
            expected="the folder that muniment up was given with --data-dir",
            actual=str(settings.data_dir.absolute()),
            hint="name it in MUNIMENT_DATA_DIR, or go where muniment up was started; for parts elsewhere set "
            "MUNIMENT_KAFKA__MODE, MUNIMENT_POSTGRES__MODE and MUNIMENT_S3__MODE to external",
        )
    try:
        async with started_parts(settings, progress) as (_, endpoints):
            yield endpoints
            return
    except PartError as error:
        environment = settings.data_dir / PARTS_ENV
        if error.code != "data_dir_in_use" or not environment.exists():
            raise
    from muniment.adapters.kafka import KafkaConnection

    values = dict(line.split("=", 1) for line in environment.read_text("utf-8").splitlines())
    yield Endpoints(
        kafka=KafkaConnection(values["MUNIMENT_KAFKA__BOOTSTRAP"]),
        postgres_dsn=values["MUNIMENT_POSTGRES__DSN"],
        s3_endpoint=values["MUNIMENT_S3__ENDPOINT"],
        s3_access_key=values["MUNIMENT_S3__ACCESS_KEY"],
        s3_secret_key=values["MUNIMENT_S3__SECRET_KEY"],
        s3_region=values["MUNIMENT_S3__REGION"],
    )


def endpoints_of(parts: Parts) -> Endpoints:
    """The parts as the stack connects to them."""
    from muniment.adapters.kafka import KafkaConnection  # late: it takes longer to import than a part to be spawned

    kafka = parts.kafka
    return Endpoints(
        kafka=KafkaConnection(
            bootstrap=kafka.bootstrap,
            security_protocol=kafka.security_protocol,
            sasl_mechanism=kafka.sasl_mechanism,
            username=kafka.username,
            password=kafka.password.get_secret_value() if kafka.password else None,
            cafile=kafka.cafile,
        ),
        postgres_dsn=parts.postgres.dsn,
        s3_endpoint=parts.s3.endpoint,
        s3_access_key=parts.s3.access_key,
        s3_secret_key=parts.s3.secret_key,
        s3_region=parts.s3.region,
    )


def require_external(settings: Settings) -> None:
    """`muniment run` shares its parts with other processes, so all three must be named. Raises `Misconfigured`."""
    embedded = [
        name
        for name, mode in (
            ("kafka", settings.kafka.mode),
            ("postgres", settings.postgres.mode),
            ("s3", settings.s3.mode),
        )
        if mode != "external"
    ]
    if embedded:
        raise Misconfigured(
            "parts_not_external",
            "single services need parts that other processes can reach",
            expected="MUNIMENT_KAFKA__MODE, MUNIMENT_POSTGRES__MODE and MUNIMENT_S3__MODE set to external",
            actual=f"not external: {', '.join(embedded)}",
            hint="`muniment up` writes those of its parts into DATA/parts.env; or use compose.yaml",
        )
