"""Deployers' reports from Kafka: what they lead to by HTTP, from whoever signed them, and an end for every bad one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from muniment.contracts import signature, topics
from muniment.contracts.cloudevent import decode, encode
from muniment.runtime.settings import Settings
from muniment.sdk import deployment_reported, new_publisher_key
from muniment.sdk.event import KafkaRecord

from .conftest import BUCKET, PREFIX, Key, Registry

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SOURCE = "//deployers.test/argo"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Where unsigned events are not taken."""
    given = {"data_dir": tmp_path, "s3": {"bucket": BUCKET}, "ingest": {"allow_unsigned": False}}
    return Settings.model_validate(given)


@pytest.fixture
def argo(registry: Registry) -> Key:
    """A deployer's key."""
    return registry.keys.register("argo")


def reported(key: Key | None, ref: str = "digits/1", **options: Any) -> KafkaRecord:
    """A report as its deployer sends it."""
    fields = {"environment": "production", "deployer": "argo", "state": "running", "at": AT, "source": SOURCE}
    given: dict[str, Any] = {**fields, "private_key": key.private_pem if key else None, **options}
    return deployment_reported(ref, topic_prefix=PREFIX, **given)


async def rows(registry: Registry) -> list[dict[str, Any]]:
    """All reports that were kept, in order."""
    found = await registry.pool.fetch("SELECT * FROM deployment ORDER BY seq")
    return [dict(row) for row in found]


async def test_a_signed_report_has_the_effect_and_the_entry_of_one_by_http(registry: Registry, argo: Key) -> None:
    await registry.commit()
    more = {"url": "https://run.test", "details": "three pods"}
    body = {"ref": "digits/1", "environment": "production", "deployer": "argo", "state": "running", **more}
    await registry.post("/models/digits/deployments", as_="ada", status=201, at=AT.isoformat(), **body)
    sent = reported(argo, **more)
    await registry.take_sent(sent, sent)
    await registry.take_sent(sent)

    by_http, by_event = await rows(registry)
    own = {"seq", "operator", "reported_at"}
    assert {k: v for k, v in by_event.items() if k not in own} == {k: v for k, v in by_http.items() if k not in own}
    assert (by_http["operator"], by_event["operator"]) == ("muniment|ada", "muniment|argo")
    first, second = await registry.audits("deployment.reported")
    for field in ("action", "model", "resource", "changes"):
        assert second[field] == first[field]
    assert (second["operator"], second["authenticated_by"]) == ("muniment|argo", "signature")
    assert second["cause"]["topic"] == topics.DEPLOYMENT_REPORTED.wire_name(PREFIX)
    assert second["cause"]["id"].startswith(sent.event_id)
    told = [one for one in await registry.sent(topics.REGISTRY_CHANGED) if one["kind"] == "deployment-reported"]
    assert [one["operator"] for one in told] == ["muniment|ada", "muniment|argo"]
    assert await registry.dead_letters() == []


async def test_a_report_without_a_moment_is_of_when_its_event_was_made(registry: Registry, argo: Key) -> None:
    await registry.commit()
    await registry.take_sent(reported(argo, state="started"), reported(argo, at=None))
    started, running = await rows(registry)
    assert started["at"] == AT
    assert AT < running["at"] <= datetime.now(UTC)


async def test_every_bad_report_ends_and_holds_up_no_good_one(registry: Registry, argo: Key) -> None:
    await registry.commit()
    await registry.commit("other")
    stranger = Key("stranger", b"", new_publisher_key().private_pem)
    forged = reported(argo, state="stopped")
    forged = forged._replace(value=forged.value.replace(b"stopped", b"started"))
    bad = {
        "model_not_found": reported(argo, "nowhere/1"),
        "version_not_found": reported(argo, "digits/9"),
        "reference_not_found": reported(argo, "digits@1.0.0"),
        "deployment_in_future": reported(argo, at=datetime(2999, 1, 1, tzinfo=UTC)),
        "signature_missing": reported(None),
        "signature_unknown_key": reported(stranger),
        "signature_invalid": forged,
        "schema_invalid": reported(argo)._replace(value=b'{"model": "digits"}'),
        "json_malformed": reported(argo)._replace(value=b"{"),
    }
    await registry.take_sent(*bad.values(), reported(argo))  # whose id and content are those of an unsigned one
    letters = await registry.pool.fetch("SELECT code FROM dead_letter")
    assert sorted(row["code"] for row in letters) == sorted(bad)
    entries = await registry.audits("deployment.refused")
    assert len(entries) == len(bad)
    assert all(entry["outcome"] == "refused" for entry in entries)
    known = {entry["reason"].partition(":")[0] for entry in entries if entry["operator"] == "muniment|argo"}
    assert known == {"model_not_found", "version_not_found", "reference_not_found", "deployment_in_future"}
    assert len(await rows(registry)) == 1


async def test_nobody_reports_in_the_name_of_another(registry: Registry, argo: Key) -> None:
    await registry.commit()
    event = decode(reported(argo).headers, reported(argo).value)
    claims = replace(event, data=event.data[:-1] + b',"operator":"muniment|ada"}')
    headers, value = encode(claims)
    signed = [*headers, (signature.HEADER, signature.sign(claims, argo.private_pem))]
    await registry.take_sent(reported(argo)._replace(headers=signed, value=value))
    assert await rows(registry) == []
    (entry,) = await registry.audits("deployment.refused")
    assert entry["reason"].startswith("operator_mismatch: ")
    assert entry["operator"] == "muniment|argo"


async def test_an_event_id_that_another_deployer_used_hides_no_entry(registry: Registry, argo: Key) -> None:
    await registry.commit()
    eve = registry.keys.register("eve")
    await registry.take_sent(reported(argo, event_id="1"))
    await registry.take_sent(reported(eve, event_id="1", source="//deployers.test/eve"))
    assert [entry["operator"] for entry in await registry.audits("deployment.reported")] == [
        "muniment|argo",
        "muniment|eve",
    ]
    ids = await registry.pool.fetch("SELECT id FROM outbox WHERE type = $1", topics.AUDIT_REQUESTED.type)
    assert len({row["id"] for row in ids}) == len(ids)


async def test_a_report_that_came_too_early_is_taken_when_it_is_given_again(registry: Registry, argo: Key) -> None:
    sent = reported(argo)
    await registry.take_sent(sent)
    assert len(await registry.audits("deployment.refused")) == 1
    await registry.commit()
    await registry.take_sent(sent)
    assert len(await rows(registry)) == 1


async def test_an_unsigned_copy_in_the_same_batch_does_not_displace_the_signed_one(
    registry: Registry, argo: Key
) -> None:
    await registry.commit()
    await registry.take_sent(reported(None), reported(argo), reported(argo))
    assert [row["operator"] for row in await rows(registry)] == ["muniment|argo"]
