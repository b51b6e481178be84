"""Publications by HTTP: begun, uploaded, completed, resumed, abandoned and listed."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

from muniment.contracts import topics

from .conftest import LANDING, MODELS, Http, Ingest, declared

DATA = b"weights of a model"
LARGE = bytes(range(256)) * 4096 * 6  # 6 MiB: two parts of 5 MiB at most


async def published(http: Http, data: bytes = DATA, **given: Any) -> str:
    """Begin, upload, complete; returns the publication's id."""
    begun = await http.begin(declared(data), **given)
    said = [await http.put(slot, data) for slot in begun["files"] if slot["upload"]]
    publication_id: str = begun["publication"]["id"]
    await http.complete(publication_id, *said)
    return publication_id


# -- the way in


async def test_one_file_from_begin_to_trained(ingest: Ingest, http: Http) -> None:
    begun = await http.begin(declared(DATA), facts={"params": {"lr": 0.1}}, branch="exp/a", commit="manual")
    publication = begun["publication"]
    assert (publication["stage"], publication["operator"], publication["branch"]) == (
        "uploading",
        "muniment|ada",
        "exp/a",
    )
    (slot,) = begun["files"]
    assert (slot["held"], slot["upload"]["kind"], slot["upload"]["method"]) == (False, "single", "PUT")
    assert await ingest.sent(topics.MODEL_TRAINED) == []

    said = await http.put(slot, DATA)
    answer = await http.complete(publication["id"], said)
    assert answer["publication"]["stage"] == "trained"
    (event,) = await ingest.sent(topics.MODEL_TRAINED)
    assert (event["publication_id"], event["operator"], event["authenticated_by"]) == (
        publication["id"],
        "muniment|ada",
        "token",
    )
    assert event["facts"]["params"] == {"lr": 0.1}
    sha256 = declared(DATA)["sha256"]
    assert event["files"] == [
        {
            **declared(DATA),
            "origin": "upload",
            "role": "file",
            "location": {
                "bucket": MODELS,
                "key": f"blobs/sha256/{sha256[:2]}/{sha256}",
                "version_id": said["version_id"],
            },
        }
    ]
    (entry,) = await ingest.audits()
    assert (entry["action"], entry["operator"], entry["cause"]["kind"]) == (
        "publication.accepted",
        "muniment|ada",
        "request",
    )
    assert {"path": "stage", "before": "uploading", "after": "trained"} in entry["changes"]
    assert await ingest.count("upload") == 0
    shown = await http.show(publication["id"])
    assert [one["stage"] for one in shown["history"]] == ["uploading", "trained"]


async def test_a_large_file_goes_up_in_parts_and_is_resumed(ingest: Ingest, http: Http) -> None:
    begun = await http.begin(declared(LARGE))
    publication_id = begun["publication"]["id"]
    way = begun["files"][0]["upload"]
    assert (way["kind"], len(way["parts"]), [part["done"] for part in way["parts"]]) == ("multipart", 2, [False, False])
    first = await http.put_part(way, way["parts"][0], LARGE)

    (slot,) = (await http.call("GET", f"/publications/{publication_id}/slots", status=200))["files"]
    assert slot["upload"]["upload_id"] == way["upload_id"]
    assert [part["done"] for part in slot["upload"]["parts"]] == [True, False]
    assert slot["upload"]["parts"][0]["etag"] == first["etag"].strip('"')
    second = await http.put_part(way, slot["upload"]["parts"][1], LARGE)

    await http.complete(publication_id, {"path": "model.bin", "parts": [first, second]})
    (event,) = await ingest.sent(topics.MODEL_TRAINED)
    location = event["files"][0]["location"]
    stored = await ingest.blobs.stat(location["bucket"], location["key"], location["version_id"])
    assert stored.size == len(LARGE)
    assert await ingest.count("upload") == 0


async def test_parts_need_not_be_told(ingest: Ingest, http: Http) -> None:
    begun = await http.begin(declared(LARGE))
    await http.put(begun["files"][0], LARGE)
    await http.complete(begun["publication"]["id"])
    assert len(await ingest.sent(topics.MODEL_TRAINED)) == 1


