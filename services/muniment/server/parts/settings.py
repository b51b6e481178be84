"""Which part comes from where.

Read from the environment as `MUNIMENT_KAFKA__MODE`, `MUNIMENT_POSTGRES__DSN`, `MUNIMENT_S3__ENDPOINT`,
`MUNIMENT_DATA_DIR` and so on; the names in this module are the ones after the prefix.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Mode = Literal["external", "embedded", "docker"]
Port = Annotated[int, Field(ge=1, le=65535)]


class _PartSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = "embedded"


class KafkaSettings(_PartSettings):
    """Kafka: `bootstrap` and the security fields for an external one, the rest for an embedded one."""

    bootstrap: str | None = None
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: SecretStr | None = None
    cafile: Path | None = None
    port: Port | None = Field(default=None, description="Port on 127.0.0.1; none picks a free one and keeps it.")
    maven_repository: str | None = Field(
        default=None, description="Base URL of the Maven repository to fetch Kafka from; none is the public one."
    )


class PostgresSettings(_PartSettings):
    """Postgres: `dsn` (libpq URL) for an external one. An embedded one listens on a unix socket alone."""

    dsn: SecretStr | None = None
    port: Port | None = Field(default=None, description="Port on 127.0.0.1, docker only; none picks a free one.")


class S3Settings(_PartSettings):
    """The object store: URL, keys and region for an external one."""

    endpoint: str | None = None
    access_key: str | None = None
    secret_key: SecretStr | None = None
    region: str = "us-east-1"
    port: Port | None = Field(default=None, description="Port on 127.0.0.1; none picks a free one and keeps it.")


class PartsSettings(BaseModel):
    """The three parts and the folder that holds everything the embedded ones keep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Path(".muniment")
    kafka: KafkaSettings = KafkaSettings()
    postgres: PostgresSettings = PostgresSettings()
    s3: S3Settings = S3Settings()
