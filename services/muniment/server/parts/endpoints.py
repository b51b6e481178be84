"""Where the parts are, as their clients need it. Secrets stay out of `repr`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

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

    @property
    def dbmate_url(self) -> str:
        """The same database for dbmate (Go's lib/pq): scheme `postgres`, TLS off on a local socket unless stated."""
        url = urlsplit(self.dsn)
        query = dict(parse_qsl(url.query))
        if query.get("host", "").startswith("/"):
            query.setdefault("sslmode", "disable")
        # safe="/" keeps a socket's path readable; lib/pq takes both forms
        return urlunsplit(("postgres", url.netloc, url.path, urlencode(query, safe="/", quote_via=quote), ""))


@dataclass(frozen=True)
class S3Endpoint:
    """An S3 store. `endpoint` is a URL, `http://127.0.0.1:PORT` when embedded."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
