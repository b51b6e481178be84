"""Who may do what on which topic, from the topics' declaration: the rules for a broker with an authorizer.

Each service has a principal of its own, so the audit service's alone may write the audit log. The embedded broker has
no authorizer: there, whoever reaches its port (loopback alone) may write, and only the Merkle log shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from muniment.contracts import topics
from muniment.contracts.topics import SERVICES, Topic
from muniment.runtime.service import following_group

PRINCIPAL: Final = "User:muniment-{}"


@dataclass(frozen=True, slots=True)
class Acl:
    """One rule: what a principal may do on a topic or consumer group."""

    principal: str
    operations: tuple[str, ...]
    kind: str
    """`topic` or `group`."""
    name: str

    def fields(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "principal": self.principal,
            "operations": list(self.operations),
            "resource_type": self.kind,
            "resource_name": self.name,
        }

    def command(self) -> str:
        """As arguments of `kafka-acls.sh`."""
        allowed = " ".join(f"--operation {operation}" for operation in self.operations)
        return (
            "kafka-acls.sh --bootstrap-server BROKER --command-config ADMIN.properties --add "
            f"--allow-principal {self.principal} {allowed} --{self.kind} {self.name}"
        )


def acls(topic_prefix: str, group_prefix: str) -> list[Acl]:
    """All rules of the services. Trainers, deployers and auditors outside are the cluster's own to add."""
    rules: list[Acl] = []
    for service in SERVICES:
        principal = PRINCIPAL.format(service)
        rules.extend(
            Acl(principal, _operations(service, topic), "topic", topic.wire_name(topic_prefix))
            for topic in topics.everything()
        )
        own = f"{group_prefix}{service}"
        rules.extend(Acl(principal, ("Read",), "group", group) for group in (own, following_group(own)))
    return rules


def _operations(service: str, topic: Topic) -> tuple[str, ...]:
    writes = ("Write",) if service in topic.producers else ()
    reads = ("Read",) if service in topic.consumers else ()
    # Every process looks at the settings of all topics it makes or checks.
    return (*writes, *reads, "Describe", "DescribeConfigs")