async def test_files_with_one_digest_are_uploaded_once(ingest: Ingest, http: Http) -> None:
    begun = await http.begin(declared(DATA, "a.bin"), declared(DATA, "b.bin"), declared(b"else", "c.bin"))
    assert [slot["held"] for slot in begun["files"]] == [False, True, False]
    said = [
        await http.put(begun["files"][0], DATA),
        await http.put(begun["files"][2], b"else"),
    ]
    await http.complete(begun["publication"]["id"], *said)
    (event,) = await ingest.sent(topics.MODEL_TRAINED)
    assert [file["path"] for file in event["files"]] == ["a.bin", "b.bin", "c.bin"]
    assert event["files"][0]["location"] == event["files"][1]["location"] != event["files"][2]["location"]


async def test_files_in_a_landing_bucket_need_no_upload(ingest: Ingest, http: Http) -> None:
    landed = await ingest.land(b"landed", "run-1/landed.bin")
    begun = await http.begin(landed, declared(DATA, "up.bin"))
    assert [slot["held"] for slot in begun["files"]] == [True, False]
    await ingest.blobs.put(LANDING, "run-1/landed.bin", b"edited")
    await http.complete(begun["publication"]["id"], await http.put(begun["files"][1], DATA))
    (event,) = await ingest.sent(topics.MODEL_TRAINED)
    assert [file["origin"] for file in event["files"]] == ["landing", "upload"]
    stored = event["files"][0]["location"]
    with ingest.blobs.open(await ingest.blobs.stat(stored["bucket"], stored["key"], stored["version_id"])) as reader:
        assert b"".join(reader.read_chunks()) == b"landed"


async def test_held_bytes_need_no_upload(ingest: Ingest, http: Http) -> None:
    location = await ingest.blobs.put(MODELS, "kept", DATA)
    await ingest.pool.execute(
        "INSERT INTO held_blob VALUES ($1, $2, $3, $4, $5)",
        declared(DATA)["sha256"],
        len(DATA),
        location.bucket,
        location.key,
        location.version_id,
    )
    begun = await http.begin(declared(DATA))
    assert begun["files"] == [{**declared(DATA), "held": True, "upload": None}]
    await http.complete(begun["publication"]["id"])
    (event,) = await ingest.sent(topics.MODEL_TRAINED)
    assert (event["files"][0]["origin"], event["files"][0]["location"]["version_id"]) == ("held", location.version_id)


# -- once


async def test_the_same_key_and_body_are_the_same_publication(ingest: Ingest, http: Http) -> None:
    first = await http.begin(declared(DATA), key="k 1")
    again = await http.begin(declared(DATA), key="k 1", status=200)
    assert again["publication"] == first["publication"]
    assert again["files"][0]["upload"]["kind"] == "single"
    assert await ingest.count("publication") == 1
    await http.complete(first["publication"]["id"], await http.put(again["files"][0], DATA))
    after = await http.begin(declared(DATA), key="k 1", status=200)
    assert (after["publication"]["stage"], after["files"][0]["held"]) == ("trained", True)


async def test_the_same_key_with_another_body_is_refused_and_audited(ingest: Ingest, http: Http) -> None:
    first = await http.begin(declared(DATA), key="k1")
    problem = await http.begin(declared(b"else"), key="k1", status=409)
    assert problem["code"] == "idempotency_key_reused"
    (entry,) = await ingest.audits()
    assert (entry["action"], entry["outcome"], entry["operator"]) == ("publication.refused", "refused", "muniment|ada")
    assert entry["reason"].startswith("idempotency_key_reused")
    assert (await http.show(first["publication"]["id"]))["stage"] == "uploading"


async def test_a_key_is_its_operators_own(ingest: Ingest, http: Http) -> None:
    one = await http.begin(declared(DATA), key="k1")
    other = await http.begin(declared(DATA), key="k1", as_="bob")
    assert one["publication"]["id"] != other["publication"]["id"]


async def test_without_a_key_each_request_is_a_publication(http: Http) -> None:
    one, other = await http.begin(declared(DATA)), await http.begin(declared(DATA))
    assert one["publication"]["id"] != other["publication"]["id"]


