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
from muniment.server.demo.heard import hear_webhook, read_mail
from muniment.server.demo.mailbox import Mailbox
from muniment.server.demo.story import Failed, check, say, story, title
from muniment.server.demo.training import Trained, train_both
from muniment.server.demo.witnesses import Consumer, WebhookReceiver


def run_demo(keep: Path | None, *, as_json: bool) -> int:
    """Run everything; 0 when every step showed what it should. `keep` keeps the data in that folder.

    With `as_json` the story goes to stderr and stdout gets `{"ok": ..., "seconds": ..., "steps": [...]}`.
    """
    begun = time.monotonic()
    story.to = sys.stderr if as_json else sys.stdout
    failure: str | None = None
    with tempfile.TemporaryDirectory(prefix="muniment-demo-") as temporary:
        folder = Path(temporary)
        try:
            with Mailbox() as mailbox, _stack(keep or folder / "data", mailbox) as environment:
                asyncio.run(_steps(folder, environment, mailbox))
        except (Failed, MunimentError, TimeoutError) as error:
            failure = str(error) or repr(error)
            say(f"\nthe demo failed: {failure}")
    seconds = round(time.monotonic() - begun, 1)
    if failure is None:
        say(f"\nall of this took {seconds:.0f} s; next: make up (or muniment up), which keeps a stack running")
    if as_json:
        print(json.dumps({"ok": failure is None, "error": failure, "seconds": seconds, "steps": story.steps}))
    return 0 if failure is None else 1


async def _steps(folder: Path, environment: dict[str, str], mailbox: Mailbox) -> None:
    from muniment.sdk import Client

    title("train two real models on scikit-learn's digits")
    first, second = await asyncio.to_thread(train_both, folder / "runs")
    for run in (first, second):
        say(f"  {run.name}: accuracy {run.metrics['accuracy']}, files {_listing(run.folder)}")
    client = Client(environment["url"], environment["token"])
    with WebhookReceiver() as receiver:
        wanted = {"types": [topics.VERSION_AVAILABLE.type], "model": "digits"}
        by_webhook = client.create_subscription({"name": "demo", "url": receiver.url, **wanted})
        by_mail = client.create_subscription(
            {"name": "demo-mail", "channel": "email", "email": "models@example.org", **wanted}
        )
        async with Consumer(environment["MUNIMENT_KAFKA__BOOTSTRAP"]) as consumer:
            version, flow = await _publish_over_http(client, consumer, first)
            await _publish_over_kafka(client, consumer, second, environment)
            await _download(client, version, folder)
            await _audit(client, version)
            await _reject(client, consumer, first, environment)
            await _refuse_deletion(client, version, environment)
        hear_webhook(receiver, version, flow, by_webhook["secret"])
        read_mail(mailbox, client, version, by_mail)


async def _publish_over_http(client: Any, consumer: Consumer, run: Trained) -> tuple[Any, str]:
    title("publish the first by HTTP and follow its event through every topic")
    begun = time.monotonic()
    publication = await asyncio.to_thread(
        client.publish, run.folder, model="digits", hyperparams=run.hyperparams, metrics=run.metrics, run_id="demo-1"
    )
    took = time.monotonic() - begun
    version = publication.version
    await consumer.until_committed(publication.id)
    _timeline(consumer, publication.id)
    say(f"  => {version.model}/{version.number} {version.id[:19]}… on {version.branch}, {took * 1000:.0f} ms in all")
    return version, publication.id


async def _publish_over_kafka(client: Any, consumer: Consumer, run: Trained, environment: dict[str, str]) -> None:
    title("publish the second as an outsider: files in a landing bucket, one signed CloudEvent on Kafka")
    from muniment.sdk.event import new_publisher_key

    key = new_publisher_key()
    client.create_publisher_key({"account": "demo-trainer", "public_key": key.public_pem.decode()})
    files = _land(run, environment)
    record, flow = _event(files, run, key.private_pem, "demo-2")
    await _produce(environment, record)
    available = await consumer.until_committed(flow)
    _timeline(consumer, flow)
    data = available.data
    say(f"  => {data['model']}/{data['number']} {data['id'][:19]}… by {data['operator']}")
    check(data["operator"] == "muniment|demo-trainer", "the operator is the key's account", data["operator"])


