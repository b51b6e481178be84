from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx2
import pytest

from muniment.contracts.errors import Conflict, MunimentError, Rejected, TooLarge, Transient
from muniment.sdk import Client, Progress, PublicationRejected, workshop
from muniment.sdk import publish as publishing
from muniment.testing.fake_registry import FakeRegistry, Hangup, problem

PART = 64 * 1024


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of four parts, the last one short."""
    place = tmp_path / "large" / "weights.bin"
    place.parent.mkdir()
    place.write_bytes(os.urandom(3 * PART + 100))
    return place


def puts(registry: FakeRegistry) -> int:
    return sum(method == "PUT" for method, _ in registry.requests)


def test_a_directory_becomes_a_version(registry: FakeRegistry, client: Client, folder: Path) -> None:
    publication = client.publish(
        folder,
        model="digits",
        params={"lr": 0.1},
        metrics={"accuracy": 0.97},
        datasets=[{"name": "train", "uri": "s3://data/train"}],
        tags={"team": "vision"},
        run_id="run-7",
        roles={"config.json": "config"},
    )
    assert publication.stage == "committed"
    assert publication.version is not None
    assert (publication.version.number, publication.version.branch, publication.version.ref) == (1, "main", "digits/1")
    facts = registry.versions[0]["manifest"]
    assert facts["params"] == {"lr": 0.1}
    assert facts["metrics"] == {"accuracy": 0.97}
    assert facts["run_id"] == "run-7"
    assert [(file["path"], file["role"]) for file in facts["files"]] == [
        ("config.json", "config"),
        ("weights/model.bin", "file"),
    ]
    stored = {versions[-1] for versions in registry.objects.values()}
    assert stored == {(folder / file["path"]).read_bytes() for file in facts["files"]}


def test_the_same_again_is_the_same_version_and_uploads_nothing(
    registry: FakeRegistry, client: Client, folder: Path
) -> None:
    first = client.publish(folder, model="digits")
    uploaded = puts(registry)
    second = client.publish(folder, model="digits")
    assert puts(registry) == uploaded == 2
    assert second.version == first.version
    assert second.id != first.id


def test_equal_files_go_up_once(registry: FakeRegistry, client: Client, folder: Path) -> None:
    (folder / "copy.bin").write_bytes((folder / "weights" / "model.bin").read_bytes())
    assert client.publish(folder, model="digits").version is not None
    assert puts(registry) == 2


def test_the_same_key_is_the_same_publication(client: Client, folder: Path) -> None:
    one = client.publish(folder, model="digits", idempotency_key="nightly-7")
    two = client.publish(folder, model="digits", idempotency_key="nightly-7")
    assert one.id == two.id


def test_large_files_go_up_in_parts(registry: FakeRegistry, client: Client, large: Path) -> None:
    publication = client.publish(large, model="digits")
    assert publication.version is not None
    assert puts(registry) == 4
    (stored,) = registry.objects.values()
    assert stored == [large.read_bytes()]


def test_an_upload_that_was_cut_off_goes_on_by_part(
    registry: FakeRegistry, client: Client, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "REMEMBERED_FROM", 1)

    def third_part_fails(request: httpx2.Request) -> httpx2.Response | None:
        return httpx2.Response(400) if "part=3" in str(request.url) else None

    registry.intercept = third_part_fails
    with pytest.raises(MunimentError, match="the store refused"):
        client.publish(large, model="digits")
    arrived = sum(len(parts) for parts in registry.parts.values())
    assert 0 < arrived < 4
    registry.intercept = lambda _: None
    registry.requests.clear()
    with Client(registry.url, "t") as later:
        publication = later.publish(large, model="digits")
    assert publication.version is not None
    assert puts(registry) == 4 - arrived
    assert len(registry.publications) == 1, "it is the publication that was begun before"
    registry.requests.clear()
    client.publish(large, model="digits")
    begun = sum((method, path) == ("POST", "/api/v1/publications") for method, path in registry.requests)
    assert begun == 1, "what came to its end is not remembered"


def test_a_remembered_publication_that_is_over_is_left_alone(
    registry: FakeRegistry, client: Client, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "REMEMBERED_FROM", 1)
    registry.intercept = lambda request: httpx2.Response(400) if request.method == "PUT" else None
    with pytest.raises(MunimentError):
        client.publish(large, model="digits")
    registry.intercept = lambda _: None
    (begun,) = registry.publications
    client.abandon(begun)
    assert client.publish(large, model="digits").stage == "committed"
    assert len(registry.publications) == 2


def test_stale_urls_are_replaced(registry: FakeRegistry, client: Client, large: Path, folder: Path) -> None:
    stale: set[str] = set()

    def expire_each_first_url(request: httpx2.Request) -> httpx2.Response | None:
        place = f"{request.url.path}{request.url.params.get('part', '')}"
        if request.method == "PUT" and place not in stale:
            stale.add(place)
            return httpx2.Response(403, text="<Error><Code>AccessDenied</Code></Error>")
        return None

    registry.intercept = expire_each_first_url
    publication = client.publish([large, folder / "config.json"], model="digits")
    assert publication.version is not None
    assert registry.count("GET", "/slots") == 1


def test_a_store_that_refuses_every_url_is_believed(registry: FakeRegistry, client: Client, folder: Path) -> None:
    refusal = "<Error><Code>SignatureDoesNotMatch</Code></Error>"
    registry.intercept = lambda request: httpx2.Response(403, text=refusal) if request.method == "PUT" else None
    with pytest.raises(MunimentError) as caught:
        client.publish(folder, model="digits")
    assert caught.value.code == "store_refused"
    assert "SignatureDoesNotMatch" in str(caught.value.actual)
    assert registry.count("GET", "/slots") == workshop.FRUITLESS_ROUNDS - 1


def test_a_store_that_stumbles_is_asked_again(registry: FakeRegistry, client: Client, folder: Path) -> None:
    stumbles = iter([500, 503, None, "cut"])

    def stumble(request: httpx2.Request) -> httpx2.Response | None:
        if request.method != "PUT":
            return None
        way = next(stumbles, None)
        if way == "cut":
            raise Hangup
        return None if way is None else httpx2.Response(int(str(way)))

    registry.intercept = stumble
    assert client.publish(folder, model="digits").version is not None
    assert next(stumbles, "used up") == "used up"


def test_the_token_never_reaches_the_store(registry: FakeRegistry, client: Client, folder: Path) -> None:
    seen: list[str] = []

    def look(request: httpx2.Request) -> None:
        if str(request.url).startswith(registry.store_url):
            seen.append(str(dict(request.headers)))

    registry.intercept = look
    client.publish(folder, model="digits")
    client.download("digits/1", folder.with_name("back"))
    assert len(seen) == 4
    assert "secret-token" not in "".join(seen)


def test_a_lost_answer_to_complete_is_asked_for_again(registry: FakeRegistry, client: Client, folder: Path) -> None:
    answered: list[str] = []

    def lose_first_answer(request: httpx2.Request) -> None:
        if request.url.path.endswith("/complete") and not answered:
            answered.append("")
            registry._api(request)
            raise Hangup

    registry.intercept = lose_first_answer
    publication = client.publish(folder, model="digits")
    assert publication.stage == "committed"
    assert registry.count("POST", "/complete") == 2
    assert len(registry.versions) == 1


def test_when_no_answer_to_complete_comes_the_publication_is_asked(
    registry: FakeRegistry, client: Client, folder: Path
) -> None:
    def never_answer(request: httpx2.Request) -> None:
        if request.url.path.endswith("/complete"):
            registry._api(request)
            raise Hangup

    registry.intercept = never_answer
    assert client.publish(folder, model="digits").stage == "committed"


def test_a_complete_that_did_nothing_stays_an_error(registry: FakeRegistry, client: Client, folder: Path) -> None:
    refusal = problem(Conflict("upload_missing", "the bytes are not in the store"))
    registry.intercept = lambda request: refusal if request.url.path.endswith("/complete") else None
    with pytest.raises(Conflict) as caught:
        client.publish(folder, model="digits")
    assert caught.value.code == "upload_missing"


def test_a_rejection_names_file_expected_and_actual(registry: FakeRegistry, client: Client, folder: Path) -> None:
    def flip(request: httpx2.Request) -> httpx2.Response | None:
        if request.method != "PUT":
            return None
        body = bytearray(request.read())
        body[0] ^= 1
        registry.objects.setdefault("/" + request.url.path.rpartition("/")[2], []).append(bytes(body))
        return httpx2.Response(200, headers={"x-amz-version-id": "v1"})

    registry.intercept = flip
    with pytest.raises(PublicationRejected) as caught:
        client.publish(folder, model="digits")
    error = caught.value
    assert (error.code, error.stage, error.file) == ("digest_mismatch", "validation", "config.json")
    assert error.expected != error.actual
    assert error.publication_id in registry.publications
    assert registry.versions == []


def test_a_candidate_waits_for_a_person(registry: FakeRegistry, client: Client, folder: Path) -> None:
    publication = client.publish(folder, model="digits", commit="manual", branch="exp/a")
    assert (publication.stage, publication.version) == ("candidate", None)
    assert [candidate.publication for candidate in client.candidates()] == [publication.id]
    version = client.commit(publication.id, tags={"reviewed": "yes"}, branch="main")
    assert (version.ref, version.branch) == ("digits/1", "main")
    assert registry.versions[0]["tags"] == {"reviewed": "yes"}


def test_without_waiting_the_stage_is_told(registry: FakeRegistry, client: Client, folder: Path) -> None:
    def take_time(publication: str, decision: dict[str, Any]) -> dict[str, Any]:
        registry.publications[publication]["stage"] = "trained"
        return decision

    registry._commit = take_time  # type: ignore[method-assign]  # reason: a validator that takes its time
    publication = client.publish(folder, model="digits", wait=False)
    assert (publication.stage, publication.version) == ("trained", None)
    with pytest.raises(Transient) as caught:
        client.publish(folder, model="digits", timeout=0.0)
    assert caught.value.code == "wait_timeout"
    assert "muniment publications show" in str(caught.value.hint)


def test_a_server_that_holds_nothing_back_is_not_hammered(client: Client, folder: Path, registry: FakeRegistry) -> None:
    registry._commit = lambda publication, decision: {}  # type: ignore[method-assign]  # reason: not settled by itself
    pauses: list[float] = []

    def settle_at_the_third(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            (publication,) = registry.publications.values()
            publication["stage"] = "candidate"

    client._sleep = settle_at_the_third
    assert client.publish(folder, model="digits").stage == "candidate"
    assert pauses == [0.25] * 3


def test_a_file_that_changes_while_it_goes_up(registry: FakeRegistry, client: Client, folder: Path) -> None:
    def write_meanwhile(request: httpx2.Request) -> None:
        if request.method == "PUT":
            (folder / "config.json").write_text('{"layers": 3}')
            os.utime(folder / "config.json", ns=(1, 1))

    registry.intercept = write_meanwhile
    with pytest.raises(Conflict) as caught:
        client.publish(folder, model="digits")
    assert caught.value.code == "file_changed"
    assert registry.versions == []


def test_a_file_that_shrinks_while_it_goes_up(registry: FakeRegistry, client: Client, large: Path) -> None:
    def shrink_before_uploading(request: httpx2.Request) -> None:
        if request.method == "POST" and request.url.path.endswith("/publications"):
            large.write_bytes(b"short")

    registry.intercept = shrink_before_uploading
    with pytest.raises(Conflict) as caught:
        client.publish(large, model="digits")
    assert caught.value.code == "file_changed"


def test_progress_counts_every_byte_once(registry: FakeRegistry, client: Client, large: Path) -> None:
    failed: list[int] = []

    def fail_once(request: httpx2.Request) -> httpx2.Response | None:
        if request.method == "PUT" and not failed:
            failed.append(1)
            request.read()
            return httpx2.Response(500)
        return None

    registry.intercept = fail_once
    told: list[Progress] = []
    client.publish(large, model="digits", on_progress=told.append)
    size = large.stat().st_size
    for stage in ("hash", "upload"):
        seen = [progress for progress in told if progress.stage == stage]
        assert (seen[-1].bytes_done, seen[-1].bytes_total) == (size, size)
        assert all(0 <= progress.bytes_done <= size for progress in seen)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"model": "../up"}, "model_name_invalid"),
        ({"branch": "1.2.0"}, "branch_name_invalid"),
        ({"metrics": {"loss": float("nan")}}, "value_invalid"),
        ({"params": {"layers": [1, 2]}}, "value_invalid"),
        ({"parents": ["sha256:short"]}, "version_id_invalid"),
        ({"commit": "later"}, "commit_invalid"),
        ({"roles": {"nothing.bin": "config"}}, "role_without_file"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(
    registry: FakeRegistry, client: Client, folder: Path, options: dict[str, Any], code: str
) -> None:
    with pytest.raises(MunimentError) as caught:
        client.publish(folder, **{"model": "digits", **options})
    assert caught.value.code == code
    assert registry.requests == []


def test_the_body_is_what_the_contract_takes(registry: FakeRegistry, client: Client, folder: Path) -> None:
    bodies: list[dict[str, Any]] = []

    def look(request: httpx2.Request) -> None:
        if request.method == "POST" and request.url.path.endswith("/publications"):
            bodies.append(json.loads(request.read()))

    registry.intercept = look
    client.publish(folder, model="digits", params={}, description=None, tags={})
    assert set(bodies[0]) == {"model", "branch", "commit", "files"}, "what is empty is left out"


def test_slots_that_make_no_sense_are_refused(registry: FakeRegistry, client: Client, large: Path) -> None:
    whole = registry._slot

    def one_part_short(publication: str, sha256: str, size: int) -> dict[str, Any]:
        slot = whole(publication, sha256, size)
        slot["parts"].pop()
        return slot

    registry._slot = one_part_short  # type: ignore[method-assign]  # reason: a server that errs
    with pytest.raises(MunimentError) as caught:
        client.publish(large, model="digits")
    assert caught.value.code == "answer_unexpected"
    assert puts(registry) == 0


def test_errors_of_the_limit_kind_come_through(registry: FakeRegistry, client: Client, folder: Path) -> None:
    refusal = problem(TooLarge("publication_bytes", "too many bytes", expected="<= 1 B"))
    registry.intercept = lambda request: refusal if request.method == "POST" else None
    with pytest.raises(TooLarge) as caught:
        client.publish(folder, model="digits")
    assert isinstance(caught.value, Rejected)
    assert caught.value.expected == "<= 1 B"
