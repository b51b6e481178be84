"""The demo's steps. Each is something a user of Muniment does, done from outside with public clients only."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from muniment.contracts import topics
from muniment.contracts.errors import MunimentError
from muniment.server.demo.training import Trained, train_both
from muniment.server.demo.witnesses import Consumer, WebhookReceiver


class Failed(Exception):
    """A step did not show what it should."""


def run_demo(keep: Path | None) -> int:
    """Run everything; 0 when every step showed what it should. `keep` keeps the data in that folder."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="muniment-demo-") as temporary:
        folder = Path(temporary)
        try:
            with _stack(keep or folder / "data") as environment:
                asyncio.run(_steps(folder, environment))
        except (Failed, MunimentError, TimeoutError) as error:
            _say(f"\nthe demo failed: {error}")
            return 1
    _say(f"\nall of this took {time.monotonic() - begun:.0f} s; `muniment up` keeps a stack running")
    return 0


async def _steps(folder: Path, environment: dict[str, str]) -> None:
    from muniment.sdk import Client

    _title("train two real models on scikit-learn's digits")
    first, second = await asyncio.to_thread(train_both, folder / "runs")
    for run in (first, second):
        _say(f"  {run.name}: accuracy {run.metrics['accuracy']}, files {_listing(run.folder)}")
    client = Client(environment["url"], environment["token"])
    with WebhookReceiver() as receiver:
        subscription = client.create_subscription(
            {"name": "demo", "types": [topics.VERSION_AVAILABLE.type], "model": "digits", "url": receiver.url}
        )
        async with Consumer(environment["MUNIMENT_KAFKA__BOOTSTRAP"]) as consumer:
            version = await _publish_over_http(client, consumer, first)
            await _publish_over_kafka(client, consumer, second, environment)
            _hear(receiver, version, subscription["secret"])
            await _download(client, version, folder)
            await _audit(client, consumer, version)
            await _reject(client, consumer, first, environment)
            await _refuse_deletion(client, version, environment)


async def _publish_over_http(client: Any, consumer: Consumer, run: Trained) -> Any:
    _title("publish the first by HTTP and follow its event through every topic")
    begun = time.monotonic()
    publication = await asyncio.to_thread(
        client.publish, run.folder, model="digits", hyperparams=run.hyperparams, metrics=run.metrics, run_id="demo-1"
    )
    took = time.monotonic() - begun
    version = publication.version
    await consumer.until(topics.VERSION_AVAILABLE, flow=publication.id)
    _timeline(consumer, publication.id)
    _say(f"  => {version.model}/{version.number} {version.id[:19]}… on {version.branch}, {took * 1000:.0f} ms in all")
    return version


async def _publish_over_kafka(client: Any, consumer: Consumer, run: Trained, environment: dict[str, str]) -> None:
    _title("publish the second as an outsider: files in a landing bucket, one signed CloudEvent on Kafka")
    from muniment.sdk.event import new_publisher_key

    key = new_publisher_key()
    client.create_publisher_key({"account": "demo-trainer", "public_key": key.public_key.decode()})
    files = _land(run, environment)
    record, flow = _event(files, run, key.private_key, "demo-2")
    await _produce(environment, record)
    available = await consumer.until(topics.VERSION_AVAILABLE, flow=flow)
    _timeline(consumer, flow)
    data = available.data
    _say(f"  => {data['model']}/{data['number']} {data['id'][:19]}… by {data['operator']}")
    _check(data["operator"] == "muniment|demo-trainer", "the operator is the key's account", data["operator"])


def _hear(receiver: WebhookReceiver, version: Any, secret: str) -> None:
    _title("the webhook receiver heard of it too")
    from standardwebhooks import Webhook

    headers, body = receiver.until(version.publication)
    Webhook(secret).verify(body, headers)
    told = json.loads(body)
    _say(f"  {told['type']} {told['subject']}, signature verified, webhook-id {headers['webhook-id']}")
    _check(told["data"]["id"] == version.id, "the webhook names the version", told["data"]["id"])


async def _download(client: Any, version: Any, folder: Path) -> None:
    _title("download the version and verify every byte against its manifest")
    target = folder / "downloaded"
    await asyncio.to_thread(client.download, version.id_reference, target)
    verification = await asyncio.to_thread(client.verify, version.id_reference, target)
    _say(f"  {_listing(target)}")
    _check(verification.ok, "the downloaded files match the manifest", verification)
    _say(f"  manifest SHA-256 = version id = {version.id}")


async def _audit(client: Any, consumer: Consumer, version: Any) -> None:
    _title("its audit entries")
    await consumer.until(topics.AUDIT_LOG, flow=version.publication)
    entries = await _entries(client, version)
    for entry in entries:
        _say(
            f"  {entry['index']:>4}  {entry['entry']['action']:<22} {entry['entry']['operator']:<22} leaf {entry['leaf_hash'][:12]}…"
        )
    actions = {entry["entry"]["action"] for entry in entries}
    _check(
        {"publication.accepted", "validation.passed", "version.committed"} <= actions,
        "every step has its entry",
        actions,
    )


async def _entries(client: Any, version: Any) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 20
    while True:
        entries = [
            entry.raw for entry in await asyncio.to_thread(lambda: list(client.audit_entries(model=version.model)))
        ]
        actions = [entry["entry"]["action"] for entry in entries]
        if "version.committed" in actions or time.monotonic() > deadline:
            return entries
        await asyncio.sleep(0.1)


