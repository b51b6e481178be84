"""Deploys every stable release of a model: fetched, checked, proved, swapped in at once, reported.

    python examples/deployer/deployer.py --model digits --into /srv/digits --log-key log.vkey

What it does with each release, and why in this order, is in README.md beside it. The server is found as by the command
line (MUNIMENT_URL and MUNIMENT_TOKEN, or a credentials file); with MUNIMENT_KAFKA__BOOTSTRAP it listens to the topics
and reports by a signed event.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from muniment.sdk import (
    Client,
    Conflict,
    Event,
    MunimentError,
    NotFound,
    Transient,
    deployment_reported,
    verify_directory,
)
from muniment.sdk.broker import Broker, find_broker
from muniment.verifier.checkpoint import Trust
from muniment.verifier.keys import parse_keys
from muniment.verifier.receipt import parse_receipt, verify_receipt

LOG_PATIENCE_S = 60.0
"""How long an event may be ahead of its audit entry's checkpoint, which follows within about a second."""


@dataclass(frozen=True)
class Wanted:
    """One thing to deploy: a reference that never moves, and the id that its bytes must have."""

    ref: str
    id: str
    model: str
    action: str
    resource: str
    """Of the audit entry that must be there."""

    @classmethod
    def of(cls, event: Event) -> Wanted | None:
        """What an event asks for; None for a pre-release and for what is not stable."""
        data, model = event.data, str(event.model)
        if event.kind == "release-published" and not data["prerelease"]:
            ref, resource = f"{model}@{data['release']}", f"models/{model}/releases/{data['release']}"
            return cls(ref, data["id"], model, "release.published", resource)
        if event.kind == "version-available" and data["stability"] == "stable":
            resource = f"models/{model}/versions/{data['number']}"
            return cls(f"{model}/{data['number']}", data["id"], model, "version.committed", resource)
        return None


@dataclass(frozen=True)
class Place:
    """Where it deploys to: `releases/ID/` for each, and the link `current` to the one that runs."""

    root: Path

    def release(self, wanted: Wanted) -> Path:
        """The folder of one release, which is there only when it is whole."""
        return self.root / "releases" / wanted.id.replace(":", "-")

    def done(self, wanted: Wanted) -> Path:
        """The mark that a release was deployed and reported."""
        folder = self.release(wanted)
        return folder.with_name(f"{folder.name}.deployed.json")

    def receipt(self, wanted: Wanted) -> Path:
        """The proof that the release is in the audit log, for who asks later."""
        folder = self.release(wanted)
        return folder.with_name(f"{folder.name}.tlog-proof")

    def swap(self, wanted: Wanted) -> None:
        """Make `current` this release: a rename, so that at each moment there is one, and a whole one."""
        fresh = self.root / ".current.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path("releases") / self.release(wanted).name)
        fresh.replace(self.root / "current")
        folder = os.open(self.root, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Deployer:
    """Handles one event after the other. Doing one twice changes nothing, wherever the first time was cut off."""

    def __init__(self, client: Client, place: Place, options: argparse.Namespace, broker: Broker | None) -> None:
        self._client = client
        self._place = place
        self._options = options
        self._broker = broker
        self._trust = Trust(tuple(parse_keys(options.log_key.read_text())))

    def handle(self, event: Event) -> None:
        """Deploy what the event announces, unless that has been done."""
        wanted = Wanted.of(event)
        if wanted is None or self._place.done(wanted).exists():
            return
        self._fetch(wanted)
        self._prove(wanted)
        self._place.swap(wanted)
        self._report(wanted, event)
        write(self._place.done(wanted), json.dumps({"ref": wanted.ref, "id": wanted.id, "event": event.id}))
        print(f"deployed {wanted.ref} {wanted.id}", flush=True)

    def _fetch(self, wanted: Wanted) -> None:
        """Download beside its place, re-read every byte, and only then give it the name that counts."""
        folder = self._place.release(wanted)
        if folder.is_dir():
            return
        partial = folder.with_name(f".{folder.name}.part")
        self._client.download(wanted.ref, partial)  # goes on with what is there, and checks while it streams
        found = verify_directory(partial, expected_id=wanted.id)
        if not found.ok:
            raise SystemExit(f"{wanted.ref} differs from its manifest: {found.problems[0]}")
        partial.replace(folder)

    def _prove(self, wanted: Wanted) -> None:
        """Show offline, by the log's key that we were given, that the log has this very id as published."""
        raw = self._receipt(wanted).encode()
        receipt = parse_receipt(raw)
        entry = receipt.extra or b""
        verify_receipt(receipt, entry, self._trust)
        told = json.loads(entry)
        ids = {change.get("after") for change in told.get("changes", ()) if change["path"] in {"version", "release"}}
        if (told["action"], told["resource"]) != (wanted.action, wanted.resource) or wanted.id not in ids:
            raise SystemExit(f"the log's entry is of {told['action']} {told['resource']}, not of {wanted.ref}")
        write(self._place.receipt(wanted), raw.decode())

    def _receipt(self, wanted: Wanted) -> str:
        """The receipt of the release's entry; the event may be some moments ahead of both."""
        until = time.monotonic() + LOG_PATIENCE_S
        while True:
            with contextlib.suppress(Conflict, NotFound):  # no checkpoint has it yet
                entries = self._client.audit_entries(model=wanted.model, action=wanted.action, resource=wanted.resource)
                for entry in entries:
                    return self._client.audit_receipt(entry.index)
            if time.monotonic() > until:
                raise SystemExit(f"the audit log has no {wanted.action} {wanted.resource}")
            time.sleep(0.5)

    def _report(self, wanted: Wanted, event: Event) -> None:
        """Say that it runs. Its time is the event's, so a repetition has the same id and changes nothing."""
        said = {"environment": self._options.environment, "deployer": self._options.name, "state": "running"}
        if self._broker is None:
            self._client.report_deployment(wanted.ref, **said, at=event.time)
            return
        key = self._options.publisher_key
        record = deployment_reported(
            wanted.ref,
            **said,
            source=f"//{self._options.name}.deployers.invalid/",
            at=datetime.fromisoformat(str(event.time)),
            private_key=key.read_bytes() if key else None,
            topic_prefix=self._broker.topic_prefix,
        )
        asyncio.run(send(self._broker, record))


async def send(broker: Broker, record: Any) -> None:
    """Write one record and wait until it is durable."""
    from aiokafka import AIOKafkaProducer

    async with AIOKafkaProducer(**broker.options(), acks="all") as producer:
        await producer.send_and_wait(record.topic, key=record.key, value=record.value, headers=record.headers)


def write(place: Path, text: str) -> None:
    """Write a file whole or not at all."""
    fresh = place.with_name(f".{place.name}.new")
    with fresh.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(place)


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """One deployer a place: two would swap against each other."""
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"another deployer works in {root}") from None
        yield


