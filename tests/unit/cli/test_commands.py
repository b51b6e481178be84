"""What each command sends, prints and says."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest

from muniment.contracts import signature
from muniment.testing.fake_registry import FakeRegistry
from tests.unit.cli.conftest import Run

PUBLICATION = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def sent(registry: FakeRegistry) -> list[tuple[str, str, Any]]:
    """Every change that is asked for: method, path, body."""
    seen: list[tuple[str, str, Any]] = []

    def look(request: httpx2.Request) -> httpx2.Response | None:
        if request.method == "GET":
            return None
        seen.append((request.method, request.url.path.removeprefix("/api/v1"), json.loads(request.read() or b"null")))
        answer = {"id": "s-1", "kid": "ab" * 8, "token": "mun_secret", "secret": "whsec_x", "state": "paused"}
        return httpx2.Response(200, json=answer)

    registry.intercept = look
    return seen


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


# -- changing


def test_subscriptions(run: Run, registry: FakeRegistry, sent: list[Any]) -> None:
    tokens = ("--url", "https://deploy.test/hook", "--type", "version-available", "--model", "dig*")
    done = run("subscriptions", "create", "deployer", *tokens)
    assert done.code == 0
    assert "whsec_x" in done.out
    assert "shown once" in done.err
    for verb in ("pause", "resume", "rotate", "test", "retry", "delete"):
        assert run("subscriptions", verb, "s-1", "--json").code == 0
    assert sent == [
        (
            "POST",
            "/subscriptions",
            {
                "name": "deployer",
                "channel": "webhook",
                "url": "https://deploy.test/hook",
                "types": ["version-available"],
                "model": "dig*",
            },
        ),
        ("PATCH", "/subscriptions/s-1", {"paused": True}),
        ("PATCH", "/subscriptions/s-1", {"paused": False}),
        ("POST", "/subscriptions/s-1/secret", {"old_valid_hours": 24}),
        ("POST", "/subscriptions/s-1/test", None),
        ("POST", "/deliveries/s-1/retry", None),
        ("DELETE", "/subscriptions/s-1", None),
    ]
    registry.lists["subscriptions"] = [
        {"id": "s-1", "name": "deployer", "types": ["version-available"], "model": "dig*"}
    ]
    assert "types=version-available, model=dig*" in run("subscriptions", "ls").out


def test_a_subscription_with_conditions_a_digest_and_an_end(run: Run, sent: list[Any]) -> None:
    wishes = ("--tag", "env=production", "--metric", "accuracy>=0.95", "--metric", "loss < 1", "--digest", "daily")
    times = ("--quiet-hours", "22:00-07:00 Europe/Berlin", "--expires", "2030-01-01T00:00:00Z", "--damp-minutes", "60")
    assert run("subscriptions", "create", "team", "--url", "https://a.test/", *wishes, *times).code == 0
    ((_, _, body),) = sent
    assert body["tags"] == ["env=production"]
    assert body["metrics"] == ["accuracy>=0.95", "loss < 1"]
    assert (body["digest"], body["quiet_hours"], body["damp_minutes"]) == ("daily", "22:00-07:00 Europe/Berlin", 60)
    assert body["expires_at"] == "2030-01-01T00:00:00Z"


def test_a_subscription_is_changed_by_what_is_given_alone(run: Run, sent: list[Any]) -> None:
    changes = ("--owner", "muniment|bob", "--model", "prod-*", "--state", "paused", "--no", "branch", "--no", "expires")
    assert run("subscriptions", "change", "s-1", *changes, "--json").code == 0
    assert sent == [
        (
            "PATCH",
            "/subscriptions/s-1",
            {"owner": "muniment|bob", "model": "prod-*", "paused": True, "branch": None, "expires_at": None},
        )
    ]
    for wrong in ((), ("--no", "secret"), ("--no", "model", "--model", "a")):
        assert run("subscriptions", "change", "s-1", *wrong).code == 2
    assert len(sent) == 1


def test_a_replay_needs_one_start_and_goes_on_to_the_end(run: Run, registry: FakeRegistry, sent: list[Any]) -> None:
    steps = iter(
        [
            {"queued": 2, "again": 1, "kept": 0, "cursor": 7, "complete": False, "pruned": True},
            {"queued": 1, "again": 0, "kept": 4, "cursor": 9, "complete": True, "pruned": False},
        ]
    )
    registry.intercept = lambda request: (
        httpx2.Response(200, json=next(steps)) if request.url.path.endswith("/replay") else None
    )
    assert run("subscriptions", "replay", "s-1").code == 2
    assert run("subscriptions", "replay", "s-1", "--since", "1d", "--after", "3").code == 2
    done = run("subscriptions", "replay", "s-1", "--after", "3", "--json")
    assert json.loads(done.out) == {"id": "s-1", "queued": 3, "again": 1, "kept": 4, "pruned": True, "cursor": 9}


def test_a_preview_asks_for_page_after_page(run: Run, registry: FakeRegistry) -> None:
    asked: list[Any] = []

    def page(request: httpx2.Request) -> httpx2.Response | None:
        if not request.url.path.endswith("/preview"):
            return None
        asked.append(json.loads(request.content))
        items = [{"cursor": len(asked), "type": "muniment.version-available.v1", "model": "digits", "data": {}}]
        return httpx2.Response(200, json={"items": items, "cursor": len(asked), "complete": len(asked) == 2})

    registry.intercept = page
    done = run("subscriptions", "preview", "--metric", "accuracy>0.9", "--days", "7", "-q")
    assert done.out.split() == ["1", "2"]
    assert asked == [{"metrics": ["accuracy>0.9"], "days": 7}, {"metrics": ["accuracy>0.9"], "days": 7, "after": 1}]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ("--webhook", "https://d.test/h", "--format", "mlflow", "--signing", "hmac"),
            {"channel": "webhook", "url": "https://d.test/h", "format": "mlflow", "signing": "hmac"},
        ),
        (
            ("--slack", "https://s.test/h", "--title", "{model}"),
            {"channel": "slack", "url": "https://s.test/h", "title": "{model}"},
        ),
        (("--teams", "https://t.test/h"), {"channel": "teams", "url": "https://t.test/h"}),
        (("--email", "a@x.test"), {"channel": "email", "email": "a@x.test"}),
        (("--kafka", "subscriber.a"), {"channel": "kafka", "topic": "subscriber.a"}),
        (("--apprise", "discord://a/b"), {"channel": "apprise", "url": "discord://a/b"}),
    ],
)
def test_a_subscription_of_each_channel(run: Run, sent: list[Any], options: tuple[str, ...], expected: Any) -> None:
    assert run("subscriptions", "create", "s", *options).code == 0
    assert sent == [("POST", "/subscriptions", {"name": "s", **expected})]


@pytest.mark.parametrize("options", [(), ("--email", "a@x.test", "--slack", "https://s.test/h")])
def test_a_subscription_has_one_channel(run: Run, sent: list[Any], options: tuple[str, ...]) -> None:
    done = run("subscriptions", "create", "s", *options)
    assert done.code == 2
    assert "--webhook, --slack, --teams, --email, --kafka, --apprise" in done.err
    assert sent == []


def test_tokens(run: Run, registry: FakeRegistry, sent: list[Any]) -> None:
    done = run("token", "create", "ci", "--role", "reader", "--role", "writer", "--days", "30", "-q")
    assert done.out == "mun_secret\n"
    assert run("token", "revoke", "ci").code == 0
    assert sent == [
        ("POST", "/tokens", {"name": "ci", "roles": ["reader", "writer"], "days": 30}),
        ("DELETE", "/tokens/ci", None),
    ]
    registry.lists["tokens"] = [{"name": "ci", "roles": ["reader", "writer"]}]
    assert "reader, writer" in run("token", "ls").out


def test_publisher_keys_stay_private(run: Run, registry: FakeRegistry, sent: list[Any], tmp_path: Path) -> None:
    out = tmp_path / "trainer.pem"
    assert run("token", "key", "create", "trainer", "--out", out).code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert b"PRIVATE KEY" in out.read_bytes()
    ((method, path, body),) = sent
    assert (method, path, body["account"]) == ("POST", "/publisher-keys", "trainer")
    assert len(signature.public_key_of_pem(body["public_key"].encode())) == 32
    assert run("token", "key", "create", "trainer", "--out", out).code == 1, "an old key is never written over"
    assert b"PRIVATE KEY" in out.read_bytes()
    assert run("token", "key", "revoke", "ab" * 8).code == 0


def test_a_key_that_was_not_registered_is_not_left_behind(run: Run, registry: FakeRegistry, tmp_path: Path) -> None:
    registry.intercept = lambda _: httpx2.Response(403)
    assert run("token", "key", "create", "trainer", "--out", tmp_path / "k.pem").code == 5
    assert not (tmp_path / "k.pem").exists()


def test_a_public_key_from_elsewhere(run: Run, registry: FakeRegistry, sent: list[Any], tmp_path: Path) -> None:
    (tmp_path / "k.pub").write_text("-----BEGIN PUBLIC KEY-----")
    assert run("token", "key", "create", "trainer", "--public-key", tmp_path / "k.pub").code == 0
    assert sent[0][2]["public_key"] == "-----BEGIN PUBLIC KEY-----"


# -- about


def test_version(run: Run, registry: FakeRegistry) -> None:
    registry.intercept = lambda _: httpx2.Response(200, json={"version": "9.9"})
    assert run("version", "--json").json == run("--version", "--json").json
    assert run("version", "--remote", "--json").json["server"] == {"version": "9.9"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run: Run, shell: str) -> None:
    done = run("completion", shell)
    assert done.code == 0
    assert "publish" in done.out
    assert "subscriptions" in done.out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["pub"], ["publish", "publications"]),
        (["token", ""], ["key", "create", "ls", "revoke"]),
        (["token", "key", "c"], ["create"]),
        (["publish", "out", "--model", "digits", "--me"], ["--metric"]),
        (["models", "ls", "--l"], ["--limit"]),
        (["models", "nonsense", ""], []),
    ],
)
def test_bash_is_offered_what_may_follow(run: Run, tmp_path: Path, typed: list[str], offered: list[str]) -> None:
    (tmp_path / "script").write_text(run("completion", "bash").out)
    ask = 'source "$1"; shift; COMP_WORDS=(muniment "$@"); COMP_CWORD=$#; _muniment; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", ask, "bash", str(tmp_path / "script"), *typed], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == offered


def test_a_readable_credentials_file_is_told(run: Run, registry: FakeRegistry, tmp_path: Path) -> None:
    registry.lists["models"] = []
    place = tmp_path / "credentials.json"
    place.write_text(json.dumps({"url": registry.url, "token": "t"}))
    place.chmod(0o644)
    done = run("models", "ls", "--credentials", place, "--json")
    assert done.code == 0
    assert "warning:" not in done.err, "the environment has both, the file is not read"
    with pytest.MonkeyPatch.context() as env:
        env.delenv("MUNIMENT_URL")
        env.delenv("MUNIMENT_TOKEN")
        done = run("models", "ls", "--credentials", place)
    assert done.code == 0
    assert "warning:" in done.err
    assert "chmod 600" in done.err
