"""A live stack with two witnesses: its log verifies with both cosignatures, and a pack of it on any machine."""

from __future__ import annotations

import asyncio
import base64
import os
from contextlib import ExitStack
from pathlib import Path

from muniment.adapters.postgres import connect
from muniment.adapters.signing_keys import TextKeys
from muniment.audit.note import VerifierKey
from muniment.contracts.errors import NotFound
from muniment.contracts.topics import AUDIT_LOG
from muniment.server.endpoints import endpoints_of
from muniment.server.parts import Parts
from muniment.server.stack import running_stack
from muniment.server.verifying.work import ALL, Places, verify_layers
from muniment.server.wiring import chosen
from muniment.verifier.checkpoint import Trust
from muniment.verifier.evidence import verify_evidence
from muniment.verifier.keys import parse_key
from tests.conftest import new_database
from tests.integration.audit.test_cosigning import running

from .conftest import Outside, _fields, model_folder, outside, stack_settings

ORIGIN = "example.com/flow"


async def is_published(seen: Outside, model: str) -> bool:
    """Whether the newest checkpoint covers what the log has of the model."""
    last = [entry.index async for entry in seen.client.audit_entries(model=model)][-1]
    try:
        note = await seen.client.audit_checkpoint()
    except NotFound:
        return False
    return int(note.split("\n")[1]) > last


async def test_a_live_log_with_two_witnesses(parts: Parts, tmp_path: Path) -> None:
    seed = base64.b64encode(b"flow".ljust(32, b"!")).decode()
    (signer,) = TextKeys(seed, "test").load()
    vkey = VerifierKey(ORIGIN, signer.public_key).vkey
    with ExitStack() as processes:
        witnesses = [
            processes.enter_context(running(tmp_path / f"w{number}", f"witness.example.com/w{number}", vkey)).settings
            for number in (1, 2)
        ]
        settings = stack_settings(
            tmp_path / "stack",
            audit={
                "origin": ORIGIN,
                "signing_keys": seed,
                "bucket": f"audit-witnessed-{os.getpid()}",
                "retention_s": 60,
                "witnessing": {"witnesses": [one.model_dump() for one in witnesses], "every_s": 0.1, "timeout_s": 5},
            },
        )
        endpoints = endpoints_of(parts)
        endpoints = type(endpoints)(**{**_fields(endpoints), "postgres_dsn": await new_database(parts)})
        trust = Trust((parse_key(vkey),), tuple(parse_key(one.vkey) for one in witnesses), 2)
        async with (
            running_stack(settings, endpoints, chosen(()), lambda _: None) as stack,
            outside(settings, endpoints, stack.url) as seen,
        ):
            await seen.client.publish(model_folder(tmp_path / "model"), model="witnessed")
            await seen.until_audited("models/witnessed/versions/1", "version.committed")
            async with asyncio.timeout(20):  # the topic has an entry up to a second before it is published
                while not await is_published(seen, "witnessed"):
                    await asyncio.sleep(0.05)
            database = await connect(endpoints.postgres_dsn, "audit")
            try:
                places = Places(
                    blobs=seen.store,
                    tiles=settings.audit.bucket,
                    models=settings.s3.bucket,
                    kafka=endpoints.kafka,
                    topic=AUDIT_LOG.wire_name(settings.kafka.topic_prefix),
                    database=database,
                )
                report = await verify_layers(places, trust, ALL, lambda *_: None)
            finally:
                await database.close()
            assert report.ok, report.as_json()
            assert len(report.facts["cosigned_by"]) == 2
            for _ in range(50):  # a pack made between a checkpoint and its cosignatures lacks them
                made = await seen.client.audit_export("witnessed", tmp_path / "pack.tar")
                found = await asyncio.to_thread(
                    verify_evidence, Path(made["file"]), trust.log, trust.witnesses, 2, lambda *_: None
                )
                if found.ok:
                    break
    assert found.ok, found.as_json()
    assert found.facts["manifests"] == 1
