"""A bisect by hand and by a command, against a server that knows one bad version."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from muniment.testing.fake_registry import FakeRegistry
from tests.unit.cli.conftest import Run


@pytest.fixture
def asked(run: Run, registry: FakeRegistry, folder: Path) -> list[dict[str, Any]]:
    """Five versions; the server halves what lies between good and bad. Returns what it was asked."""
    for number in range(1, 6):
        (folder / "n.txt").write_text(str(number))
        assert run("publish", folder, "--model", "digits", "--wait").code == 0
    questions: list[dict[str, Any]] = []

    def answer(request: httpx2.Request) -> httpx2.Response | None:
        if not request.url.path.endswith("/digits/bisect"):
            return None
        question = json.loads(request.read())
        questions.append(question)
        good = max(int(ref.rpartition("/")[2]) for ref in question["good"])
        bad = int(question["bad"].rpartition("/")[2])
        skipped = {int(ref.rpartition("/")[2]) for ref in question["skipped"]}
        open_ = [number for number in range(good + 1, bad) if number not in skipped]
        shown = [
            {"number": number, "id": f"sha256:{number:064x}", "branch": "main", "operator": "ada"}
            for number in range(7)
        ]
        if open_:
            found = {"next": shown[open_[len(open_) // 2]], "left": len(open_), "steps": 2}
        else:
            why = {"base": shown[good], "text": ["params.a went from 1 to 2: consistent with what was found bad"]}
            found = {"first_bad": shown[good + 1 : bad + 1], "why": why, "left": 0, "steps": 0}
        return httpx2.Response(200, json=found)

    registry.intercept = answer
    return questions


def check(folder: Path, body: str) -> str:
    script = folder.parent / "check.py"
    script.write_text(
        f"import os, pathlib\nn = int(pathlib.Path(os.environ['MUNIMENT_BISECT_DIR'], 'n.txt').read_text())\n{body}\n"
    )
    return str(script)


def test_a_command_decides_and_a_killed_run_goes_on(
    run: Run, asked: list[dict[str, Any]], folder: Path, machine: Path
) -> None:
    assert run("bisect", "start", "--good", "digits/1", "--bad", "digits/5").code == 0
    dying = run(
        "bisect", "run", "--json", "--", sys.executable, check(folder, "raise SystemExit(130 if n == 2 else n >= 3)")
    )
    assert (dying.code, dying.error["error"]["code"]) == (1, "bisect_aborted")
    kept = json.loads((machine / ".muniment-bisect.json").read_text())
    assert (kept["bad"], kept["next"]) == ("digits/3", "digits/2"), "what was judged is kept"
    assert asked[-1]["known_bad"] == ["digits/5"], "those called bad before are evidence for the why"
    del kept["known_bad"]  # as an older command has written it
    (machine / ".muniment-bisect.json").write_text(json.dumps(kept))
    done = run("bisect", "run", "--json", "--", sys.executable, check(folder, "raise SystemExit(n >= 3)"))
    assert (done.code, [one["number"] for one in done.json["first_bad"]]) == (0, [3])
    assert run("bisect", "good").code == 6, "it is over"
    assert run("bisect", "reset").code == 0
    assert not (machine / ".muniment-bisect").exists()
    assert run("bisect", "good").code == 4


def test_a_person_decides_and_125_skips(run: Run, asked: list[dict[str, Any]], folder: Path, machine: Path) -> None:
    assert run("bisect", "start", "--good", "digits/1", "--bad", "digits/5").code == 0
    assert [path.name for path in (machine / ".muniment-bisect").iterdir()] == ["3"]
    assert run("bisect", "good").code == 0
    done = run("bisect", "run", "--", sys.executable, check(folder, "raise SystemExit(125)"))
    assert done.code == 0, done.err
    assert asked[-1]["skipped"] == ["digits/4"]
    assert "one of these" in done.out
    assert "consistent with" in done.out


def test_a_state_that_is_not_understood_is_told(run: Run, machine: Path) -> None:
    (machine / ".muniment-bisect.json").write_text('{"model": 1}')
    done = run("bisect", "bad", "--json")
    assert (done.code, done.error["error"]["code"]) == (6, "bisect_state_invalid")


def test_a_verdict_given_once_more_after_an_error_counts_once(
    run: Run, registry: FakeRegistry, asked: list[dict[str, Any]], machine: Path
) -> None:
    assert run("bisect", "start", "--good", "digits/1", "--bad", "digits/5").code == 0
    answer = registry.intercept
    away = {"code": "unavailable", "title": "away", "status": 503, "retryable": False}
    registry.intercept = lambda request: (
        httpx2.Response(503, json=away) if request.url.path.endswith("/bisect") else None
    )
    assert run("bisect", "good").code == 7
    registry.intercept = answer
    assert run("bisect", "good").code == 0
    assert (asked[-1]["good"], asked[-1]["bad"]) == (["digits/1", "digits/3"], "digits/5")
    assert json.loads((machine / ".muniment-bisect.json").read_text())["next"] == "digits/4"


def test_a_version_that_was_not_fetched_is_not_judged_by_a_verdict_on_the_one_before(
    run: Run, registry: FakeRegistry, asked: list[dict[str, Any]], machine: Path
) -> None:
    assert run("bisect", "start", "--good", "digits/1", "--bad", "digits/5").code == 0
    answer = registry.intercept
    assert answer is not None

    def damaged(request: httpx2.Request) -> httpx2.Response | None:
        if request.url.path.endswith("/files"):
            return httpx2.Response(409, json={"code": "version_damaged", "title": "damaged", "status": 409})
        return answer(request)

    registry.intercept = damaged
    refused = run("bisect", "good")
    assert refused.code == 6
    assert "muniment bisect skip" in refused.err
    registry.intercept = answer
    told = run("bisect", "good", "--json")
    assert (told.code, told.error["error"]["code"]) == (6, "bisect_not_tested")
    assert json.loads((machine / ".muniment-bisect.json").read_text())["good"] == ["digits/1", "digits/3"]
    assert run("bisect", "good").code == 0, "now it is there"
    assert asked[-1]["good"] == ["digits/1", "digits/3", "digits/4"]


def test_a_version_that_cannot_be_fetched_is_skipped(
    run: Run, registry: FakeRegistry, asked: list[dict[str, Any]]
) -> None:
    answer = registry.intercept
    assert answer is not None

    def damaged(request: httpx2.Request) -> httpx2.Response | None:
        if request.url.path.endswith("/files") and "00003" in str(request.url.params) + request.url.path:
            return httpx2.Response(409, json={"code": "version_damaged", "title": "damaged", "status": 409})
        return answer(request)

    registry.intercept = damaged
    run("bisect", "start", "--good", "digits/1", "--bad", "digits/5")
    assert run("bisect", "skip").code == 0
    assert asked[-1]["skipped"] == ["digits/3"]


@pytest.mark.parametrize("code", [126, 127, 128])
def test_a_program_that_the_shell_cannot_run_finds_no_version_bad(
    run: Run, asked: list[dict[str, Any]], machine: Path, code: int
) -> None:
    assert run("bisect", "start", "--good", "digits/1", "--bad", "digits/5").code == 0
    done = run("bisect", "run", "--json", "--", sys.executable, "-c", f"raise SystemExit({code})")
    assert (done.code, done.error["error"]["code"]) == (1, "bisect_aborted")
    kept = json.loads((machine / ".muniment-bisect.json").read_text())
    assert (kept["bad"], kept["next"]) == ("digits/5", "digits/3")


def test_a_program_learns_what_to_test(run: Run, asked: list[dict[str, Any]], machine: Path) -> None:
    begun = run("bisect", "start", "--good", "digits/1", "--bad", "digits/5", "--json").json
    assert begun == {"model": "digits", "next": "digits/3", "directory": str(machine / ".muniment-bisect" / "3")}
    assert run("bisect", "good", "-q").out == f"{machine / '.muniment-bisect' / '4'}\n"
    done = run("bisect", "run", "--", sys.executable, "-c", "raise SystemExit(1)")
    assert "muniment bisect run" not in done.err, "what one does by hand is not said while a command runs"
