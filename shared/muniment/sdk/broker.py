"""Which broker the SDK listens to: from the same variables that the services read."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from muniment.contracts.errors import Misconfigured

_REACH_S: Final = 3.0
_PREFIX: Final = "MUNIMENT_KAFKA__"


@dataclass(frozen=True, slots=True)
class Broker:
    """How to reach a Kafka cluster, and what its topics' names begin with."""

    bootstrap: str
    topic_prefix: str = "muniment."
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    cafile: str | None = None

    def options(self) -> dict[str, Any]:
        """As aiokafka's clients take it. TLS is decided by `security_protocol` alone."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": self.security_protocol,
            "client_id": "muniment-sdk",
        }
        if self.security_protocol != "PLAINTEXT":
            options["ssl_context"] = ssl.create_default_context(cafile=self.cafile)
        if self.sasl_mechanism is not None:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password
        return options


def find_broker(environ: Mapping[str, str] | None = None) -> Broker | None:
    """The broker of `MUNIMENT_KAFKA__BOOTSTRAP` and its neighbours (`..._SECURITY_PROTOCOL`, ...), None without it.

    Raises `Misconfigured` (`broker_invalid`).
    """
    env = os.environ if environ is None else environ
    bootstrap = env.get(f"{_PREFIX}BOOTSTRAP")
    if not bootstrap:
        return None
    names = ("topic_prefix", "security_protocol", "sasl_mechanism", "username", "password", "cafile")
    given = {name: value for name in names if (value := env.get(_PREFIX + name.upper()))}
    if given.get("security_protocol", "PLAINTEXT") not in {"PLAINTEXT", "SSL", "SASL_SSL"}:
        raise Misconfigured(
            "broker_invalid",
            f"{_PREFIX}SECURITY_PROTOCOL is not known",
            expected="PLAINTEXT, SSL or SASL_SSL",
            actual=repr(given["security_protocol"]),
        )
    return Broker(bootstrap, **given)


async def answers(broker: Broker) -> bool:
    """Whether one of its addresses takes a connection now, and the Kafka client library is installed."""
    from importlib.util import find_spec

    if find_spec("aiokafka") is None:
        return False
    for address in broker.bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            async with asyncio.timeout(_REACH_S):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, ValueError, TimeoutError):
            continue
        writer.close()
        return True
    return False