async def _download(client: Any, version: Any, folder: Path) -> None:
    title("download the version and verify every byte against its manifest")
    target = folder / "downloaded"
    await asyncio.to_thread(client.download, version.ref, target)
    verification = await asyncio.to_thread(client.verify, version.ref, target)
    say(f"  {_listing(target)}")
    check(verification.ok, "the downloaded files match the manifest", verification)
    say(f"  manifest SHA-256 = version id = {version.id}")


async def _audit(client: Any, version: Any) -> None:
    title("its audit entries")
    entries = await _entries(client, version)
    for entry in entries:
        told = entry["entry"]
        say(f"  {entry['index']:>4}  {told['action']:<22} {told['operator']:<22} leaf {entry['leaf_hash'][:12]}…")
    actions = {entry["entry"]["action"] for entry in entries}
    check(
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
    title("a wrong digest is rejected, with what was expected and what was found")
    files = _land(run, environment)
    files[0]["sha256"] = hashlib.sha256(b"something else").hexdigest()
    record, flow = _event(files, run, None, "demo-3")
    await _produce(environment, record)
    rejected = (await consumer.until(topics.MODEL_REJECTED, flow=flow)).data
    say(f"  {rejected['code']}: {rejected['message']}")
    say(f"    expected {rejected['expected']}\n    actual   {rejected['actual']}")
    check(rejected["code"] == "digest_mismatch", "the rejection names the digest", rejected["code"])


async def _refuse_deletion(client: Any, version: Any, environment: dict[str, str]) -> None:
    title("the store refuses to delete the committed bytes, even to its administrator")
    from minio.error import S3Error

    store = _store(environment)
    place = client.version(version.ref).raw["files"][0]["location"]
    try:
        store.remove_object(place["bucket"], place["key"], version_id=place["version_id"])
    except S3Error as error:
        say(f"  DELETE {place['key'][:40]}…?versionId={place['version_id'][:12]}… -> {error.code}: {error.message}")
    else:
        raise Failed("the store deleted a committed version-id")
    kept = store.stat_object(place["bucket"], place["key"], version_id=place["version_id"])
    say(f"  and the bytes are still there: {kept.size} B")


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
        say(f"  +{after:>4} ms  {one.topic:<34} {one.partition}/{one.offset:<4} {what}")


@contextmanager
def _stack(data: Path, mailbox: Mailbox) -> Iterator[dict[str, str]]:
    """`muniment up` as a process of its own, as a user would start it; yields its URL, token and parts."""
    title("start real Kafka, Postgres and S3, and the five services")
    command = [sys.executable, "-m", "muniment.cli", "up", "--data-dir", str(data), "--http", "127.0.0.1:0"]
    # Bytes of a demonstration must not be locked for a year.
    short = {"MUNIMENT_REGISTRY__PRODUCTION__RETENTION_S": "3600", "MUNIMENT_REGISTRY__RETENTION_MARGIN_S": "60"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **short, **mailbox.settings}
    )
    try:
        assert process.stdout is not None  # noqa: S101  # reason: asked for a pipe
        url = next((line.split()[1] for line in process.stdout if line.startswith("ready ")), None)
        if url is None:
            raise Failed("`muniment up` ended before it was ready; its messages are above")
        environment = dict(line.split("=", 1) for line in (data / "parts.env").read_text("utf-8").splitlines())
        environment["url"] = url
        environment["token"] = json.loads((data / "credentials.json").read_text("utf-8"))["token"]
        say(f"  ready at {url}")
        yield environment
    finally:
        process.terminate()
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()


def _listing(folder: Path) -> str:
    return ", ".join(f"{path.name} ({path.stat().st_size} B)" for path in sorted(folder.iterdir()))