async def test_twenty_requests_with_one_key_at_once_are_one_publication(ingest: Ingest, http: Http) -> None:
    answers = await asyncio.gather(
        *(
            http.client.post(
                "/publications",
                json={"model": "digits", "files": [declared(LARGE)]},
                headers={"authorization": "Bearer ada", "idempotency-key": "k1"},
            )
            for _ in range(20)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["publication"]["id"] for answer in answers}) == 1
    assert len({answer.json()["files"][0]["upload"]["upload_id"] for answer in answers}) == 1
    assert len(ingest.blobs._uploads) == 1


async def test_complete_again_answers_the_same_and_sends_nothing(ingest: Ingest, http: Http) -> None:
    begun = await http.begin(declared(LARGE))
    publication_id = begun["publication"]["id"]
    said = await http.put(begun["files"][0], LARGE)
    first = await http.complete(publication_id, said)
    assert await http.complete(publication_id, said) == await http.complete(publication_id)
    assert (await http.complete(publication_id))["publication"]["stage"] == first["publication"]["stage"] == "trained"
    assert len(await ingest.sent(topics.MODEL_TRAINED)) == 1
    assert len(await ingest.audits()) == 1


async def test_ten_completes_at_once_are_one(ingest: Ingest, http: Http) -> None:
    begun = await http.begin(declared(LARGE), declared(DATA, "small.bin"))
    said = [await http.put(begun["files"][0], LARGE), await http.put(begun["files"][1], DATA)]
    await asyncio.gather(*(http.complete(begun["publication"]["id"], *said) for _ in range(10)))
    assert len(await ingest.sent(topics.MODEL_TRAINED)) == 1
    assert len(await ingest.audits()) == 1


async def test_a_crash_after_the_store_joined_the_parts_loses_nothing(ingest: Ingest, http: Http) -> None:
    begun = await http.begin(declared(LARGE))
    publication_id = begun["publication"]["id"]
    said = await http.put(begun["files"][0], LARGE)
    (upload,) = (await ingest.uploads._draft(publication_id)).uploads
    assert upload.upload_id is not None
    parts = await ingest.blobs.list_parts(upload.bucket, upload.key, upload.upload_id)
    await ingest.blobs.complete_multipart(upload.bucket, upload.key, upload.upload_id, parts)

    (slot,) = (await http.call("GET", f"/publications/{publication_id}/slots", status=200))["files"]
    assert (slot["held"], slot["upload"]) == (True, None)
    await http.complete(publication_id, said)
    assert len(await ingest.sent(topics.MODEL_TRAINED)) == 1


async def test_an_upload_that_the_store_dropped_begins_anew(ingest: Ingest, http: Http) -> None:
    begun = await http.begin(declared(LARGE))
    publication_id, way = begun["publication"]["id"], begun["files"][0]["upload"]
    sha256 = declared(LARGE)["sha256"]
    await ingest.blobs.abort_multipart(MODELS, f"blobs/sha256/{sha256[:2]}/{sha256}", way["upload_id"])
    assert (await http.complete(publication_id, status=409))["code"] == "upload_missing"
    (slot,) = (await http.call("GET", f"/publications/{publication_id}/slots", status=200))["files"]
    assert slot["upload"]["upload_id"] != way["upload_id"]
    await http.complete(publication_id, await http.put(slot, LARGE))
    assert len(await ingest.sent(topics.MODEL_TRAINED)) == 1


# -- looking


async def test_lists_are_pages_newest_first_with_filters(ingest: Ingest, http: Http) -> None:
    made = [
        (await http.begin(declared(DATA), model=("digits", "Faces")[number % 2]))["publication"]["id"]
        for number in range(7)
    ]
    await http.call("DELETE", f"/publications/{made[0]}", status=204)
    await http.call("DELETE", f"/publications/{made[1]}", status=204)

    async def listed(**query: Any) -> list[str]:
        found: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = await http.call("GET", "/publications", as_="reader", status=200, params={**query, **token})
            assert len(page["items"]) <= query["limit"]
            found += [item["id"] for item in page["items"]]
            if page["next_page_token"] is None:
                return found
            token = {"page_token": page["next_page_token"]}

    newest = made[::-1]
    assert await listed(limit=3) == newest
    assert await listed(limit=2, model="FACES") == [one for one in newest if made.index(one) % 2]
    assert await listed(limit=2, stage="abandoned") == [made[1], made[0]]
    assert await listed(limit=1, stage="uploading", model="digits") == [made[6], made[4], made[2]]
    for query in ({"stage": "finished"}, {"model": "a\x00b"}, {"limit": 10**9}, {"page_token": "made-up"}):
        await http.call("GET", "/publications", status=400 if "page_token" in query else 422, params=query)


