"""Kafka, Postgres and the object store: external, embedded (the default) or in containers, behind one call.

    async with start_parts(settings) as parts:
        parts.kafka.bootstrap, parts.postgres.dsn, parts.s3.endpoint

Embedded parts are the real things, run as child processes of a guard that outlives this process by just long enough
to stop them. Everything they keep is below `settings.data_dir`; they listen on 127.0.0.1 or a unix socket alone.
"""

from muniment.server.parts.endpoints import KafkaEndpoint, PostgresEndpoint, S3Endpoint
from muniment.server.parts.errors import PartError
from muniment.server.parts.settings import KafkaSettings, PartsSettings, PostgresSettings, S3Settings
from muniment.server.parts.start import Parts, start_parts

__all__ = [
    "KafkaEndpoint",
    "KafkaSettings",
    "PartError",
    "Parts",
    "PartsSettings",
    "PostgresEndpoint",
    "PostgresSettings",
    "S3Endpoint",
    "S3Settings",
    "start_parts",
]
