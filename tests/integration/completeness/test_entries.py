"""Every operation is really done, and what it left in the outboxes is looked at: exactly the declared entries."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from muniment.contracts import topics
from muniment.contracts.cloudevent import CloudEvent, encode
from muniment.runtime.delivery import refusal_rules, refusal_tally, refused_requests
from muniment.runtime.delivery.refused_requests import RefusalSums
from muniment.runtime.settings import Settings
from muniment.sdk.event import deployment_reported, new_publisher_key

from .conftest import Whole
from .declared import EVENTS, ROUTES

PREFIX = Settings.model_fields["kafka"].default.topic_prefix
FIELDS = {
    "event_id", "action", "outcome", "service", "operator", "authenticated_by", "model", "resource", "changes",
    "reason", "cause", "occurred_at",
}  # fmt: skip
EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[a-z]{2,}", re.IGNORECASE)


def complete(entry: dict[str, Any], operator: str) -> None:
    """An entry says who, what from and to (or why not), and what caused it; of people it says the operator alone."""
    assert entry.keys() <= FIELDS
    assert entry["operator"] == operator, entry
    assert entry["cause"]["id"], entry
    assert entry["occurred_at"], entry
    assert entry["resource"], entry
    if entry["outcome"] == "done":
        assert entry["changes"], f"{entry['action']} does not say what changed"
        assert all("before" in one or "after" in one for one in entry["changes"]), entry
    else:
        assert entry["reason"], f"{entry['action']} does not say why it was refused"
    assert not EMAIL.search(json.dumps(entry)), entry


async def did(whole: Whole, operation: str, method: str, path: str, body: Any = None, *, as_: str = "root") -> Any:
    """Ask, and hold the entries against the declared ones."""
    before = await whole.entries()
    answer = await whole.ask(method, path, body, as_=as_)
    entries = await whole.new(before)
    declared = ROUTES[operation]
    expected = [] if isinstance(declared, str) else sorted(declared)
    assert sorted(entry["action"] for entry in entries) == expected, operation
    for entry in entries:
        complete(entry, "muniment|admin" if as_ == "root" else f"muniment|{as_}")
        assert entry["outcome"] == "done"
        assert entry["cause"]["kind"] == "request"
    whole.driven.add(operation)
    return answer


async def published(whole: Whole, data: bytes, **fields: Any) -> str:
    """Publish over HTTP up to where the publication ends; returns its id."""
    body = {"model": "digits", "files": [await whole.land(data)], **fields}
    made = await did(whole, "begin_publication", "POST", "/publications", body, as_="ada")
    one = str(made["publication"]["id"])
    if made["publication"]["stage"] == "uploading":
        await did(whole, "complete_publication", "POST", f"/publications/{one}/complete", {"files": []}, as_="ada")
    await whole.pump()
    return one


async def test_every_mutating_operation_leaves_exactly_its_entries(whole: Whole) -> None:
    await _identities(whole)
    await published(whole, b"one")
    await published(whole, b"two")
    await _publications(whole)
    await _names(whole)
    await _baseline(whole)
    await _facts(whole)
    await _subscriptions(whole)
    await _dead_letters(whole)
    await _leaving(whole)
    assert whole.driven == set(ROUTES)


async def _identities(whole: Whole) -> None:
    await did(whole, "create_token", "POST", "/tokens", {"name": "ci", "roles": ["writer"]})
    await did(whole, "revoke_token", "DELETE", "/tokens/ci")
    wanted = {"account": "trainer", "public_key": new_publisher_key().public_pem.decode()}
    key = await did(whole, "create_publisher_key", "POST", "/publisher-keys", wanted)
    await did(whole, "rotate_audit_keys", "POST", "/audit/keys", {})
    await did(whole, "revoke_publisher_key", "DELETE", f"/publisher-keys/{key['kid']}")


async def _publications(whole: Whole) -> None:
    body = {"model": "digits", "files": [{"path": "a", "sha256": "a" * 64, "size": 3}]}
    begun = await did(whole, "begin_publication", "POST", "/publications", body, as_="ada")
    await did(whole, "abandon_publication", "DELETE", f"/publications/{begun['publication']['id']}", as_="ada")
    chosen = await published(whole, b"three", commit="manual")
    await did(whole, "commit_candidate", "POST", f"/candidates/{chosen}/commit", {}, as_="ada")
    other = await published(whole, b"four", commit="manual")
    await did(whole, "refuse_candidate", "POST", f"/candidates/{other}/refuse", {"reason": "no"}, as_="ada")


async def _names(whole: Whole) -> None:
    models = "/models/digits"
    await did(whole, "create_branch", "POST", f"{models}/branches", {"name": "exp/a"}, as_="ada")
    await did(whole, "change_branch", "PATCH", f"{models}/branches/exp/a", {"protected": True}, as_="pam")
    await did(whole, "set_pointer", "PUT", f"{models}/pointers/champion", {"ref": "digits/1"}, as_="ada")
    await did(whole, "delete_pointer", "DELETE", f"{models}/pointers/champion", as_="ada")
    body = {"ref": "digits/1", "description": "first"}
    await did(whole, "describe", "POST", f"{models}/describe", body, as_="ada")
    event = next(entry for entry in reversed(await whole.entries()) if entry["action"] == "version.described")
    await did(
        whole, "revert", "POST", f"{models}/revert", {"event_id": event["event_id"], "reason": "wrong"}, as_="ada"
    )


async def _baseline(whole: Whole) -> None:
    models = "/models/digits"
    await did(whole, "put_contract", "PUT", f"{models}/contract", {"checks": ["bias"]}, as_="pam")
    await did(whole, "freeze", "POST", f"{models}/freeze", {"reason": "holiday"}, as_="pam")
    await did(whole, "unfreeze", "POST", f"{models}/unfreeze", {"reason": "back"}, as_="pam")
    for ref in ("digits/1", "digits/2"):
        await did(whole, "approve", "POST", f"{models}/approvals", {"ref": ref}, as_="pam")
        body: dict[str, Any] = {"ref": ref, "name": "bias", "passed": True}
        await did(whole, "report_check", "POST", f"{models}/checks", body, as_="ada")
        await did(whole, "promote", "POST", f"{models}/promote", {"ref": ref, "reason": "better"}, as_="pam")
    await did(whole, "rollback", "POST", f"{models}/rollback", {"reason": "drift"}, as_="pam")


async def _facts(whole: Whole) -> None:
    models = "/models/digits"
    measured = {"ref": "digits/1", "measurements": [{"metric": "accuracy", "value": 0.9}]}
    await did(whole, "evaluate", "POST", f"{models}/evaluations", measured, as_="ada")
    await did(whole, "observe", "POST", f"{models}/observations", measured, as_="ada")
    body = {"version": "1.0.0", "ref": "digits/1"}
    await did(whole, "publish_release", "POST", f"{models}/releases", body, as_="pam")
    await did(whole, "put_track", "PUT", "/tracks/lab", {"retention_s": 60})
    event = {
        "eventTime": "2026-01-01T00:00:00Z",
        "producer": "https://example.org/etl",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": "6f0f5ac5-9d3c-4f8e-8a24-0d7a3ac40a01"},
        "job": {"namespace": "etl", "name": "scan"},
        "inputs": [{"namespace": "s3://raw", "name": "scans"}],
    }
    await did(whole, "receive_run_event", "POST", "/lineage/openlineage", event, as_="ada")
    body = {"ref": "digits/1", "environment": "production", "deployer": "cluster", "state": "running"}
    await did(whole, "report_deployment", "POST", f"{models}/deployments", body, as_="ada")
    step = {"good": ["digits/1"], "bad": "digits/2", "skipped": []}
    await did(whole, "bisect_step", "POST", f"{models}/bisect", step, as_="rae")


async def _subscriptions(whole: Whole) -> None:
    wanted = {"name": "deployer", "url": "http://127.0.0.1:9/"}
    made = await did(whole, "create_subscription", "POST", "/subscriptions", wanted, as_="ada")
    path = f"/subscriptions/{made['id']}"
    await did(whole, "change_subscription", "PATCH", path, {"model": "dig*"}, as_="ada")
    await did(whole, "rotate_subscription_secret", "POST", f"{path}/secret", {}, as_="ada")
    await did(whole, "run_subscription_test", "POST", f"{path}/test", as_="ada")
    await published(whole, b"five")
    [delivery, *_] = (await whole.ask("GET", f"{path}/deliveries"))["items"]
    await did(whole, "retry_delivery", "POST", f"/deliveries/{delivery['id']}/retry", as_="ada")
    await did(whole, "preview_subscription", "POST", "/subscriptions/preview", {"model": "dig*"}, as_="ada")
    await did(whole, "replay_subscription", "POST", f"{path}/replay", {"after": 0}, as_="ada")
    await did(whole, "delete_subscription", "DELETE", path, as_="ada")


async def _dead_letters(whole: Whole) -> None:
    for name, one in whole.services.items():
        topic = next(iter(one.processors[0].topics))
        await whole.take(topic, b"no event", (), only=name)
        [letter] = (await whole.ask("GET", f"/dead-letters/{name}"))["items"]
        operation = f"retry_dead_letter_{name.replace('-', '_')}"
        await did(whole, operation, "POST", f"/dead-letters/{name}/{letter['id']}/retry")


async def _leaving(whole: Whole) -> None:
    body = {"ref": "digits/2", "reason": "mislabelled"}
    await did(whole, "delete_version", "POST", "/models/digits/delete", body, as_="pam")
    await _bytes(whole)
    await whole.unlock()
    await did(whole, "collect_garbage", "POST", "/gc", {"dry_run": False})


async def _bytes(whole: Whole) -> None:
    """What is done to stored bytes: read again, repaired, swept."""
    models, file = "/models/digits", {"ref": "digits/1", "path": "model.bin"}
    await did(whole, "check_signature", "POST", f"{models}/signature-checks", {"ref": "digits/1"}, as_="pam")
    await did(whole, "run_scrub", "POST", "/scrub/runs", {})
    await whole.damaged("digits", 1)
    begun = await did(whole, "begin_repair", "POST", f"{models}/repairs", file, as_="pam")
    good = await whole.uploaded(b"one", begun["sha256"])
    complete = {**file, "version_id": good.version_id}
    await did(whole, "complete_repair", "POST", f"{models}/repairs/complete", complete, as_="pam")
    left = await whole.uploaded(b"left over", hashlib.sha256(b"left over").hexdigest())
    whole.blobs._objects.find(left.bucket, left.key, left.version_id).last_modified -= timedelta(days=30)
    await did(whole, "sweep_leftovers", "POST", "/sweep", {"dry_run": False})
    copied = await whole.blobs.put(left.bucket, left.key.replace("blobs/sha256/", "releases/blobs/"), b"left over")
    whole.blobs._objects.find(copied.bucket, copied.key, copied.version_id).last_modified -= timedelta(days=30)
    await did(
        whole,
        "collect_leftovers",
        "POST",
        "/gc/leftovers?page_token=" + await _page_of_copies(whole),
        {"dry_run": False},
    )


async def _page_of_copies(whole: Whole) -> str:
    """The token of the page that has copies for releases."""
    token = ""
    while True:
        answer = await whole.ask("POST", f"/gc/leftovers?page_token={token}" if token else "/gc/leftovers", {})
        if answer["place"]["prefix"] == "releases/":
            return token
        token = answer["next_page_token"]


async def test_every_refused_attempt_at_a_protected_thing_leaves_one_entry(whole: Whole) -> None:
    await published(whole, b"one")
    await whole.ask("POST", "/models/digits/promote", {"ref": "digits/1", "reason": "first"})
    await whole.ask("PATCH", "/models/digits/branches/main", {"protected": True})
    await whole.ask("POST", "/models/digits/releases", {"version": "1.0.0", "ref": "digits/1"})
    await published(whole, b"two", branch="exp/a")
    await whole.ask("PATCH", "/models/digits/branches/exp/a", {"protected": True})
    await whole.ask("POST", "/models/digits/freeze", {"reason": "holiday"})
    waiting = await published(whole, b"three", branch="main", commit="manual")
    mine = {"model": "digits", "files": [{"path": "a", "sha256": "a" * 64, "size": 3}]}
    slots = (await whole.ask("POST", "/publications", mine, as_="ada"))["publication"]["id"]
    models, ref, why = "/models/digits", {"ref": "digits/2"}, {"reason": "x"}
    report = {**ref, "environment": "e", "deployer": "d", "state": "running", "operator": "muniment|root"}
    attempts: list[tuple[str, str, str, str, Any, str]] = [
        # who, action of the entry, request, and the code of the answer
        ("ada", "request.refused", "POST", f"{models}/promote", {**ref, **why}, "role_missing"),
        ("rae", "request.refused", "POST", "/publications", mine, "role_missing"),
        ("rae", "request.refused", "GET", "/audit/entries", None, "role_missing"),
        ("pam", "request.refused", "POST", "/tokens", {"name": "mine", "roles": ["admin"]}, "role_missing"),
        ("pam", "request.refused", "DELETE", "/tokens/admin", None, "role_missing"),
        ("root", "request.refused", "DELETE", "/tokens/admin", None, "last_admin"),
        ("ada", "request.refused", "PATCH", f"{models}/branches/main", {"protected": False}, "role_missing"),
        ("ada", "request.refused", "PATCH", f"{models}/branches/exp/a", {"closed": True}, "branch_protected"),
        ("ada", "request.refused", "PATCH", f"{models}/branches/main", {"closed": True}, "main_stays_open"),
        ("ada", "request.refused", "POST", f"/candidates/{waiting}/commit", {}, "branch_protected"),
        ("ada", "request.refused", "POST", f"{models}/deployments", report, "operator_mismatch"),
        ("rae", "request.refused", "GET", "/dead-letters/notifier", None, "role_missing"),
        ("pam", "publication.refused", "GET", f"/publications/{slots}/slots", None, "publication_of_another"),
        ("pam", "publication.refused", "DELETE", f"/publications/{slots}", None, "publication_of_another"),
        ("ada", "pointer.moved", "PUT", f"{models}/pointers/baseline", ref, "pointer_protected"),
        ("ada", "pointer.moved", "DELETE", f"{models}/pointers/baseline", None, "pointer_protected"),
        ("pam", "baseline.promoted", "POST", f"{models}/promote", {**ref, **why}, "promotion_refused"),
        ("pam", "baseline.rolled_back", "POST", f"{models}/rollback", {"to": "digits/2", **why}, "rollback_refused"),
        ("pam", "version.deleted", "POST", f"{models}/delete", {"ref": "digits/1", **why}, "version_needed"),
        ("pam", "release.published", "POST", f"{models}/releases", {"version": "1.0.0", **ref}, "release_exists"),
        ("root", "track.changed", "PUT", "/tracks/production", {"lock_mode": "GOVERNANCE"}, "track_weakened"),
    ]
    for who, action, method, path, body, code in attempts:
        before = await whole.entries()
        problem = await whole.ask(method, path, body, as_=who, status=(403, 409, 422))
        assert problem["code"] == code, f"{method} {path}: {problem}"
        entries = await whole.new(before)
        assert [(entry["action"], entry["outcome"]) for entry in entries] == [(action, "refused")], f"{method} {path}"
        complete(entries[0], "muniment|admin" if who == "root" else f"muniment|{who}")
        assert code in entries[0]["reason"] or action.startswith(("baseline", "version"))


async def test_a_caller_who_hammers_at_a_shut_door_makes_few_entries_and_each_attempt_counts(
    whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)
    monkeypatch.setattr(refusal_tally, "minute_of", lambda _: minute)
    before = await whole.entries()
    for _ in range(refusal_rules.ONE_BY_ONE + 7):
        await whole.ask("GET", "/audit/entries", as_="rae", status=(403,))
    await whole.ask("GET", "/audit/entries", as_="ada", status=(403,))  # another caller has entries of their own
    for _ in range(refusal_rules.ONE_BY_ONE + 3):
        await whole.ask("POST", "/publications", {"model": "no name"}, as_="pam", status=(422,))
    monkeypatch.setattr(refused_requests, "ended_before", lambda _: minute + refusal_rules.WINDOW)
    for one in whole.services.values():
        await RefusalSums(one.transactions).tell()
        assert await RefusalSums(one.transactions).tell() == 0
    entries = await whole.new(before)
    assert [entry["operator"] for entry in entries].count("muniment|ada") == 1
    hers = [entry for entry in entries if entry["operator"] == "muniment|rae"]
    assert len(hers) == refusal_rules.ONE_BY_ONE + 1
    assert {"path": "count", "after": 7} in hers[-1]["changes"]
    assert hers[-1]["outcome"] == "refused"
    assert "role_missing: 7 more" in hers[-1]["reason"]
    pams = [entry for entry in entries if entry["operator"] == "muniment|pam"]
    assert [entry["action"] for entry in pams] == ["publication.refused"] * refusal_rules.ONE_BY_ONE + [
        "request.refused"
    ]
    assert {"path": "count", "after": 3} in pams[-1]["changes"]


async def test_every_consumed_event_leaves_its_entries_and_each_entry_one_leaf(whole: Whole) -> None:
    data = {"model": "digits", "files": [await whole.land(b"by event")]}
    event = CloudEvent(
        id="run-1",
        source="//trainers.test/digits",
        type=topics.TRAINING_COMPLETED.type,
        data=json.dumps(data).encode(),
        time="2026-01-02T03:04:05Z",
    )
    headers, value = encode(event)
    before = await whole.entries()
    topic = topics.TRAINING_COMPLETED.wire_name(PREFIX)
    await whole.take(topic, value, tuple(headers))
    await whole.pump()
    await whole.take(topic, value, tuple(headers))  # a second delivery leaves nothing
    await whole.pump()
    report = deployment_reported(
        "digits/1", environment="production", deployer="cluster", state="running", source="//deployers.test/eu"
    )
    for _ in range(2):
        await whole.take(report.topic, report.value, tuple(report.headers))
        await whole.pump()
    entries = await whole.new(before)
    expected = sorted(action for actions in EVENTS.values() if isinstance(actions, tuple) for action in actions)
    assert sorted(entry["action"] for entry in entries) == expected
    for entry in entries:
        complete(entry, "muniment|unsigned")
        assert entry["cause"]["kind"] == "event"
    rows = await whole.database.fetch("SELECT event_id FROM audit.entry ORDER BY index")
    assert sorted(row["event_id"] for row in rows) == sorted(entry["event_id"] for entry in await whole.entries())
