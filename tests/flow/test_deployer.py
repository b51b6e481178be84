"""The example deployer, run for real: what it leaves is whole, proved and reported, whatever is repeated."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from muniment.contracts import topics
from muniment.sdk import new_publisher_key, verify_directory

from .conftest import Outside, model_folder

PROGRAM = Path(__file__).parents[2] / "examples" / "deployer" / "deployer.py"


@dataclass
class Deploying:
    """A place that a deployer works on."""

    registry: Outside
    model: str
    into: Path
    log_key: Path

    async def run(self, *words: str, kafka: bool = True, expect: int = 0) -> str:
        """Run it over what is there; what it printed."""
        broker = {
            "MUNIMENT_KAFKA__BOOTSTRAP": self.registry.endpoints.kafka.bootstrap,
            "MUNIMENT_KAFKA__TOPIC_PREFIX": self.registry.prefix,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            *("--model", self.model, "--into", str(self.into), "--log-key", str(self.log_key), "--once", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")},
                "MUNIMENT_URL": self.registry.url,
                "MUNIMENT_TOKEN": self.registry.token,
                **(broker if kafka else {}),
            },
        )
        async with asyncio.timeout(90):
            out, _ = await process.communicate()
        assert process.returncode == expect, out.decode()
        return out.decode()

    def reports(self) -> list[str]:
        """Ids of the reports on the topic, each once."""
        records = self.registry.records(topics.DEPLOYMENT_REPORTED)
        names = {
            name: value for record in records for name, value in record.headers if record.key == self.model.encode()
        }
        return sorted({names["ce_id"].decode()} if names else set())

    async def deployments(self) -> list[tuple[str, str]]:
        return [(one["deployer"], one["state"]) async for one in self.registry.client.deployments(self.model)]


@pytest.fixture
async def deploying(registry: Outside, tmp_path: Path, request: pytest.FixtureRequest) -> Deploying:
    """A model with two stable releases and a pre-release between them."""
    model = f"deployed-{request.node.name.removeprefix('test_')[:20]}".replace("_", "-")
    for number, release in enumerate(("1.0.0", "1.1.0-rc.1", "1.1.0"), start=1):
        await registry.client.publish(model_folder(tmp_path / release, f"{model} {release}"), model=model)
        await registry.client.publish_release(model, release, ref=f"{model}/{number}")
    name = topics.RELEASE_PUBLISHED
    await registry.until(lambda: len([r for r in registry.records(name) if r.key == model.encode()]) == 3)
    key = tmp_path / "log.vkey"
    keys = await registry.client.audit_keys()
    key.write_text("".join(f"{item['vkey']}\n" for item in keys["items"]))
    return Deploying(registry, model, tmp_path / "srv", key)


async def test_each_stable_release_is_deployed_in_order_and_once(deploying: Deploying, tmp_path: Path) -> None:
    registry, model = deploying.registry, deploying.model
    signing = tmp_path / "publisher.pem"
    pair = new_publisher_key()
    signing.write_bytes(pair.private_pem)
    await registry.client.create_publisher_key({"account": "deployer", "public_key": pair.public_pem.decode()})
    out = await deploying.run("--publisher-key", str(signing))
    assert [line.split()[1] for line in out.splitlines()] == [f"{model}@1.0.0", f"{model}@1.1.0"]
    newest = (await registry.client.release(f"{model}@1.1.0")).id
    current = deploying.into / "current"
    assert current.is_symlink()
    assert current.resolve().name == newest.replace(":", "-")
    assert (current / "weights.bin").read_text() == f"{model} 1.1.0"
    assert verify_directory(current.resolve(), expected_id=newest).ok
    assert len(list((deploying.into / "releases").glob("*.tlog-proof"))) == 2
    entry = await registry.until_audited(
        f"models/{model}/deployments/production/example-deployer", "deployment.reported"
    )
    assert (entry["operator"], entry["authenticated_by"]) == ("muniment|deployer", "signature")

    # It dies after the swap, and its cursor is lost: everything comes again.
    reported = deploying.reports()
    (deploying.into / "cursor").unlink()
    (current.resolve().parent / f"{current.resolve().name}.deployed.json").unlink()
    out = await deploying.run("--publisher-key", str(signing))
    assert [line.split()[1] for line in out.splitlines()] == [f"{model}@1.1.0"], "what was done is not done again"
    assert current.resolve().name == newest.replace(":", "-")
    assert deploying.reports() == reported, "a repeated report has the same id"
    assert await deploying.run() == ""


async def test_what_is_not_in_the_log_we_trust_is_not_deployed(deploying: Deploying) -> None:
    assert await deploying.run(kafka=False) != ""
    assert await deploying.deployments() == [("example-deployer", "running")]
    elsewhere = Deploying(deploying.registry, deploying.model, deploying.into.with_name("other"), deploying.log_key)
    name, _, _ = deploying.log_key.read_text().partition("+")
    other = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"  # a published example of a key
    elsewhere.log_key.write_text(f"{other}\n")
    assert name not in elsewhere.log_key.read_text()
    assert await elsewhere.run(kafka=False, expect=1) != ""
    assert not (elsewhere.into / "current").exists()
    assert not list((elsewhere.into / "releases").glob("*.deployed.json"))


async def test_bytes_that_changed_on_the_way_never_become_current(deploying: Deploying) -> None:
    """Between two runs somebody writes into the half-made folder."""
    registry = deploying.registry
    first = (await registry.client.release(f"{deploying.model}@1.0.0")).id.replace(":", "-")
    partial = deploying.into / "releases" / f".{first}.part"
    partial.mkdir(parents=True)
    (partial / "weights.bin").write_bytes(b"something else")
    (partial / "config.json").write_text('{"layers": 3}')
    await deploying.run(kafka=False)
    assert json.loads((deploying.into / "releases" / first / "config.json").read_text()) == {"layers": 2}
