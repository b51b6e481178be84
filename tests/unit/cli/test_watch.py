"""`muniment watch`: what it prints, what it runs, where it goes on."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from muniment.cli import running
from muniment.testing.fake_registry import FakeRegistry

from .conftest import Run

VERSION = "sha256:" + "ab" * 32


def event(number: int) -> dict[str, Any]:
    data = {"model": "digits", "number": number, "branch": "main", "id": VERSION}
    return {
        "specversion": "1.0",
        "type": "muniment.version-available.v1",
        "id": f"e{number}",
        "source": "/muniment/registry",
        "time": "2026-11-23T18:40:05.000000Z",
        "data": data,
    }


@pytest.fixture(autouse=True)
def events(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.events = [event(number) for number in range(1, 4)]
    monkeypatch.setattr(running, "FIRST_PAUSE_S", 0.0)


def script(place: Path, text: str) -> str:
    place.write_text(text)
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(place))}"


def test_events_are_printed_with_their_cursor(run: Run) -> None:
    lines = run("watch", "--once", "--json").lines
    assert [(item["cursor"], item["id"]) for item in lines] == [("1", "e1"), ("2", "e2"), ("3", "e3")]
    assert set(lines[0]) == {"cursor", "type", "id", "time", "model", "data"}
    assert [item["cursor"] for item in run("watch", "--since", "2", "--count", "1", "--json").lines] == ["3"]
    assert run("watch", "--since", "2", "--count", "1").out == (
        "2026-11-23 18:40:05Z  version-available   digits/3  main  sha256:abababababab\n"
    )


def test_the_cursor_file_is_gone_on_from(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "place"
    assert [item["id"] for item in run("watch", "--once", "--count", "2", "--cursor", place, "--json").lines] == [
        "e1",
        "e2",
    ]
    assert place.read_text() == "2\n"
    assert [item["id"] for item in run("watch", "--once", "--cursor", place, "--json").lines] == ["e3"]
    assert run("watch", "--once", "--cursor", place, "--json").out == ""


def test_a_command_gets_the_event(run: Run, tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = script(
        tmp_path / "hook.py",
        "import json, os, sys\n"
        f"with open({str(told)!r}, 'a') as file:\n"
        "    names = {k: v for k, v in os.environ.items() if k.startswith('MUNIMENT_EVENT_')}\n"
        "    file.write(json.dumps([json.load(sys.stdin), names]) + '\\n')\n",
    )
    assert run("watch", "--once", "--exec", command).code == 0
    rows = [json.loads(line) for line in told.read_text().splitlines()]
    assert [row[0] for row in rows] == [event(number) for number in range(1, 4)]
    assert rows[1][1] == {
        "MUNIMENT_EVENT_ID": "e2",
        "MUNIMENT_EVENT_TYPE": "version-available",
        "MUNIMENT_EVENT_TIME": "2026-11-23T18:40:05.000000Z",
        "MUNIMENT_EVENT_CURSOR": "2",
        "MUNIMENT_EVENT_MODEL": "digits",
        "MUNIMENT_EVENT_NUMBER": "2",
        "MUNIMENT_EVENT_VERSION": VERSION,
        "MUNIMENT_EVENT_RELEASE": "",
    }


def test_a_command_that_recovers_is_run_again_for_the_same_event(run: Run, tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = script(
        tmp_path / "hook.py",
        "import os, sys\n"
        f"with open({str(told)!r}, 'a+') as file:\n"
        "    file.write(os.environ['MUNIMENT_EVENT_ID'] + ' ')\n"
        f"sys.exit(open({str(told)!r}).read().count('e2') == 1)\n",
    )
    assert run("watch", "--once", "--exec", command).code == 0
    assert told.read_text().split() == ["e1", "e2", "e2", "e3"]


def test_a_command_that_fails_for_good_stops_the_watch_and_the_cursor_stays(run: Run, tmp_path: Path) -> None:
    place, told = tmp_path / "place", tmp_path / "told"
    failing = script(
        tmp_path / "hook.py",
        "import os, sys\n"
        f"open({str(told)!r}, 'a').write(os.environ['MUNIMENT_EVENT_ID'] + ' ')\n"
        "sys.exit(3 if os.environ['MUNIMENT_EVENT_ID'] == 'e2' else 0)\n",
    )
    done = run("watch", "--once", "--cursor", place, "--exec", failing, "--retries", "2", "--json")
    assert done.code == 1
    assert done.error["error"]["code"] == "command_failed"
    assert "e2" in done.error["error"]["message"]
    assert told.read_text().split() == ["e1", "e2", "e2", "e2"]
    assert place.read_text() == "1\n"
    mended = script(tmp_path / "mended.py", "")
    assert [item["id"] for item in run("watch", "--once", "--cursor", place, "--exec", mended, "--json").lines] == [
        "e2",
        "e3",
    ]


def test_a_command_that_hangs_is_killed(run: Run, tmp_path: Path) -> None:
    command = script(tmp_path / "hook.py", "import time; time.sleep(600)")
    done = run("watch", "--once", "--exec", command, "--retries", "0", "--exec-timeout", "0.2", "--json")
    assert (done.code, done.error["error"]["code"]) == (1, "command_failed")


def test_its_output_is_shown_and_keeps_out_of_the_json_lines(registry: FakeRegistry, tmp_path: Path) -> None:
    words = ["watch", "--once", "--count", "1", "--exec", script(tmp_path / "hook.py", "print('deployed')")]
    program = [sys.executable, "-m", "muniment.cli.main", *words]
    plain = subprocess.run(program, capture_output=True, text=True, check=True)
    assert "deployed" in plain.stdout
    lines = subprocess.run([*program, "--json"], capture_output=True, text=True, check=True)
    assert "deployed" in lines.stderr
    assert [json.loads(line)["id"] for line in lines.stdout.splitlines()] == ["e1"]


def test_mistakes_are_told(run: Run, tmp_path: Path) -> None:
    for words, code in (
        (("--exec", ""), 2),
        (("--exec", str(tmp_path / "nothing")), 2),
        (("--retries", "-1"), 2),
        (("--since", "soon"), 3),
        (("--type", "audit-log"), 3),
        (("--over", "kafka"), 2),
        (("--over", "carrier-pigeon"), 2),
    ):
        assert run("watch", "--once", *words).code == code, words


def test_the_time_is_up(run: Run, registry: FakeRegistry) -> None:
    assert run("watch", "--timeout", "0.3").code == 0
    done = run("watch", "--count", "1", "--timeout", "0.3", "--json")
    assert (done.code, done.error["error"]["code"]) == (7, "watch_timeout")
