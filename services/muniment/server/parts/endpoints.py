"""Where the parts are, as their clients need it. Secrets stay out of `repr`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr


@dataclass(frozen=True)
class KafkaEndpoint:
    """A Kafka cluster. The security fields have the meaning and the values of aiokafka's parameters."""

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    username: str | None = None
    password: SecretStr | None = None
    cafile: Path | None = None


@dataclass(frozen=True)
class PostgresEndpoint:
    """A Postgres database, named by a libpq URL (asyncpg takes it as it is)."""

    dsn: str = field(repr=False)


@dataclass(frozen=True)
class S3Endpoint:
    """An S3 store. `endpoint` is a URL, `http://127.0.0.1:PORT` when embedded."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
