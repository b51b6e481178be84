"""What `scrub`, and `--force` elsewhere, send and say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from muniment.sdk import scrubbing
from muniment.testing.fake_registry import FakeRegistry
from tests.unit.cli.conftest import Run

GOOD = b"the very bytes"
SHA = hashlib.sha256(GOOD).hexdigest()
RUN: dict[str, Any] = {
    "id": 7,
    "model": "digits",
    "operator": "muniment|root",
    "requested_at": "2026-01-02T03:04:05Z",
    "objects": 2,
    "size": 100,
    "objects_done": 0,
    "bytes_done": 0,
    "damaged_objects": 0,
    "waiting": 0,
    "last_error": None,
    "finished_at": None,
}
DAMAGE = {
    "sha256": SHA,
    "size": len(GOOD),
    "location": {"bucket": "b", "key": "k", "version_id": "v"},
    "code": "bytes_missing",
    "expected": f"sha256:{SHA}, {len(GOOD)} B",
    "actual": "nothing",
    "since": "2026-01-02T03:04:05Z",
    "files": [{"model": "digits", "path": "m.bin", "version": {"number": 3, "id": "sha256:" + "ab" * 32}}],
}
STATUS = {
    "enabled": True,
    "cycle_s": 2_592_000,
    "bytes_per_s": 1000,
    "max_bytes_per_s": 67_108_864,
    "objects": 2,
    "size": 100,
    "oldest_scrubbed_at": "2026-01-02T03:04:05Z",
    "oldest_s": 3600.0,
    "damaged_objects": 1,
    "damaged_files": 2,
    "waiting": 0,
    "last_error": None,
    "runs": [RUN],
}
REPAIRED = {
    "path": "m.bin",
    "sha256": SHA,
    "size": len(GOOD),
    "location": {"bucket": "b", "key": "k", "version_id": "new"},
    "lock": {"mode": "COMPLIANCE", "until": "2027-01-02T03:04:05Z"},
}


@pytest.fixture
def sent(registry: FakeRegistry) -> list[tuple[str, str, Any]]:
    seen: list[tuple[str, str, Any]] = []

    def look(request: httpx2.Request) -> httpx2.Response | None:
        path, body = request.url.path.removeprefix("/api/v1"), request.read()
        if path == "/put":
            seen.append(("PUT", path, body))
            return httpx2.Response(200, headers={"x-amz-version-id": "new"})
        if request.method == "GET" and path.startswith("/scrub/runs/"):
            return httpx2.Response(
                200, json={**RUN, "bytes_done": 100, "objects_done": 2, "finished_at": "2026-01-02T03:05:05Z"}
            )
        if request.method == "GET" and path.startswith("/scrub"):
            damages = {"items": [DAMAGE], "next_page_token": None}
            return httpx2.Response(200, json=damages if path.endswith("damages") else STATUS)
        if request.method == "POST":
            seen.append((request.method, path, json.loads(body)))
            if path.endswith("/repairs"):
                upload = {"kind": "single", "url": f"{registry.url}/put"}
                slot = {"path": "m.bin", "sha256": SHA, "size": len(GOOD), "held": False, "upload": upload}
                return httpx2.Response(200, json=slot)
            return httpx2.Response(200, json=REPAIRED if "repairs" in path else RUN)
        return None

    registry.intercept = look
    return seen


def test_status_and_damages_are_shown_with_the_next_step(run: Run, sent: list[Any]) -> None:
    done = run("scrub", "status")
    assert "2 files of 1 objects" in done.out
    assert "muniment scrub ls" in done.err
    assert run("scrub", "status", "--json").json == STATUS
    listed = run("scrub", "ls")
    assert "digits/3 m.bin" in listed.out
    assert "muniment scrub repair" in listed.err
    assert run("scrub", "ls", "--json").lines == [DAMAGE]


def test_a_pass_is_asked_for_and_waited_for(run: Run, sent: list[Any]) -> None:
    done = run("scrub", "run", "--model", "digits", "--json")
    assert (done.code, done.json["finished_at"] is not None) == (0, True)
    assert sent == [("POST", "/scrub/runs", {"model": "digits"})]


def test_what_the_store_does_not_give_is_not_waited_for_without_end(
    run: Run, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "UNREADABLE_S", 0.0)
    stuck = {**RUN, "objects_done": 1, "bytes_done": 50, "waiting": 1, "last_error": "the store did not answer"}
    registry.intercept = lambda request: (
        httpx2.Response(200, json=stuck) if request.url.path.startswith("/api/v1/scrub/runs") else None
    )
    done = run("scrub", "run", "--model", "digits")
    assert done.code == 1
    assert "1 objects, which the store does not give: the store did not answer" in done.out


def test_a_file_is_put_back_only_where_it_is_the_very_file(run: Run, sent: list[Any], machine: Path) -> None:
    (machine / "good").write_bytes(GOOD)
    (machine / "other").write_bytes(b"not the bytes!")
    refused = run("scrub", "repair", "digits/3", "m.bin", "--from", "other", "--json")
    assert refused.code != 0
    assert refused.error["error"]["code"] == "digest_mismatch"
    assert [method for method, _, _ in sent] == ["POST"], "something was uploaded"
    sent.clear()
    assert "locked until" in run("scrub", "repair", "digits/3", "m.bin", "--from", "good").out
    body = {"ref": "digits/3", "path": "m.bin"}
    assert sent == [
        ("POST", "/models/digits/repairs", body),
        ("PUT", "/put", GOOD),
        ("POST", "/models/digits/repairs/complete", {**body, "version_id": "new"}),
    ]


@pytest.mark.parametrize(
    ("line", "force"),
    [
        (("promote", "digits/3", "--reason", "x", "--force"), True),
        (("rollback", "digits", "--reason", "x"), None),
        (("rollback", "digits", "--reason", "x", "--force"), True),
        (("release", "create", "digits", "1.0.0", "--from", "digits/3", "--force"), True),
    ],
)
def test_force_is_sent_where_it_was_said(run: Run, sent: list[Any], line: tuple[str, ...], force: bool | None) -> None:
    run(*line)
    assert sent[0][2].get("force") is force
