"""Parts in containers (testcontainers), for machines where an engine answers. What they keep ends with them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from muniment.server.parts.datadir import free_port
from muniment.server.parts.endpoints import KafkaEndpoint, PostgresEndpoint, S3Endpoint
from muniment.server.parts.errors import PartError
from muniment.server.parts.kafka import broker_answers
from muniment.server.parts.postgres import DATABASE, database_answers
from muniment.server.parts.s3 import http_get
from muniment.server.parts.settings import KafkaSettings, PostgresSettings, S3Settings

KAFKA_IMAGE = "apache/kafka:4.3.1"
POSTGRES_IMAGE = "postgres:18"
MINIO_IMAGE = "minio/minio:RELEASE.2025-09-07T16-13-09Z"
READY_SECONDS = 90.0


@asynccontextmanager
async def docker_kafka(
    settings: KafkaSettings, on_progress: Callable[[str], None]
) -> AsyncIterator[tuple[KafkaEndpoint, None]]:
    """One broker in a container. Raises `PartError`."""
    port = free_port("kafka", settings.port)
    environment = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_MESSAGE_MAX_BYTES": str(4 * 2**20),
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    async with _container("kafka", KAFKA_IMAGE, 9092, port, environment, None, on_progress):
        await _until("kafka", lambda: broker_answers(port))
        yield KafkaEndpoint(bootstrap=f"127.0.0.1:{port}"), None


@asynccontextmanager
async def docker_postgres(
    settings: PostgresSettings, on_progress: Callable[[str], None]
) -> AsyncIterator[tuple[PostgresEndpoint, None]]:
    """One server in a container, with a random password. Raises `PartError`."""
    port = free_port("postgres", settings.port)
    password = secrets.token_urlsafe(24)
    environment = {"POSTGRES_PASSWORD": password, "POSTGRES_DB": DATABASE}
    dsn = f"postgresql://postgres:{password}@127.0.0.1:{port}/{DATABASE}?sslmode=disable"
    async with _container("postgres", POSTGRES_IMAGE, 5432, port, environment, None, on_progress):
        await _until("postgres", lambda: database_answers(dsn))
        yield PostgresEndpoint(dsn), None


@asynccontextmanager
async def docker_s3(settings: S3Settings, on_progress: Callable[[str], None]) -> AsyncIterator[tuple[S3Endpoint, None]]:
    """MinIO in a container, with random keys. Raises `PartError`."""
    port = free_port("s3", settings.port)
    access_key, secret_key = secrets.token_hex(10), secrets.token_urlsafe(30)
    environment = {"MINIO_ROOT_USER": access_key, "MINIO_ROOT_PASSWORD": secret_key}
    async with _container("s3", MINIO_IMAGE, 9000, port, environment, "server /data", on_progress):
        await _until("s3", lambda: _minio_answers(port))
        yield S3Endpoint(f"http://127.0.0.1:{port}", access_key, secret_key, settings.region), None


async def _minio_answers(port: int) -> bool:
    await asyncio.to_thread(http_get, port, "/minio/health/ready")
    return True


@asynccontextmanager
async def _container(
    part: str,
    image: str,
    inner_port: int,
    port: int,
    environment: dict[str, str],
    arguments: str | None,
    on_progress: Callable[[str], None],
) -> AsyncIterator[None]:
    """A container whose one port is published on 127.0.0.1; a crash leaves it to testcontainers' reaper."""
    on_progress(f"{part}: starting a container of {image}")
    container = await asyncio.to_thread(_start, part, image, inner_port, port, environment, arguments)
    try:
        yield
    finally:
        await asyncio.to_thread(container.stop)


def _start(
    part: str, image: str, inner_port: int, port: int, environment: dict[str, str], arguments: str | None
) -> Any:
    try:
        import docker  # type: ignore[import-untyped] # has neither annotations nor stubs among our packages
        from docker.errors import DockerException  # type: ignore[import-untyped] # as above
        from testcontainers.core.container import DockerContainer
    except ImportError as error:
        raise PartError(
            part, "wheel_missing", "the package testcontainers is not installed", hint="install muniment[docker]"
        ) from error
    try:
        docker.from_env(timeout=10).ping()
    except DockerException as error:
        raise PartError(
            part,
            "docker_unreachable",
            f"no container engine answers, and MUNIMENT_{part.upper()}__MODE is docker",
            expected="a Docker API at DOCKER_HOST or the usual socket",
            actual=error,
            hint=f"start the engine, or set MUNIMENT_{part.upper()}__MODE=embedded (needs no Docker)",
        ) from error
    container = DockerContainer(image).with_envs(**environment)
    # with_bind_ports would publish on all addresses
    container.ports[f"{inner_port}/tcp"] = ("127.0.0.1", port)  # type: ignore[assignment] # the engine's client takes it
    if arguments is not None:
        container.with_command(arguments)
    try:
        return container.start()
    except DockerException as error:
        raise PartError(
            part, "container_failed", f"a container of {image} could not be started", actual=error
        ) from error


async def _until(part: str, answers: Callable[[], Awaitable[bool]]) -> None:
    last: OSError | None = None
    try:
        async with asyncio.timeout(READY_SECONDS):
            while True:
                try:
                    if await answers():
                        return
                except OSError as error:
                    last = error
                await asyncio.sleep(0.2)
    except TimeoutError as error:
        raise PartError(
            part,
            "part_not_ready",
            f"the container of {part} runs but does not answer",
            expected=f"an answer within {READY_SECONDS:.0f} s",
            actual=last or "no answer",
        ) from error
