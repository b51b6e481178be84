from pydantic import SecretStr

from muniment.server.parts import KafkaEndpoint, PostgresEndpoint, S3Endpoint


def test_repr_of_an_endpoint_holds_no_secret() -> None:
    endpoints = (
        KafkaEndpoint("k:9092", "SASL_SSL", "PLAIN", "me", SecretStr("hunter2")),
        PostgresEndpoint("postgresql://me:hunter2@db/muniment"),
        S3Endpoint("http://s3", "AK", "hunter2"),
    )
    assert not [each for each in endpoints if "hunter2" in repr(each)]


def test_dbmate_url_turns_tls_off_on_a_socket_and_leaves_a_server_as_it_is() -> None:
    local = PostgresEndpoint("postgresql://postgres@/muniment?host=/var/run/a%20b")
    assert local.dbmate_url == "postgres://postgres@/muniment?host=/var/run/a%20b&sslmode=disable"
    remote = PostgresEndpoint("postgresql://me:p%40ss@db:5433/muniment?sslmode=verify-full")
    assert remote.dbmate_url == "postgres://me:p%40ss@db:5433/muniment?sslmode=verify-full"
