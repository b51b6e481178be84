from typing import Any

import pytest
from pydantic import ValidationError

from muniment.server.parts import (
    KafkaSettings,
    PartError,
    PartsSettings,
    PostgresSettings,
    S3Settings,
    start_parts,
)

KAFKA: dict[str, Any] = {"mode": "external", "bootstrap": "k1:9092,k2:9092"}
POSTGRES: dict[str, Any] = {"mode": "external", "dsn": "postgresql://me:pw@db/muniment"}
S3: dict[str, Any] = {"mode": "external", "endpoint": "https://s3.example", "access_key": "AK", "secret_key": "SK"}


def settings(
    kafka: dict[str, Any] = KAFKA, postgres: dict[str, Any] = POSTGRES, s3: dict[str, Any] = S3
) -> PartsSettings:
    return PartsSettings(kafka=KafkaSettings(**kafka), postgres=PostgresSettings(**postgres), s3=S3Settings(**s3))


async def test_external_parts_are_handed_on_as_given_and_nothing_is_created(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    async with start_parts(settings()) as parts:
        assert parts.kafka.bootstrap == "k1:9092,k2:9092"
        assert parts.postgres.dsn == "postgresql://me:pw@db/muniment"
        assert (parts.s3.endpoint, parts.s3.access_key, parts.s3.secret_key) == ("https://s3.example", "AK", "SK")
        assert parts.pids == {}
    assert list(tmp_path.iterdir()) == []


SASL = {**KAFKA, "security_protocol": "SASL_SSL"}


@pytest.mark.parametrize(
    ("given", "variable"),
    [
        (settings(kafka={"mode": "external"}), "MUNIMENT_KAFKA__BOOTSTRAP"),
        (settings(kafka=SASL), "MUNIMENT_KAFKA__SASL_MECHANISM"),
        (settings(kafka={**SASL, "sasl_mechanism": "PLAIN"}), "MUNIMENT_KAFKA__USERNAME"),
        (settings(kafka={**SASL, "sasl_mechanism": "PLAIN", "username": "me"}), "MUNIMENT_KAFKA__PASSWORD"),
        (settings(postgres={"mode": "external"}), "MUNIMENT_POSTGRES__DSN"),
        (settings(s3={"mode": "external"}), "MUNIMENT_S3__ENDPOINT"),
        (settings(s3={"mode": "external", "endpoint": "http://s3"}), "MUNIMENT_S3__ACCESS_KEY"),
        (settings(s3={"mode": "external", "endpoint": "http://s3", "access_key": "AK"}), "MUNIMENT_S3__SECRET_KEY"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_missing_setting_is_named(given: PartsSettings, variable: str) -> None:
    with pytest.raises(PartError, match=variable) as caught:
        async with start_parts(given):
            pass
    assert caught.value.code == "setting_missing"


@pytest.mark.parametrize(
    ("given", "variable"),
    [
        (settings(postgres={**POSTGRES, "dsn": "mysql://me:pw@db/muniment"}), "MUNIMENT_POSTGRES__DSN"),
        (settings(s3={**S3, "endpoint": "s3.example:9000"}), "MUNIMENT_S3__ENDPOINT"),
        (settings(s3={**S3, "endpoint": "https://s3.example/bucket"}), "MUNIMENT_S3__ENDPOINT"),
    ],
    ids=("dsn", "no-scheme", "path"),
)
async def test_an_unusable_setting_is_named_and_no_secret_is_shown(given: PartsSettings, variable: str) -> None:
    with pytest.raises(PartError, match=variable) as caught:
        async with start_parts(given):
            pass
    assert caught.value.code == "setting_invalid"
    assert "pw" not in str(caught.value)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError):
        KafkaSettings.model_validate({"bootstrp": "k:9092"})
