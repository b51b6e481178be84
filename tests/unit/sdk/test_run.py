from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from muniment.sdk import Client, capture
from muniment.sdk.run import code, environment, without_credentials
from muniment.testing.fake_registry import FakeRegistry


def test_a_run_is_published_when_its_block_ends(registry: FakeRegistry, client: Client, folder: Path) -> None:
    with capture("digits", client=client, run_id="run-7", wait=True) as run:
        run.log_param("lr", 0.5)
        run.log_params({"epochs": 2}, lr=0.1)
        run.log_metric("accuracy", 0.9)
        run.log_metrics(accuracy=0.97)
        run.log_dataset("train", "s3://data/train", rows=1797)
        run.save(folder)
        run.save(folder / "config.json", name="extra/config.json")
        assert registry.requests == [], "nothing is sent while it trains"
    manifest = registry.versions[0]["manifest"]
    assert manifest["params"] == {"lr": 0.1, "epochs": 2}
    assert manifest["metrics"] == {"accuracy": 0.97}
    assert [(item["name"], item["uri"], item["rows"]) for item in manifest["datasets"]] == [
        ("train", "s3://data/train", 1797)
    ]
    assert manifest["run_id"] == "run-7"
    assert manifest["environment"]["packages"]["pydantic"]
    assert [file["path"] for file in manifest["files"]] == ["config.json", "extra/config.json", "weights/model.bin"]
    assert run.publication is not None
    assert run.publication.version is not None


def test_trouble_with_publishing_is_one_warning(registry: FakeRegistry, client: Client, folder: Path) -> None:
    registry.intercept = lambda _: httpx2.Response(500)
    with (
        pytest.warns(RuntimeWarning, match="the run of digits was not published") as caught,
        capture("digits", client=client) as run,
    ):
        run.save(folder)
    assert len(caught) == 1
    assert run.publication is None


@pytest.mark.parametrize("mistake", ["nowhere", "metric"])
def test_trouble_with_recording_is_one_warning(client: Client, folder: Path, mistake: str) -> None:
    def train() -> None:
        with capture("digits", client=client) as run:
            run.save(folder / "nowhere" if mistake == "nowhere" else folder)
            run.log_metric("loss", float("nan"))

    with pytest.warns(RuntimeWarning, match="was not published") as caught:
        train()
    assert len(caught) == 1


def test_nobody_to_publish_to_is_one_warning(folder: Path) -> None:
    with pytest.warns(RuntimeWarning, match="muniment up"), capture("digits") as run:
        run.save(folder)


def test_a_block_that_fails_publishes_nothing(registry: FakeRegistry, client: Client, folder: Path) -> None:
    def train() -> None:
        with capture("digits", client=client) as run:
            run.save(folder)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert registry.requests == []


def test_only_the_first_rank_publishes(
    registry: FakeRegistry, client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with capture("digits", client=client) as run:
        run.save(folder)
    assert registry.requests == []


def test_git_says_where_the_code_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        settings = ["-c", "user.name=n", "-c", "user.email=e@example.test", "-c", "init.defaultBranch=trunk"]
        subprocess.run(["git", "-C", str(tmp_path), *settings, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "train.py").write_text("x")
    git("add", "train.py")
    git("commit", "-m", "first")
    git("remote", "add", "origin", "https://me:hunter2@git.example.test/team/code.git")
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python", "train.py", "--lr", "0.1"])
    found = code(tmp_path)
    assert found is not None
    assert found["command"] == "python train.py --lr 0.1"
    assert len(found["commit"]) == 40
    assert (found["branch"], found["dirty"]) == ("trunk", False)
    assert found["repository"] == "https://git.example.test/team/code.git"
    (tmp_path / "train.py").write_text("y")
    changed = code(tmp_path)
    assert changed is not None
    assert changed["dirty"] is True


def test_outside_a_repository_there_is_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert code(tmp_path) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://me:pw@host.test/a.git", "https://host.test/a.git"),
        ("https://token@host.test:8443/a.git?x=1#y", "https://host.test:8443/a.git"),
        ("git@host.test:team/a.git", "git@host.test:team/a.git"),
    ],
)
def test_remotes_lose_their_credentials(url: str, expected: str) -> None:
    assert without_credentials(url) == expected


def test_packages_may_be_left_out() -> None:
    assert environment(packages=False)["packages"] == {}
