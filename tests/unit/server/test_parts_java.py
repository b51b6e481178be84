import json
from pathlib import Path

import pytest

from muniment.server.parts.java import COORDINATES, _Progress, kafka_jars


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "muniment").mkdir()
    return tmp_path / "muniment" / "kafka-classpath.json"


def remember(cache: Path, coordinates: str, jars: list[str]) -> None:
    cache.write_text(json.dumps({"coordinates": coordinates, "jars": jars}))


def silent(_: str) -> None:
    raise AssertionError("a remembered class path needs no work")


async def test_a_remembered_class_path_is_taken_without_resolving(cache: Path) -> None:
    remember(cache, COORDINATES, [__file__])
    assert await kafka_jars(None, silent) == [Path(__file__)]


@pytest.mark.parametrize(
    ("coordinates", "jars"),
    [
        (COORDINATES, ["/nowhere/a.jar"]),
        ("org.apache.kafka:kafka_2.13:1.0.0", [__file__]),
        (COORDINATES, []),
        (COORDINATES, [1]),
    ],
    ids=("jar-gone", "other-version", "empty", "other-shape"),
)
async def test_a_class_path_that_no_longer_holds_is_resolved_again(
    cache: Path, coordinates: str, jars: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(cache, coordinates, jars)
    monkeypatch.setattr("muniment.server.parts.java._resolve", lambda *_: [Path(__file__)])
    assert await kafka_jars(None, lambda _: None) == [Path(__file__)]
    assert await kafka_jars(None, silent) == [Path(__file__)]


def test_progress_is_reported_in_steps_and_an_abandoned_download_ends_at_the_next_file() -> None:
    lines: list[str] = []
    progress = _Progress(lines.append)
    with progress("a.jar", 10 * 2**20) as advance:
        for _ in range(10):
            advance(2**20)
    assert lines == ["kafka: fetched 4 MiB", "kafka: fetched 8 MiB"]
    progress.abandoned = True
    with pytest.raises(InterruptedError), progress("b.jar", 1):
        pass