def main(argv: list[str] | None = None) -> None:
    """Listen and deploy until interrupted."""
    parser = argparse.ArgumentParser(description="Deploy every stable release of a model.")
    parser.add_argument("--model", required=True, help="a name, or a pattern with * and ?")
    parser.add_argument("--into", type=Path, required=True, help="the folder that gets releases/ and current")
    parser.add_argument("--log-key", type=Path, required=True, help="the audit log's public key, from whom you trust")
    parser.add_argument("--follow", choices=("releases", "versions"), default="releases")
    parser.add_argument("--environment", default="production")
    parser.add_argument("--name", default="example-deployer", help="who reports")
    parser.add_argument("--publisher-key", type=Path, help="signs reports over Kafka: Ed25519, PEM")
    parser.add_argument("--once", action="store_true", help="deploy what is there and end")
    options = parser.parse_args(argv)
    place = Place(options.into.resolve())
    (place.root / "releases").mkdir(parents=True, exist_ok=True)
    kinds: dict[str, Any] = (
        {"type": "release-published"}
        if options.follow == "releases"
        else {"type": "version-available", "stability": "stable"}
    )
    broker = find_broker()
    with alone(place.root), Client() as client:
        deployer = Deployer(client, place, options, broker)
        # The place in the file moves after each event that was handled: who is killed meanwhile gets that one again.
        events = client.events(
            "beginning",
            cursor=place.root / "cursor",
            model=options.model,
            follow=not options.once,
            over=None if broker is None else "kafka",
            **kinds,
        )
        for event in events:
            handle_patiently(deployer, event)


def handle_patiently(deployer: Deployer, event: Event) -> None:
    """Try again while the registry does not answer; anything else ends us, and a restart begins with this event."""
    for pause in (1.0, 5.0, 30.0, 60.0):
        try:
            return deployer.handle(event)
        except Transient as error:
            print(f"{event.id}: {error}; again in {pause:g} s", flush=True)
            time.sleep(pause)
    return deployer.handle(event)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
    except MunimentError as error:
        raise SystemExit(f"{error.code}: {error}") from error
