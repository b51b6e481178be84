"""Parts that run elsewhere: what the settings say, checked for completeness. Nothing connects here."""

from __future__ import annotations

from urllib.parse import urlsplit

from muniment.server.parts.endpoints import KafkaEndpoint, PostgresEndpoint, S3Endpoint
from muniment.server.parts.errors import PartError
from muniment.server.parts.settings import KafkaSettings, PostgresSettings, S3Settings


def external_kafka(settings: KafkaSettings) -> KafkaEndpoint:
    """Raises `PartError` (`setting_missing`, `setting_invalid`)."""
    bootstrap = _given("kafka", "bootstrap", settings.bootstrap, "HOST:PORT,HOST:PORT")
    if settings.security_protocol.startswith("SASL"):
        _given("kafka", "sasl_mechanism", settings.sasl_mechanism, "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
        _given("kafka", "username", settings.username, "a user name")
        if settings.password is None:
            raise _missing("kafka", "password", "a password")
    return KafkaEndpoint(
        bootstrap,
        settings.security_protocol,
        settings.sasl_mechanism,
        settings.username,
        settings.password,
        settings.cafile,
    )


def external_postgres(settings: PostgresSettings) -> PostgresEndpoint:
    """Raises `PartError` (`setting_missing`, `setting_invalid`)."""
    if settings.dsn is None:
        raise _missing("postgres", "dsn", "postgresql://USER:PASSWORD@HOST/DATABASE")
    dsn = settings.dsn.get_secret_value()
    if urlsplit(dsn).scheme not in ("postgresql", "postgres"):
        raise _invalid("postgres", "dsn", "a URL that begins with postgresql://", "another scheme, or none")
    return PostgresEndpoint(dsn)


def external_s3(settings: S3Settings) -> S3Endpoint:
    """Raises `PartError` (`setting_missing`, `setting_invalid`)."""
    endpoint = _given("s3", "endpoint", settings.endpoint, "https://HOST[:PORT]")
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/") or url.query:
        raise _invalid("s3", "endpoint", "http(s)://HOST[:PORT] and nothing behind it", endpoint)
    access_key = _given("s3", "access_key", settings.access_key, "an access key")
    if settings.secret_key is None:
        raise _missing("s3", "secret_key", "the access key's secret")
    return S3Endpoint(endpoint.rstrip("/"), access_key, settings.secret_key.get_secret_value(), settings.region)


def _given(part: str, field: str, value: str | None, expected: str) -> str:
    if not value:
        raise _missing(part, field, expected)
    return value


def _missing(part: str, field: str, expected: str) -> PartError:
    return PartError(
        part,
        "setting_missing",
        f"an external {part} needs {_variable(part, field)}",
        expected=expected,
        actual="not set",
        hint=f"set it, or leave MUNIMENT_{part.upper()}__MODE at embedded",
    )


def _invalid(part: str, field: str, expected: str, actual: str) -> PartError:
    return PartError(
        part, "setting_invalid", f"{_variable(part, field)} is not usable", expected=expected, actual=actual
    )


def _variable(part: str, field: str) -> str:
    return f"MUNIMENT_{part.upper()}__{field.upper()}"