async def _reject(client: Any, consumer: Consumer, run: Trained, environment: dict[str, str]) -> None:
    _title("a wrong digest is rejected, with what was expected and what was found")
    files = _land(run, environment)
    files[0]["sha256"] = hashlib.sha256(b"something else").hexdigest()
    record, flow = _event(files, run, None, "demo-3")
    await _produce(environment, record)
    rejected = (await consumer.until(topics.MODEL_REJECTED, flow=flow)).data
    _say(f"  {rejected['code']}: {rejected['message']}")
    _say(f"    expected {rejected['expected']}\n    actual   {rejected['actual']}")
    _check(rejected["code"] == "digest_mismatch", "the rejection names the digest", rejected["code"])


async def _refuse_deletion(client: Any, version: Any, environment: dict[str, str]) -> None:
    _title("the store refuses to delete the committed bytes, even to its administrator")
    from minio.error import S3Error

    store = _store(environment)
    place = client.version(version.id_reference).raw["files"][0]["location"]
    try:
        store.remove_object(place["bucket"], place["key"], version_id=place["version_id"])
    except S3Error as error:
        _say(f"  DELETE {place['key'][:40]}…?versionId={place['version_id'][:12]}… -> {error.code}: {error.message}")
    else:
        raise Failed("the store deleted a committed version-id")
    kept = store.stat_object(place["bucket"], place["key"], version_id=place["version_id"])
    _say(f"  and the bytes are still there: {kept.size} B")


def _land(run: Trained, environment: dict[str, str]) -> list[dict[str, Any]]:
    """Put the run's files into the landing bucket, as any S3 client can."""
    store = _store(environment)
    files = []
    for path in sorted(run.folder.iterdir()):
        key = f"{run.name}/{path.name}"
        store.fput_object("muniment-landing", key, str(path))
        data = path.read_bytes()
        files.append(
            {
                "path": path.name,
                "sha256": hashlib.sha256(data).hexdigest(),
                "size": len(data),
                "location": f"s3://muniment-landing/{key}",
            }
        )
    return files


def _event(files: list[dict[str, Any]], run: Trained, key: bytes | None, run_id: str) -> tuple[Any, str]:
    from muniment.contracts.ids import publication_id_of
    from muniment.sdk.event import training_completed

    source = "//trainers.example/digits"
    record = training_completed(
        "digits",
        files,
        source=source,
        private_key=key,
        hyperparams=run.hyperparams,
        metrics=run.metrics,
        run_id=run_id,
    )
    return record, publication_id_of(source, record.event_id)


async def _produce(environment: dict[str, str], record: Any) -> None:
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(bootstrap_servers=environment["MUNIMENT_KAFKA__BOOTSTRAP"])
    await producer.start()
    try:
        await producer.send_and_wait(record.topic, key=record.key, value=record.value, headers=record.headers)
    finally:
        await producer.stop()


def _store(environment: dict[str, str]) -> Any:
    from minio import Minio

    return Minio(
        endpoint=urlsplit(environment["MUNIMENT_S3__ENDPOINT"]).netloc,
        access_key=environment["MUNIMENT_S3__ACCESS_KEY"],
        secret_key=environment["MUNIMENT_S3__SECRET_KEY"],
        region=environment["MUNIMENT_S3__REGION"],
        secure=False,
    )


def _timeline(consumer: Consumer, flow: str) -> None:
    seen = consumer.of_flow(flow)
    for one in seen:
        after = one.timestamp_ms - seen[0].timestamp_ms
        what = one.data.get("action") or one.data.get("entry", {}).get("action") or ""
        _say(f"  +{after:>4} ms  {one.topic:<34} {one.partition}/{one.offset:<4} {what}")


@contextmanager
def _stack(data: Path) -> Iterator[dict[str, str]]:
    """`muniment up` as a process of its own, as a user would start it; yields its URL, token and parts."""
    _title("start real Kafka, Postgres and S3, and the five services")
    command = [
        sys.executable,
        "-m",
        "muniment.cli",
        "up",
        "--data-dir",
        str(data),
        "--http",
        "127.0.0.1:0",
        "--parts-env",
    ]
    # Bytes of a demonstration must not be locked for a year.
    short = {"MUNIMENT_REGISTRY__PRODUCTION__RETENTION_S": "3600", "MUNIMENT_REGISTRY__RETENTION_MARGIN_S": "60"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **short})
    try:
        assert process.stdout is not None  # noqa: S101  # reason: asked for a pipe
        environment: dict[str, str] = {}
        for line in process.stdout:
            if line.startswith("ready "):
                environment["url"] = line.split()[1]
                break
            name, equals, value = line.rstrip("\n").partition("=")
            if equals:
                environment[name] = value
        else:
            raise Failed("`muniment up` ended before it was ready; its messages are above")
        environment["token"] = json.loads((data / "credentials.json").read_text("utf-8"))["token"]
        _say(f"  ready at {environment['url']}")
        yield environment
    finally:
        process.terminate()
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()


def _check(holds: bool, what: str, found: object) -> None:
    if not holds:
        raise Failed(f"expected: {what}; found: {found}")


def _listing(folder: Path) -> str:
    return ", ".join(f"{path.name} ({path.stat().st_size} B)" for path in sorted(folder.iterdir()))


_steps_said = 0


def _title(text: str) -> None:
    global _steps_said
    _steps_said += 1
    _say(f"\n{_steps_said}. {text}")


def _say(text: str) -> None:
    print(text, flush=True)
