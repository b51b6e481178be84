"""Publications by HTTP: what is refused, by whom and why, and what is said while a part is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from muniment.contracts import topics

from .conftest import LANDING, Http, Ingest, declared

DATA = b"weights of a model"
LARGE = bytes(range(256)) * 4096 * 6  # 6 MiB: two parts of 5 MiB at most


# -- refused


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"size": 0}, "file_empty"),
        ({"size": -1}, "schema_invalid"),
        ({"size": 1.5}, "schema_invalid"),
        ({"size": 2**53}, "json_integer_range"),
        ({"sha256": "md5:" + "a" * 32}, "digest_invalid"),
        ({"sha256": "A" * 64}, "digest_invalid"),
        ({"sha256": "sha256:" + "a" * 63}, "digest_invalid"),
        ({"path": "../escape"}, "file_path_invalid"),
        ({"path": "/etc/passwd"}, "file_path_invalid"),
        ({"path": "a\\b"}, "file_path_invalid"),
        ({"path": "a\u0000b"}, "json_forbidden_character"),
        ({"location": "file:///etc/passwd"}, "location_invalid"),
        ({"location": "s3://elsewhere/key"}, "location_not_allowed"),
        ({"location": f"s3://{LANDING}/nothing-here"}, "file_missing"),
        ({"version_id": "v1"}, "version_id_without_location"),
        ({"surprise": True}, "schema_invalid"),
    ],
)
async def test_a_file_that_is_refused(ingest: Ingest, http: Http, change: dict[str, Any], code: str) -> None:
    problem = await http.begin({**declared(DATA), **change}, status=422)
    assert problem["code"] == code
    assert await ingest.count("publication") == 0
    assert await ingest.count("upload") == 0
    (entry,) = await ingest.audits()
    assert (entry["action"], entry["outcome"], entry["operator"]) == ("publication.refused", "refused", "muniment|ada")
    assert entry["reason"].startswith(code + ": ")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"model": "digits\n"}, "model_name_invalid"),
        ({"model": "dіgits"}, "model_name_invalid"),
        ({"model": "d" * 129}, "model_name_invalid"),
        ({"branch": "baseline"}, "branch_name_invalid"),
        ({"description": "a\u202eb"}, "text_invalid"),
        ({"files": []}, "schema_invalid"),
        ({"files": [declared(DATA, "a"), declared(b"else", "A")]}, "file_path_repeated"),
        ({"files": [declared(DATA, "a"), {**declared(DATA, "b"), "size": 3}]}, "size_contradiction"),
        ({"commit": "maybe"}, "schema_invalid"),
    ],
)
async def test_a_declaration_that_is_refused(ingest: Ingest, http: Http, fields: dict[str, Any], code: str) -> None:
    body = {"model": "digits", "files": [declared(DATA)], **fields}
    problem = await http.call("POST", "/publications", status=422, json=body)
    assert problem["code"] == code
    assert await ingest.count("publication") == 0
    assert len(await ingest.audits()) == 1


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "json_empty"),
        (b'{"model": "digits", "files": [', "json_malformed"),
        (b'\xef\xbb\xbf{"model": "digits"}', "json_encoding"),
        (b'{"model": "digits", "model": "other"}', "json_duplicate_name"),
        (b'{"model": "digits", "files": [], "x": NaN}', "json_not_finite"),
        (b"[" * 100_000, "json_too_deep"),
    ],
)
async def test_a_body_that_is_refused(ingest: Ingest, http: Http, raw: bytes, code: str) -> None:
    assert (await http.call("POST", "/publications", status=422, content=raw))["code"] == code
    assert await ingest.count("publication") == 0
    (entry,) = await ingest.audits()
    assert (entry["resource"], entry["operator"]) == ("publications", "muniment|ada")


@pytest.mark.parametrize("length", ["told", "untold"])
async def test_a_body_above_the_limit_is_refused_unread(ingest: Ingest, http: Http, length: str) -> None:
    raw = b'{"model": "' + b"d" * (1024 * 1024) + b'"}'

    async def streamed() -> AsyncIterator[bytes]:
        for start in range(0, len(raw), 65536):
            yield raw[start : start + 65536]

    content = raw if length == "told" else streamed()
    assert (await http.call("POST", "/publications", status=413, content=content))["code"] == "json_too_large"
    assert await ingest.count("publication") == 0


async def test_somebody_elses_name_in_the_payload_is_refused(ingest: Ingest, http: Http) -> None:
    problem = await http.begin(declared(DATA), operator="muniment|bob", status=403)
    assert (problem["code"], problem["expected"], problem["actual"]) == (
        "operator_mismatch",
        "muniment|ada",
        "muniment|bob",
    )
    assert [entry["operator"] for entry in await ingest.audits()] == ["muniment|ada"]
    assert await ingest.count("publication") == 0


async def test_landed_bytes_of_another_size_are_refused_with_both(ingest: Ingest, http: Http) -> None:
    problem = await http.begin({**await ingest.land(DATA), "size": 7}, status=422)
    assert (problem["code"], problem["expected"], problem["actual"]) == ("size_mismatch", "7 B", f"{len(DATA)} B")
    assert "model.bin" in problem["detail"]


async def test_an_upload_of_another_size_can_be_done_again(ingest: Ingest, http: Http) -> None:
    begun = await http.begin(declared(DATA))
    publication_id = begun["publication"]["id"]
    wrong = await http.put(begun["files"][0], DATA + b"!")
    problem = await http.complete(publication_id, wrong, status=422)
    assert (problem["code"], problem["expected"], problem["actual"]) == (
        "size_mismatch",
        f"{len(DATA)} B",
        f"{len(DATA) + 1} B",
    )
    assert [entry["outcome"] for entry in await ingest.audits()] == ["refused"]
    assert (await http.show(publication_id))["stage"] == "uploading"
    await http.complete(publication_id, await http.put(begun["files"][0], DATA))
    assert [entry["outcome"] for entry in await ingest.audits()] == ["refused", "done"]


async def test_parts_of_another_size_can_be_uploaded_again(ingest: Ingest, http: Http) -> None:
    begun = await http.begin(declared(LARGE))
    publication_id = begun["publication"]["id"]
    wrong = await http.put(begun["files"][0], LARGE + b"!")
    assert (await http.complete(publication_id, wrong, status=422))["code"] == "size_mismatch"
    (slot,) = (await http.call("GET", f"/publications/{publication_id}/slots", status=200))["files"]
    assert [part["done"] for part in slot["upload"]["parts"]] == [False, False]
    await http.complete(publication_id, await http.put(slot, LARGE))
    assert len(await ingest.sent(topics.MODEL_TRAINED)) == 1


@pytest.mark.parametrize("data", [DATA, LARGE])
async def test_complete_before_the_upload_is_a_conflict(ingest: Ingest, http: Http, data: bytes) -> None:
    begun = await http.begin(declared(data))
    problem = await http.complete(begun["publication"]["id"], status=409)
    assert problem["code"] == "upload_missing"
    assert "model.bin" in problem["detail"]
    assert (await http.show(begun["publication"]["id"]))["stage"] == "uploading"


async def test_a_version_id_that_is_not_there_is_a_conflict(http: Http) -> None:
    begun = await http.begin(declared(DATA))
    await http.put(begun["files"][0], DATA)
    said = {"path": "model.bin", "version_id": "made-up"}
    assert (await http.complete(begun["publication"]["id"], said, status=409))["code"] == "upload_missing"


async def test_a_part_with_another_etag_is_refused(http: Http) -> None:
    begun = await http.begin(declared(LARGE))
    said = await http.put(begun["files"][0], LARGE)
    said["parts"][0]["etag"] = "0" * 32
    assert (await http.complete(begun["publication"]["id"], said, status=422))["code"] == "parts_invalid"


async def test_complete_names_only_files_of_the_publication(http: Http) -> None:
    begun = await http.begin(declared(DATA))
    problem = await http.complete(begun["publication"]["id"], {"path": "other.bin"}, status=422)
    assert (problem["code"], problem["actual"]) == ("file_unknown", "other.bin")


async def test_nobody_else_goes_on_with_an_upload_but_an_admin(ingest: Ingest, http: Http) -> None:
    begun = await http.begin(declared(DATA))
    publication_id = begun["publication"]["id"]
    path = f"/publications/{publication_id}"
    assert (await http.call("GET", f"{path}/slots", as_="bob", status=403))["code"] == "publication_of_another"
    assert (await http.complete(publication_id, as_="bob", status=403))["code"] == "publication_of_another"
    assert (await http.call("DELETE", path, as_="bob", status=403))["code"] == "publication_of_another"
    said = await http.put(begun["files"][0], DATA)
    await http.complete(publication_id, said, as_="root")
    (event,) = await ingest.sent(topics.MODEL_TRAINED)
    assert event["operator"] == "muniment|ada"
    assert [entry["operator"] for entry in await ingest.audits()] == ["muniment|bob"] * 3 + ["muniment|root"]


async def test_readers_read_and_strangers_do_nothing(http: Http) -> None:
    begun = await http.begin(declared(DATA))
    publication_id = begun["publication"]["id"]
    await http.show(publication_id)
    for method, path in (
        ("POST", "/publications"),
        ("POST", f"/publications/{publication_id}/complete"),
        ("GET", f"/publications/{publication_id}/slots"),
        ("DELETE", f"/publications/{publication_id}"),
    ):
        assert (await http.call(method, path, as_="reader", status=403))["code"] == "role_missing"
        assert (await http.call(method, path, as_="nobody", status=401))["code"] == "token_invalid"
    for path in ("/publications", f"/publications/{publication_id}"):
        await http.call("GET", path, as_="nobody", status=401)


@pytest.mark.parametrize("path", ["", "/slots", "/complete"])
@pytest.mark.parametrize(
    ("publication_id", "code", "status"),
    [
        ("00000000-0000-5000-8000-00000000000f", "publication_not_found", 404),
        ("NOT-A-UUID", "publication_id_invalid", 422),
    ],
)
async def test_publications_that_are_not_there(
    http: Http, path: str, publication_id: str, code: str, status: int
) -> None:
    method = "POST" if path == "/complete" else "GET"
    given: dict[str, Any] = {"json": {"files": []}} if method == "POST" else {}
    problem = await http.call(method, f"/publications/{publication_id}{path}", status=status, **given)
    assert problem["code"] == code


# -- when parts are away


async def test_a_store_that_is_away_is_503_and_the_same_key_goes_on(ingest: Ingest, http: Http) -> None:
    landed = await ingest.land(DATA)
    ingest.blobs.away = True
    answer = await http.client.post(
        "/publications",
        json={"model": "digits", "files": [landed]},
        headers={"authorization": "Bearer ada", "idempotency-key": "k1"},
    )
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert await ingest.audits() == []
    ingest.blobs.away = False
    await http.begin(landed, key="k1")