async def test_a_publication_shows_what_became_of_it(ingest: Ingest, http: Http) -> None:
    publication_id = await published(http)
    await ingest.pool.execute(
        """UPDATE publication SET stage = 'rejected', rank = 4, rejection = $2, bytes_done = 1, bytes_total = 2
        WHERE id = $1""",
        publication_id,
        json.dumps({"stage": "validation", "code": "digest_mismatch", "expected": "a", "actual": "b"}),
    )
    shown = await http.call("GET", f"/publications/{publication_id}?wait=60", status=200)
    assert (shown["stage"], shown["rejection"]["code"], shown["version"]) == ("rejected", "digest_mismatch", None)
    assert shown["progress"] == {"bytes_done": 1, "bytes_total": 2}
    await http.call("GET", f"/publications/{publication_id}?wait=61", status=422)


# -- given up


async def test_an_upload_is_abandoned_once(ingest: Ingest, http: Http) -> None:
    begun = await http.begin(declared(LARGE), key="k1")
    path = f"/publications/{begun['publication']['id']}"
    await http.call("DELETE", path, status=204)
    await http.call("DELETE", path, status=204)
    assert (await http.show(begun["publication"]["id"]))["stage"] == "abandoned"
    assert ingest.blobs._uploads == {}
    assert await ingest.count("upload") == 0
    (entry,) = await ingest.audits()
    assert (entry["action"], entry["outcome"], entry["operator"]) == ("publication.abandoned", "done", "muniment|ada")
    assert (await http.complete(begun["publication"]["id"], status=409))["code"] == "publication_closed"
    again = await http.begin(declared(LARGE), key="k1", status=200)
    assert again["publication"]["stage"] == "abandoned"
    assert again["files"][0]["upload"] is None


async def test_a_complete_upload_cannot_be_abandoned(ingest: Ingest, http: Http) -> None:
    publication_id = await published(http)
    problem = await http.call("DELETE", f"/publications/{publication_id}", status=409)
    assert (problem["code"], problem["actual"]) == ("publication_complete", "trained")
    assert [entry["action"] for entry in await ingest.audits()] == ["publication.accepted", "publication.refused"]


async def test_old_uploads_are_abandoned_and_their_parts_freed(ingest: Ingest, http: Http) -> None:
    old = await http.begin(declared(LARGE))
    young = await http.begin(declared(LARGE + b"!"))
    done = await published(http)
    await ingest.pool.execute(
        "UPDATE publication SET created_at = created_at - $2::interval WHERE id = ANY($1::uuid[])",
        [old["publication"]["id"], done],
        timedelta(days=8),
    )
    assert await ingest.cleaning.clean_batch() == 1
    assert await ingest.cleaning.clean_batch() == 0
    assert (await http.show(old["publication"]["id"]))["stage"] == "abandoned"
    assert (await http.show(young["publication"]["id"]))["stage"] == "uploading"
    assert (await http.show(done))["stage"] == "trained"
    assert set(ingest.blobs._uploads) == {young["files"][0]["upload"]["upload_id"]}
    entry = (await ingest.audits())[-1]
    assert (entry["action"], entry["operator"], entry["authenticated_by"], entry["cause"]["kind"]) == (
        "publication.abandoned",
        "muniment|ingest",
        "service",
        "schedule",
    )


async def test_two_cleaners_abandon_each_upload_once(ingest: Ingest, http: Http) -> None:
    for number in range(5):
        await http.begin(declared(LARGE + bytes([number])))
    await ingest.pool.execute("UPDATE publication SET created_at = created_at - interval '8 days'")
    await asyncio.gather(ingest.cleaning.clean_batch(), ingest.cleaning.clean_batch())
    await ingest.cleaning.clean_batch()
    assert len(await ingest.audits()) == 5
    assert ingest.blobs._uploads == {}
    assert await ingest.count("upload") == 0
