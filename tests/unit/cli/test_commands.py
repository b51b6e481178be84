"""What each command sends, prints and says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from muniment.testing.fake_registry import FakeRegistry
from tests.unit.cli.conftest import Run

PUBLICATION = "11111111-2222-4333-8444-555555555555"


# -- publish


def test_publish_prints_the_version_as_one_json_line(run: Run, registry: FakeRegistry, folder: Path) -> None:
    line = (
        "publish",
        folder,
        "--model",
        "digits",
        "--param",
        "lr=0.1",
        "--metric",
        "accuracy=0.97",
        "--wait",
        "--json",
    )
    done = run(*line)
    assert done.code == 0
    assert done.out.startswith(f'{{"id":"{registry.versions[0]["id"]}","number":1,"branch":"main"')
    assert done.out.count("\n") == 1
    assert run(*line).out == done.out, "the same again answers the same"
    facts = registry.versions[0]["manifest"]
    assert (facts["params"], facts["metrics"]) == ({"lr": 0.1}, {"accuracy": 0.97})


def test_publish_takes_every_fact(run: Run, registry: FakeRegistry, folder: Path) -> None:
    parent = "sha256:" + "ab" * 32
    options = {
        "--hyperparam": "layers=2",
        "--dataset": "train=s3://data/t.csv@v2",
        "--tag": "team=vision",
        "--role": "model.bin=weights",
        "--parent": f"{parent}:fine-tune",
        "--branch": "exp/a",
        "--experiment": "e-1",
        "--run": "r-1",
        "--description": "best so far",
    }
    tokens = [token for pair in options.items() for token in pair]
    assert run("publish", folder, "--model", "digits", *tokens, "--param", "a=1", "--param", "b=x", "--wait").code == 0
    (version,) = registry.versions
    facts = version["manifest"]
    assert facts["params"] == {"a": 1, "b": "x"}
    assert facts["hyperparams"] == {"layers": 2}
    assert facts["datasets"][0]["digest"] == "v2"
    assert facts["parents"] == [{"id": parent, "kind": "fine-tune"}]
    assert (facts["experiment_id"], facts["run_id"]) == ("e-1", "r-1")
    assert facts["files"][0]["role"] == "weights"
    assert (version["branch"], version["tags"]) == ("exp/a", {"team": "vision"})


def test_publish_tells_people_what_went_and_what_is_next(run: Run, registry: FakeRegistry, folder: Path) -> None:
    done = run("publish", folder, "--model", "digits", "--wait")
    assert "version  digits/1\n" in done.out
    assert registry.versions[0]["id"] in done.out
    assert "publishing 1 file, 700 B" in done.err
    assert "left out, since hidden: .git" in done.err
    assert "\nupload    700 B" in done.err
    assert done.err.endswith("next: muniment download digits/1 DIR\n")


def test_publish_quietly_prints_the_id_alone(run: Run, registry: FakeRegistry, folder: Path) -> None:
    done = run("publish", folder, "--model", "digits", "--wait", "-q")
    assert (done.out, done.err) == (f"{registry.versions[0]['id']}\n", "")


def test_publish_of_named_files(run: Run, registry: FakeRegistry, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("# digits")
    assert run("publish", folder / "model.bin", tmp_path / "card.md", "--model", "digits", "--wait").code == 0
    assert [file["path"] for file in registry.versions[0]["files"]] == ["card.md", "model.bin"]


def test_a_rejection_is_three_with_both_digests(run: Run, registry: FakeRegistry, folder: Path) -> None:
    def spoil(request: httpx2.Request) -> httpx2.Response | None:
        if request.method != "PUT":
            return None
        registry.objects.setdefault("/" + request.url.path.rpartition("/")[2], []).append(b"spoilt")
        return httpx2.Response(200)

    registry.intercept = spoil
    done = run("publish", folder, "--model", "digits", "--wait", "--json")
    assert (done.code, done.out) == (3, "")
    error = done.error["error"]
    assert error["code"] == "digest_mismatch"
    assert error["expected"] != error["actual"]
    assert error["message"].startswith("model.bin: ")


def test_a_candidate_is_listed_and_committed(run: Run, registry: FakeRegistry, folder: Path) -> None:
    done = run("publish", folder, "--model", "digits", "--commit", "manual", "--wait", "--json")
    publication = done.json["publication"]
    assert done.json["stage"] == "candidate"
    assert [item["publication"] for item in run("candidates", "ls", "--json").lines] == [publication]
    done = run("commit", publication, "--tag", "reviewed=yes", "--description", "best", "--branch", "exp/b", "--json")
    assert (done.code, done.json["number"], done.json["branch"]) == (0, 1, "exp/b")
    assert registry.versions[0]["tags"] == {"reviewed": "yes"}


def test_without_waiting_the_next_step_is_to_look(run: Run, registry: FakeRegistry, folder: Path) -> None:
    registry._commit = lambda publication, decision: {}  # type: ignore[method-assign]  # reason: never done
    done = run("publish", folder, "--model", "digits")
    assert done.code == 0
    (publication,) = registry.publications
    assert f"next: muniment publications show {publication} --wait" in done.err
    done = run("publish", folder, "--model", "digits", "--wait", "--timeout", "0", "--json")
    assert (done.code, done.error["error"]["code"]) == (7, "wait_timeout")


# -- reading


@pytest.fixture
def published(run: Run, registry: FakeRegistry, folder: Path) -> FakeRegistry:
    assert run("publish", folder, "--model", "digits", "--metric", "accuracy=0.97", "--wait", "-q").code == 0
    return registry


def test_download_and_verify(run: Run, published: FakeRegistry, folder: Path, tmp_path: Path) -> None:
    back = tmp_path / "back"
    done = run("download", "digits@main", back)
    assert done.code == 0
    assert (back / "model.bin").read_bytes() == (folder / "model.bin").read_bytes()
    assert f"next: muniment verify --dir {back}" in done.err
    identity = published.versions[0]["id"]
    for tokens in (("digits/1", "--dir", back), ("--dir", back, "--id", identity), ("digits/1",)):
        done = run("verify", *tokens, "--json")
        assert (done.code, done.json["ok"], done.json["id"]) == (0, True, identity)
    assert run("verify", "--dir", back, "--id", "sha256:" + "0" * 64).code == 6
    (back / "model.bin").write_bytes(b"W" * 700)
    done = run("verify", "--dir", back, "--json")
    assert (done.code, done.json["ok"]) == (1, False)
    assert [(item["kind"], item["path"]) for item in done.json["problems"]] == [("changed", "model.bin")]
    assert "changed   model.bin  expected sha256:" in run("verify", "digits/1", "--dir", back).out


def test_versions_and_log(run: Run, published: FakeRegistry) -> None:
    identity = published.versions[0]["id"]
    for tokens in (("versions", "ls", "digits"), ("log", "digits@main")):
        assert run(*tokens, "-q").out == f"{identity}\n"
        assert run(*tokens, "--json").lines[0]["number"] == 1
        header, row = run(*tokens).out.splitlines()
        assert header.split()[:3] == ["VERSION", "ID", "BRANCH"]
        assert row.split()[:3] == ["digits/1", identity[:19], "main"]
    done = run("versions", "show", "digits/1")
    assert "metrics         accuracy=0.97" in done.out
    assert run("versions", "show", "digits@main", "--json").json["id"] == identity


def test_a_deleted_version_is_listed_as_such(run: Run, published: FakeRegistry) -> None:
    published.versions[0]["deleted"] = {"by": "muniment|pam", "reason": "mislabelled data"}
    assert run("versions", "ls", "digits").out.splitlines()[1].endswith("deleted: mislabelled data")


def test_lists_are_bounded_and_say_so(run: Run, registry: FakeRegistry) -> None:
    registry.lists["models"] = [{"name": f"m{number}", "versions": number} for number in range(5)]
    done = run("models", "ls", "--limit", "3")
    assert done.out.splitlines()[0].split() == ["MODEL", "VERSIONS", "NEWEST", "BRANCH", "COMMITTED"]
    assert len(done.out.splitlines()) == 4
    assert "the first 3 are shown; --limit 0 shows all" in done.err
    assert len(run("models", "ls", "--limit", "0", "--json").lines) == 5
    assert run("models", "ls", "--limit", "5").err == ""


def test_empty_lists_say_so_on_stderr(run: Run, registry: FakeRegistry) -> None:
    registry.lists["models"] = []
    done = run("models", "ls")
    assert (done.code, done.out) == (0, "")
    assert "there are no models yet" in done.err
    assert run("models", "ls", "--json").err == ""


def test_what_others_wrote_cannot_steer_the_terminal(run: Run, registry: FakeRegistry) -> None:
    registry.lists["models"] = [{"name": "m\x1b[31m"}]
    assert "\x1b" not in run("models", "ls").out


def test_publications(run: Run, published: FakeRegistry) -> None:
    (publication,) = published.publications.values()
    published.lists["publications"] = [publication]
    assert run("publications", "ls", "--stage", "committed", "-q").out == f"{publication['id']}\n"
    done = run("publications", "show", publication["id"], "--wait")
    assert "stage        committed" in done.out
    assert "version      digits/1" in done.out
    assert run("publications", "abandon", publication["id"], "--json").json["stage"] == "abandoned"
    assert run("publications", "show", PUBLICATION).code == 4


def test_audit(run: Run, registry: FakeRegistry) -> None:
    entry = {
        "action": "version.committed",
        "operator": "muniment|ci",
        "resource": "models/digits/versions/1",
        "changes": [{"path": "branches/main", "after": "sha256:ab"}],
        "log_time": "2026-11-23T18:40:05.000000Z",
    }
    asked: list[dict[str, str]] = []
    whole = {"index": 7, "leaf_hash": "cd", "entry": entry, "covered_by": {"size": 9}}
    registry.lists["audit/entries"] = [whole]
    registry.intercept = lambda request: asked.append(dict(request.url.params))
    filters = ("--model", "digits", "--publication", PUBLICATION, "--outcome", "done", "--newest")
    done = run("audit", "ls", *filters)
    assert done.out.splitlines()[1].split()[:4] == ["7", "2026-11-23", "18:40:05Z", "muniment|ci"]
    assert asked == [{"model": "digits", "correlation": PUBLICATION, "outcome": "done", "order": "newest"}]
    assert run("audit", "ls", "-q").out == "7\n"
    registry.intercept = lambda _: httpx2.Response(200, json=whole)
    done = run("audit", "show", "7")
    assert "changed branches/main  (nothing) -> sha256:ab\n" in done.out
    assert "covered by             size=9\n" in done.out
    assert run("audit", "show", "7", "--json").json == whole


def test_dead_letters(run: Run, registry: FakeRegistry, sent: list[Any]) -> None:
    letter = {"id": "d-1", "topic": "t", "partition": 0, "offset": 7, "code": "json_malformed", "reason": "no JSON"}
    registry.lists["dead-letters/ingest"] = [letter]
    registry.lists["dead-letters/ingest/d-1"] = [letter]
    assert run("dlq", "ls", "ingest", "-q").out == "d-1\n"
    assert "json_malformed" in run("dlq", "ls", "ingest").out
    assert run("dlq", "retry", "ingest", "d-1", "--json").code == 0
    assert sent == [("POST", "/dead-letters/ingest/d-1/retry", None)]
