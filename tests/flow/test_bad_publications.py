"""Publications that claim what is not so, by event and by request: who made them, their files, their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from muniment.checksum_validator.reading import FileReader
from muniment.contracts import topics
from muniment.contracts.cloudevent import encode
from muniment.contracts.manifest import Manifest, ManifestFile, TrainingFacts, manifest_bytes, manifest_id
from muniment.contracts.signature import HEADER, sign
from muniment.ports.blobs import Location
from muniment.registry.sealing import Sealer
from muniment.sdk.event import PublisherKey, new_publisher_key

from .bad_input import Door, Gate, HttpWay, Intake, KafkaWay, Way, event_of, new_id
from .bad_values import FILES, LOCATIONS, NAMES, PATHS
from .conftest import Outside


async def committed(way: Way, flow: str, model: str) -> dict[str, Any]:
    """The version that a submitted publication became, as the next of its model."""
    way.intake.commits[model] += 1
    return await way.intake.committed(flow)


@pytest.fixture(scope="module", autouse=True)
async def orphans(intake: Intake, door: Door) -> list[str]:
    """Children of no parent, sent before all else: the registry waits for a parent as long as one might come."""
    file = await intake.registry.land("model.bin", b"an orphan's weights")
    facts = {"parents": [{"id": "sha256:" + "0" * 64}]}
    return [
        await way.submit({"model": "bad-orphan", "files": [file], "facts": {**facts, "run_id": new_id()}})
        for way in (KafkaWay(intake), HttpWay(intake, door))
    ]


# -- who made it


@pytest.fixture(scope="module")
async def key(registry: Outside) -> PublisherKey:
    return await _registered(registry, "trainer-7")


async def test_a_signed_event_is_its_signers(intake: Intake, registry: Outside, key: PublisherKey) -> None:
    file = await registry.land("model.bin", b"signed")
    record, flow = registry.event("bad-signer", [file], private_key=key.private_pem)
    place = await intake.put(record.headers, record.value, record.key)
    intake.commits["bad-signer"] += 1
    assert (await intake.committed(flow))["operator"] == "muniment|trainer-7"
    entry = await intake.entry_at(place)
    assert (entry["operator"], entry["authenticated_by"]) == ("muniment|trainer-7", "signature")


@pytest.mark.parametrize(
    ("signed", "claimed"), [(True, "muniment|admin"), (True, "MUNIMENT|trainer-7"), (False, "muniment|trainer-7")]
)
async def test_an_event_that_claims_another_operator_is_refused(
    intake: Intake, registry: Outside, key: PublisherKey, signed: bool, claimed: str
) -> None:
    event = event_of({"model": "bad-signer", "files": [await registry.land("m", b"1")], "operator": claimed})
    headers, value = encode(event)
    if signed:
        headers.append((HEADER, sign(event, key.private_pem)))
    _, entry = await intake.set_aside([*headers], value, "operator_mismatch", model="bad-signer")
    actual = ("muniment|trainer-7", "signature") if signed else ("muniment|unsigned", "unsigned")
    assert (entry["operator"], entry["authenticated_by"]) == actual, "the authenticated one is audited"
    assert f"expected {actual[0]}" in entry["reason"]
    assert f"actual {claimed}" in entry["reason"]
    assert await intake.unknown(event)


@pytest.mark.parametrize(
    ("forgery", "code"),
    [
        ("data", "signature_invalid"),
        ("id", "signature_invalid"),
        ("another-key", "signature_invalid"),
        ("unknown-key", "signature_unknown_key"),
        ("revoked-key", "signature_key_revoked"),
        ("twice", "signature_malformed"),
        ("null", "signature_malformed"),
        ("no-utf-8", "signature_malformed"),
        ("very-long", "signature_malformed"),
    ],
)
async def test_a_signature_that_does_not_hold_is_refused(
    intake: Intake, registry: Outside, key: PublisherKey, forgery: str, code: str
) -> None:
    event = event_of(
        {"model": "bad-signer", "files": [await registry.land("m", b"1")], "operator": "muniment|trainer-7"}
    )
    headers, value = encode(event)
    good = sign(event, key.private_pem)
    match forgery:
        case "data":
            value = value.replace(b'"size": 1', b'"size": 2')
        case "id":
            headers = [(name, new_id().encode() if name == "ce_id" else raw) for name, raw in headers]
        case "unknown-key":
            good = sign(event, new_publisher_key().private_pem)
        case "another-key":
            other = sign(event, new_publisher_key().private_pem)
            good = good[:24] + other[24:]
        case "revoked-key":
            revoked = await _registered(registry, "trainer-gone")
            good = sign(event, revoked.private_pem)
            await registry.client.revoke_publisher_key(good[7:23].decode())
        case "twice":
            headers.append((HEADER, good))
    signature: Any = {"null": None, "no-utf-8": b"\xff\xfe", "very-long": good * 1000}.get(forgery, good)
    _, entry = await intake.set_aside([*headers, (HEADER, signature)], value, code, model="bad-signer")
    assert (entry["operator"], entry["authenticated_by"]) == ("muniment|unsigned", "unsigned")


async def test_a_request_that_claims_another_operator_is_refused(door: Door, registry: Outside) -> None:
    body = {"model": "bad-claim", "files": [await registry.land("m", b"1")], "operator": "muniment|somebody"}
    problem, entry = await door.refuses(body, "operator_mismatch", model="bad-claim", status=403)
    assert (problem["expected"], problem["actual"]) == ("muniment|admin", "muniment|somebody")
    assert {"path": "actual", "after": "muniment|somebody"} in entry["changes"]
    version = await door.publish("bad-claim", operator="muniment|admin")
    assert version["operator"] == "muniment|admin"


# -- digests and sizes


@pytest.mark.parametrize("name", FILES)
async def test_a_file_whose_digest_or_size_cannot_be(way: Way, name: str) -> None:
    changes, code, readable = FILES[name]
    file = {**await way.intake.registry.land("model.bin", b"seventeen bytes.."), **changes}
    entry = await way.refuses({"model": "bad-file", "files": [file]}, code, model="bad-file", readable=readable)
    if code == "size_mismatch":
        assert {"path": "expected", "after": f"{file['size']} B"} in entry["changes"]
        assert {"path": "actual", "after": "17 B"} in entry["changes"]


async def test_one_digest_with_two_sizes(way: Way) -> None:
    file = await way.intake.registry.land("model.bin", b"seventeen bytes..")
    files = [file, {**file, "path": "other.bin", "size": 18}]
    entry = await way.refuses(
        {"model": "bad-file", "files": files}, "size_contradiction", model="bad-file", readable=True
    )
    assert {"path": "actual", "after": "18 B"} in entry["changes"]


async def test_a_digest_of_other_bytes(way: Way) -> None:
    file = await way.intake.registry.land("model.bin", b"these bytes")
    claimed = {**file, "sha256": "ab" * 32}
    flow = await way.submit({"model": "bad-file", "files": [claimed]})
    after = await way.intake.send_good("bad-file")
    rejected, entry = await way.intake.rejection(
        flow, "digest_mismatch", stage="validation", action="validation.rejected"
    )
    both = (f"sha256:{claimed['sha256']}", f"sha256:{file['sha256']}")
    assert (rejected["expected"], rejected["actual"]) == both
    assert {"path": "digest", "before": both[0], "after": both[1]} in entry["changes"]
    await way.intake.committed(after)


# -- files that change under way


async def test_a_file_that_is_overwritten_and_hidden_before_it_is_read(way: Way, tmp_path: Path) -> None:
    """The version-id that was there when the publication was accepted is the one that is read."""
    registry = way.intake.registry
    file = await registry.land("model.bin", b"as it was published")
    bucket, key = file["location"].removeprefix("s3://").split("/", 1)
    with Gate(lambda staged: staged.sha256 == file["sha256"]).before(FileReader, "read") as gate:
        flow = await way.submit({"model": "bad-swap", "files": [file], "facts": {"run_id": new_id()}})
        await registry.until(lambda: registry.records(topics.MODEL_TRAINED, flow))
        await gate.reached.wait()
        await registry.store.put(bucket, key, b"another file of it!")
        await registry.store.hide(bucket, key)
    version = await committed(way, flow, "bad-swap")
    await registry.client.download(f"bad-swap/{version['number']}", tmp_path / "got")
    assert (tmp_path / "got" / "model.bin").read_bytes() == b"as it was published"


async def test_a_file_that_is_deleted_before_it_is_read(way: Way) -> None:
    registry = way.intake.registry
    file = await registry.land("model.bin", f"soon gone {new_id()}".encode())
    bucket, key = file["location"].removeprefix("s3://").split("/", 1)
    place = await registry.store.stat(bucket, key)
    with Gate(lambda staged: staged.sha256 == file["sha256"]).before(FileReader, "read") as gate:
        flow = await way.submit({"model": "bad-swap", "files": [file]})
        await gate.reached.wait()
        await registry.store.delete_version(place)
    rejected, _ = await way.intake.rejection(flow, "file_missing", stage="validation", action="validation.rejected")
    assert rejected["actual"] == "deleted"
    assert place.version_id in rejected["expected"]
    await way.intake.committed(await way.intake.send_good("bad-swap"))


async def test_bytes_that_are_overwritten_between_validation_and_commit(way: Way, tmp_path: Path) -> None:
    registry = way.intake.registry
    data = f"validated {new_id()}".encode()
    file = await registry.land("model.bin", data)
    with Gate(lambda draft: draft.publication.model == "bad-swap").before(Sealer, "seal") as gate:
        flow = await way.submit({"model": "bad-swap", "files": [file], "facts": {"run_id": new_id()}})
        validated = await registry.until_seen(topics.MODEL_VALIDATED, flow)
        await gate.reached.wait()
        place = validated["files"][0]["location"]
        swapped = await registry.store.put(place["bucket"], place["key"], b"what nobody has checked")
    version = await committed(way, flow, "bad-swap")
    assert version["files"][0]["location"] == place
    assert swapped.version_id != place["version_id"]
    await registry.client.download(f"bad-swap/{version['number']}", tmp_path / "got")
    assert (tmp_path / "got" / "model.bin").read_bytes() == data


async def test_bytes_that_are_deleted_between_validation_and_commit(way: Way) -> None:
    registry = way.intake.registry
    file = await registry.land("model.bin", f"validated and gone {new_id()}".encode())
    with Gate(lambda draft: draft.publication.model == "bad-swap").before(Sealer, "seal") as gate:
        flow = await way.submit({"model": "bad-swap", "files": [file]})
        validated = await registry.until_seen(topics.MODEL_VALIDATED, flow)
        await gate.reached.wait()
        place = Location(**validated["files"][0]["location"])
        await registry.store.delete_version(place)
    rejected, _ = await way.intake.rejection(flow, "bytes_missing", stage="commit", action="commit.rejected")
    assert place.version_id in rejected["expected"]
    await way.intake.committed(await way.intake.send_good("bad-swap"))


# -- families


async def test_a_child_may_come_before_its_parent(way: Way) -> None:
    intake, registry = way.intake, way.intake.registry
    file = await registry.land("model.bin", b"a family's weights")
    like = await intake.committed(await intake.send_good("bad-family"))
    parent = {"run_id": new_id()}
    kept = ManifestFile(path="model.bin", size=file["size"], sha256=file["sha256"], format=like["files"][0]["format"])
    facts = TrainingFacts.model_validate(parent)
    parent_id = manifest_id(manifest_bytes(Manifest(model="bad-family", files=(kept,), facts=facts)))
    child = {"run_id": new_id(), "parents": [{"id": parent_id, "kind": "fine-tune"}]}
    child_flow = await way.submit({"model": "bad-family", "files": [file], "facts": child})
    await registry.until_seen(topics.MODEL_VALIDATED, child_flow)
    parent_flow = await way.submit({"model": "bad-family", "files": [file], "facts": parent})
    assert (await committed(way, parent_flow, "bad-family"))["id"] == parent_id, "it does not wait behind its child"
    born = await committed(way, child_flow, "bad-family")
    version = await registry.client.version(f"bad-family/{born['number']}")
    assert version.raw["manifest"]["parents"] == [{"id": parent_id, "kind": "fine-tune"}]


# -- locations and paths


@pytest.mark.parametrize("name", LOCATIONS)
async def test_a_location_that_could_mean_another_place(way: Way, name: str) -> None:
    location = LOCATIONS[name].replace("LANDING", way.intake.registry.landing)
    file = {"path": "model.bin", "sha256": "ab" * 32, "size": 1, "location": location}
    entry = await way.refuses({"model": "bad-uri", "files": [file]}, "location_invalid", model="bad-uri", readable=True)
    assert any(change["path"] == "actual" for change in entry["changes"])


@pytest.mark.parametrize("bucket", ["muniment-models", "other", "MODELS"])
async def test_a_bucket_that_is_not_allow_listed(way: Way, bucket: str) -> None:
    bucket = bucket.replace("MODELS", way.intake.registry.settings.s3.bucket)
    file = {"path": "model.bin", "sha256": "ab" * 32, "size": 1, "location": f"s3://{bucket}/blobs/x"}
    entry = await way.refuses(
        {"model": "bad-uri", "files": [file]}, "location_not_allowed", model="bad-uri", readable=True
    )
    assert {"path": "actual", "after": bucket} in entry["changes"]


@pytest.mark.parametrize(
    ("location", "code"), [("s3://b/k\x00", "json_forbidden_character"), ("s3://b/" + "k" * 4096, "schema_invalid")]
)
async def test_a_location_that_no_store_can_hold(way: Way, location: str, code: str) -> None:
    file = {"path": "model.bin", "sha256": "ab" * 32, "size": 1, "location": location}
    await way.refuses({"model": "bad-uri", "files": [file]}, code, model="bad-uri", readable=False)


@pytest.mark.parametrize("path", PATHS, ids=ascii)
async def test_a_path_that_is_no_path_inside_a_model(way: Way, path: str) -> None:
    file = {"path": path, "sha256": "ab" * 32, "size": 1}
    await way.refuses({"model": "bad-path", "files": [file]}, "file_path_invalid", model="bad-path", readable=False)


async def test_two_files_that_some_file_systems_cannot_tell_apart(way: Way) -> None:
    files = [{"path": path, "sha256": "ab" * 32, "size": 1} for path in ("Model.bin", "model.BIN")]
    await way.refuses({"model": "bad-path", "files": files}, "file_path_repeated", model="bad-path", readable=False)


# -- names and texts


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_a_name_that_is_no_models(way: Way, name: str) -> None:
    file = await way.intake.registry.land("model.bin", b"1")
    await way.refuses({"model": name, "files": [file]}, "model_name_invalid", model="bad-name", readable=False)


async def test_a_name_that_differs_from_a_models_only_in_case(way: Way) -> None:
    name = "bad-case-e" if isinstance(way, KafkaWay) else "bad-case-r"
    await way.intake.committed(await way.intake.send_good(name))
    file = await way.intake.registry.land("model.bin", b"look-alike")
    flow = await way.submit({"model": name.upper(), "files": [file]})
    rejected, _ = await way.intake.rejection(flow, "model_name_conflict", stage="commit", action="commit.rejected")
    assert (rejected["expected"], rejected["actual"]) == (name, name.upper())
    await way.intake.committed(await way.intake.send_good(name))
    assert [model.name async for model in way.intake.registry.client.models() if model.name.lower() == name] == [name]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"description": "a\u202egnp.exe"}, "text_invalid"),
        ({"description": "bell \x07"}, "text_invalid"),
        ({"description": "next line \x85"}, "text_invalid"),
        ({"description": "x" * 20_001}, "text_invalid"),
        ({"tags": {"a\x1b[2J": "b"}}, "text_invalid"),
        ({"tags": {"a": "\u2066b"}}, "text_invalid"),
        ({"facts": {"run_id": "r\u200f1"}}, "text_invalid"),
        ({"facts": {"params": {"p\x00": 1}}}, "json_forbidden_character"),
        ({"facts": {"params": {"p": "\x9b31m"}}}, "text_invalid"),
        ({"branch": "exp/../main"}, "branch_name_invalid"),
        ({"branch": "baseline"}, "branch_name_invalid"),
        ({"branch": "exp/\u0430"}, "branch_name_invalid"),
        ({"commit": "later"}, "schema_invalid"),
    ],
    ids=ascii,
)
async def test_a_text_that_reads_as_what_it_is_not(way: Way, fields: dict[str, Any], code: str) -> None:
    file = await way.intake.registry.land("model.bin", b"1")
    await way.refuses({"model": "bad-name", "files": [file], **fields}, code, model="bad-name", readable=False)


async def test_one_text_has_one_spelling(way: Way) -> None:
    file = await way.intake.registry.land("model.bin", b"spelling")
    fields = {"description": "caf\u0065\u0301\n\tof \U0001f40d", "tags": {"\u212b": "1"}, "facts": {"run_id": new_id()}}
    flow = await way.submit({"model": "bad-name", "files": [file], **fields})
    version = await committed(way, flow, "bad-name")
    assert (version["description"], version["tags"]) == ("caf\u00e9\n\tof \U0001f40d", {"\u00c5": "1"})


async def test_a_child_whose_parent_never_comes_is_rejected_in_the_end(intake: Intake, orphans: list[str]) -> None:
    for flow in orphans:
        rejected, _ = await intake.rejection(flow, "parent_unknown", stage="commit", action="commit.rejected")
        assert rejected["actual"] == "sha256:" + "0" * 64
    await intake.committed(await intake.send_good("bad-orphan"))


async def test_nothing_of_all_this_is_half_done(intake: Intake, orphans: list[str]) -> None:
    for flow in orphans:  # the last to end: an event is seen on its topic before ingest has read it there
        assert (await intake.registry.client.publication(flow, wait=40)).is_settled
    assert await intake.unfinished("uploading", "trained", "validating", "candidate") == []


async def _registered(registry: Outside, account: str) -> PublisherKey:
    pair = new_publisher_key()
    await registry.client.create_publisher_key({"account": account, "public_key": pair.public_pem.decode()})
    return pair
