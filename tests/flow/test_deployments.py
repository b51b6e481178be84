"""Deployers who report by event: what they say is what everybody then sees."""

from __future__ import annotations

from pathlib import Path

from muniment.contracts import topics
from muniment.sdk import deployment_reported, new_publisher_key

from .conftest import Outside, model_folder


async def test_a_signed_report_on_the_topic_is_current_and_audited(registry: Outside, tmp_path: Path) -> None:
    await registry.client.publish(model_folder(tmp_path / "run", "deployed"), model="deployed")
    key = new_publisher_key()
    await registry.client.create_publisher_key({"account": "argo", "public_key": key.public_pem.decode()})
    for ref in ("nowhere/1", "deployed/1"):  # the bad one holds up nothing
        await registry.send(
            deployment_reported(
                ref,
                environment="production",
                deployer="argo",
                state="running",
                source="//deployers.example/argo",
                private_key=key.private_pem,
                topic_prefix=registry.prefix,
            )
        )
    entry = await registry.until_audited("models/deployed/deployments/production/argo", "deployment.reported")
    assert (entry["operator"], entry["authenticated_by"]) == ("muniment|argo", "signature")
    assert entry["cause"]["topic"] == topics.DEPLOYMENT_REPORTED.wire_name(registry.prefix)
    (current,) = [one async for one in registry.client.deployments("deployed")]
    assert (current["number"], current["state"], current["operator"]) == (1, "running", "muniment|argo")
    letters = [one async for one in registry.client.dead_letters("registry")]
    assert "model_not_found" in [one["code"] for one in letters]
