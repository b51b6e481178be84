"""What the commands that change something send, print and say; and what tells about the program."""

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


# -- changing


def test_subscriptions(run: Run, registry: FakeRegistry, sent: list[Any]) -> None:
    registry.lists["subscriptions"] = [{"id": "s-1", "name": "s-1"}]
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


def test_a_subscription_is_named_by_its_name_too(run: Run, registry: FakeRegistry, sent: list[Any]) -> None:
    registry.lists["subscriptions"] = [{"id": "s-0", "name": "other"}, {"id": "s-1", "name": "Deployer"}]
    for verb in ("pause", "test", "rotate"):
        assert run("subscriptions", verb, "deployer").code == 0
    assert [path for _, path, _ in sent] == [
        "/subscriptions/s-1",
        "/subscriptions/s-1/test",
        "/subscriptions/s-1/secret",
    ]
    lost = run("subscriptions", "show", "nobody")
    assert (lost.code, "subscription_unknown" in lost.err) == (4, True)


def test_a_delivery_is_told_with_its_model_and_its_last_answer(run: Run, registry: FakeRegistry) -> None:
    tried = {"number": 1, "started_at": "2026-01-02T03:04:05.000000Z", "status": 503, "error": "status"}
    one = {
        "id": "d-1",
        "type": "muniment.version-available.v1",
        "model": "digits",
        "state": "pending",
        "attempts": [tried],
        "created_at": "2026-01-02T03:04:05.000000Z",
        "due_at": "2026-01-02T03:05:05.000000Z",
    }
    registry.lists["subscriptions"] = [{"id": "s-1", "name": "s-1"}]
    registry.intercept = lambda request: (
        httpx2.Response(200, json={"items": [one]}) if request.url.path.endswith("/deliveries") else None
    )
    heading, row = run("subscriptions", "deliveries", "s-1").out.splitlines()
    for name, value in (("MODEL", "digits"), ("STATE", "pending"), ("ATTEMPTS", "1"), ("ANSWER", "503")):
        assert row[heading.index(name) :].startswith(value), name


def test_deliveries_of_one_state(run: Run, registry: FakeRegistry) -> None:
    asked = []

    def answered(request: httpx2.Request) -> httpx2.Response | None:
        if not request.url.path.endswith("/deliveries"):
            return None
        asked.append(request.url.params.get("state"))
        return httpx2.Response(200, json={"items": []})

    registry.lists["subscriptions"] = [{"id": "s-1", "name": "s-1"}]
    registry.intercept = answered
    assert "no delivery is dead" in run("subscriptions", "deliveries", "s-1", "--state", "dead").err
    assert "nothing was delivered" in run("subscriptions", "deliveries", "s-1").err
    assert asked == ["dead", None]
    assert run("subscriptions", "deliveries", "s-1", "--state", "lost").code == 2


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


def test_a_subscription_with_conditions_a_digest_and_an_end(run: Run, sent: list[Any]) -> None:
    wishes = ("--tag", "env=production", "--metric", "accuracy>=0.95", "--metric", "loss < 1", "--digest", "daily")
    times = ("--quiet-hours", "22:00-07:00 Europe/Berlin", "--expires", "2030-01-01T00:00:00Z", "--damp-minutes", "60")
    assert run("subscriptions", "create", "team", "--url", "https://a.test/", *wishes, *times).code == 0
    ((_, _, body),) = sent
    assert body["tags"] == ["env=production"]
    assert body["metrics"] == ["accuracy>=0.95", "loss < 1"]
    assert (body["digest"], body["quiet_hours"], body["damp_minutes"]) == ("daily", "22:00-07:00 Europe/Berlin", 60)
    assert body["expires_at"] == "2030-01-01T00:00:00Z"


def test_a_subscription_is_changed_by_what_is_given_alone(run: Run, registry: FakeRegistry, sent: list[Any]) -> None:
    registry.lists["subscriptions"] = [{"id": "s-1", "name": "s-1"}]
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
    registry.lists["subscriptions"] = [{"id": "s-1", "name": "s-1"}]
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
