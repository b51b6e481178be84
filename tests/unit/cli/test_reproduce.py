"""`muniment reproduce`, and `publish --reproduces`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from muniment.testing.fake_registry import FakeRegistry

from .conftest import Run


def test_a_run_is_repeated_by_its_folder(run: Run, registry: FakeRegistry, folder: Path, tmp_path: Path) -> None:
    assert run("publish", folder, "--model", "digits", "--param", "lr=0.1", "--wait", "-q").code == 0
    again = tmp_path / "again"
    done = run("reproduce", "digits@main", again, "--json")
    assert done.code == 0
    assert set(done.json["files"]) == {item.name for item in again.iterdir()}
    assert any("command" in line for line in done.json["missing"])
    assert json.loads((again / "params.json").read_text()) == {"lr": 0.1}
    assert run("reproduce", "digits@main", again).code == 6, "nothing is overwritten"
    told = run("reproduce", "digits@main", tmp_path / "other")
    assert "The run did not say which command started it." in told.out
    assert "--reproduces digits/1" in told.err


def test_a_rerun_names_what_it_repeats(run: Run, registry: FakeRegistry, folder: Path) -> None:
    first = run("publish", folder, "--model", "digits", "--wait", "--json").json["id"]
    said = []

    def listen(request: Any) -> None:
        if request.url.path.endswith("/publications"):
            said.append(json.loads(request.read())["reproduces"])

    registry.intercept = listen
    rerun = ("publish", folder, "--model", "digits", "--run", "again", "--wait", "-q")
    assert run(*rerun, "--reproduces", "digits@main").code == 0
    assert said == [first]
    assert run(*rerun, "--reproduces", "digits@none").code == 4


def test_without_a_directory_it_is_named_after_the_version(
    run: Run, registry: FakeRegistry, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("publish", folder, "--model", "digits", "--wait", "-q").code == 0
    monkeypatch.chdir(tmp_path)
    assert run("reproduce", "digits@main").code == 0
    assert (tmp_path / "again-digits-1" / "params.json").exists()


def test_a_rerun_that_is_the_very_same_version_is_told(run: Run, registry: FakeRegistry, folder: Path) -> None:
    assert run("publish", folder, "--model", "digits", "--wait", "-q").code == 0
    done = run("publish", folder, "--model", "digits", "--wait", "--reproduces", "digits/1")
    assert done.code == 0
    assert "this is digits/1 itself" in done.err
    assert "--run NAME" in done.err


def test_the_command_that_trained_it_is_said_and_not_this_one(run: Run, registry: FakeRegistry, folder: Path) -> None:
    publish = ("publish", folder, "--model", "digits", "--wait", "-q")

    def code() -> Any:
        return run("versions", "show", "digits@main", "--json").json["manifest"].get("code")

    assert run(*publish, "--command", "python train.py --lr 0.1").code == 0
    assert code() == {"command": "python train.py --lr 0.1"}
    subprocess.run(["git", "init", "-q", "."], check=True)
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.test"]
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    assert run(*publish, "--git").code == 0
    assert "command" not in code(), "this process did not train it"
    assert len(code()["commit"]) == 40
