from pydantic import SecretStr

from muniment.server.parts import KafkaEndpoint, PostgresEndpoint, S3Endpoint


def test_repr_of_an_endpoint_holds_no_secret() -> None:
    endpoints = (
        KafkaEndpoint("k:9092", "SASL_SSL", "PLAIN", "me", SecretStr("hunter2")),
        PostgresEndpoint("postgresql://me:hunter2@db/muniment"),
        S3Endpoint("http://s3", "AK", "hunter2"),
    )
    assert not [each for each in endpoints if "hunter2" in repr(each)]
