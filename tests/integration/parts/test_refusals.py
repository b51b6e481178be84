"""Parts that cannot be had, and what the error then says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from jgo.config import GlobalSettings
from pydantic import SecretStr

from muniment.server.parts import (
    KafkaSettings,
    PartError,
    PartsSettings,
    PostgresSettings,
    S3Settings,
    java,
    start_parts,
)
from muniment.server.parts.java import kafka_jars

ELSEWHERE: dict[str, Any] = {
    "kafka": KafkaSettings(mode="external", bootstrap="k:9092"),
    "postgres": PostgresSettings(mode="external", dsn=SecretStr("postgresql://db/muniment")),
    "s3": S3Settings(mode="external", endpoint="http://s3", access_key="AK", secret_key=SecretStr("SK")),
}


@pytest.fixture
def fresh_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that has neither Kafka nor any memory of it."""
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    monkeypatch.setenv("JGO_CACHE_DIR", str(tmp_path / "jgo"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


async def test_a_download_that_is_impossible_says_what_to_do(fresh_machine: Path) -> None:
    kafka = KafkaSettings(maven_repository="http://127.0.0.1:9/maven2")
    settings = PartsSettings(data_dir=fresh_machine / "data", **{**ELSEWHERE, "kafka": kafka})
    progress: list[str] = []
    with pytest.raises(PartError) as caught:
        async with start_parts(settings, on_progress=progress.append):
            pass
    assert (caught.value.part, caught.value.code) == ("kafka", "download_failed")
    text = str(caught.value)
    for word in (
        "org.apache.kafka:kafka_2.13:4.3.1",  # what was tried
        "http://127.0.0.1:9/maven2",  # where
        str(fresh_machine / "m2"),  # where else it could be
        "refused",  # the cause
        "MUNIMENT_KAFKA__MODE=external",  # what to do
        "MUNIMENT_KAFKA__MAVEN_REPOSITORY",
    ):
        assert word in text
    assert caught.value.__cause__ is not None
    assert progress == ["kafka: looking for Apache Kafka (46 jars, 44 MB, fetched once)"]


@pytest.fixture
def mirror() -> Iterator[str]:
    """A Maven repository on this machine, the user's own local one; at its first jar it answers 503."""
    java._resolve(None, java._Progress(lambda _: None))  # fills it if need be
    handler = partial(Busy, failures=[503], directory=str(GlobalSettings.load().repo_cache))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Busy(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, failures: list[int], **options: Any) -> None:
        self.failures = failures
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        if self.path.endswith(".jar") and self.failures:
            self.send_error(self.failures.pop())
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


async def test_kafka_comes_from_a_mirror_whatever_goes_wrong_once(mirror: str, fresh_machine: Path) -> None:
    progress: list[str] = []
    jars = await kafka_jars(mirror, progress.append)
    whole = sizes(jars)
    assert len(whole) == 46
    assert "kafka: fetched 4 MiB" in progress

    tear(next(jar for jar in jars if jar.name.startswith("scala-library")))
    forget(fresh_machine)
    assert sizes(await kafka_jars(mirror, progress.append)) == whole


def sizes(jars: list[Path]) -> dict[str, int]:
    return {jar.name: jar.stat().st_size for jar in jars}


def tear(jar: Path) -> None:
    with jar.open("r+b") as file:
        file.truncate(1000)


def forget(machine: Path) -> None:
    (machine / "cache" / "muniment" / "kafka-classpath.json").unlink()


@pytest.mark.parametrize("part", ["kafka", "postgres", "s3"])
async def test_without_a_container_engine_docker_mode_says_so(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("testcontainers", reason="muniment[docker] is not installed")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    in_docker = ELSEWHERE[part].model_copy(update={"mode": "docker"})
    settings = PartsSettings(data_dir=tmp_path / "data", **{**ELSEWHERE, part: in_docker})
    with pytest.raises(PartError, match=f"MUNIMENT_{part.upper()}__MODE=embedded") as caught:
        async with start_parts(settings):
            pass
    assert (caught.value.part, caught.value.code) == (part, "docker_unreachable")
    assert "no container engine answers" in str(caught.value)
