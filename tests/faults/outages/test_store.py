"""Rows 14 to 16: the object store fails, lies, forgets, or will not lock. Fail closed, and go on when it is well again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from muniment.testing.tcp_proxy import HTTP_BODY, Fault
from tests.faults.http_proxy import Answer, HttpProxy, Request, refusal
from tests.faults.replicas import Replica

from .conftest import EVERYTHING, Outage

Break = Callable[[HttpProxy, random.Random], None]
TIMES = 15
"""How often each fault happens: several times for a publication's few requests."""


def _burst(status: int, code: str) -> Break:
    """Four of five requests, whatever they are."""

    def install(proxy: HttpProxy, luck: random.Random) -> None:
        def before(_: Request) -> Answer | None:
            if luck.random() < 0.2 or proxy.fired["fault"] >= 4 * TIMES:
                return None
            proxy.fired["fault"] += 1
            return refusal(status, code)

        proxy.before = before

    return install


def _changed(change: Callable[[Answer, random.Random], Answer]) -> Break:
    """Answers that carry an object's bytes, every other one."""

    def install(proxy: HttpProxy, luck: random.Random) -> None:
        def after(request: Request, answer: Answer) -> Answer:
            wanted = request.method == "GET" and request.key and answer.status == 200 and len(answer.body) > 100
            if not wanted or proxy.fired["fault"] >= TIMES or luck.random() < 0.5:
                return answer
            proxy.fired["fault"] += 1
            return change(answer, luck)

        proxy.after = after

    return install


def _wrong_body(answer: Answer, luck: random.Random) -> Answer:
    """As long as stated, one bit of it another."""
    at = luck.randrange(len(answer.body))
    return replace(answer, body=answer.body[:at] + bytes([answer.body[at] ^ 1]) + answer.body[at + 1 :])


def _truncated(answer: Answer, luck: random.Random) -> Answer:
    """Shorter than stated."""
    return replace(answer, sent=luck.randrange(len(answer.body)))


def _older_version(answer: Answer, _: random.Random) -> Answer:
    """Another version of the object, with its own bytes and its own version-id."""
    return replace(answer, body=bytes(len(answer.body)), headers={**answer.headers, "x-amz-version-id": "0" * 32})


def _older_bytes(answer: Answer, luck: random.Random) -> Answer:
    """Another version's bytes under the version-id that was asked for."""
    return replace(answer, body=luck.randbytes(len(answer.body)))


def _forgotten(prefix: str) -> Break:
    """A write that is acknowledged with a version-id and never happened."""

    def install(proxy: HttpProxy, luck: random.Random) -> None:
        def before(request: Request) -> Answer | None:
            plain = request.method == "PUT" and request.key.startswith(prefix) and not request.query
            if not plain or proxy.fired["fault"] >= TIMES or luck.random() < 0.5:
                return None
            proxy.fired["fault"] += 1
            given = {"x-amz-version-id": f"{luck.getrandbits(128):032x}", "etag": '"' + "0" * 32 + '"'}
            return Answer(200, {**given, "content-length": "0"})

        proxy.before = before

    return install


def _no_retention(proxy: HttpProxy, _: random.Random) -> None:
    """The right to lock is gone, for the bytes and for manifests."""

    def before(request: Request) -> Answer | None:
        locks = "retention" in request.query or "x-amz-object-lock-mode" in request.headers
        if request.method != "PUT" or not locks or proxy.fired["fault"] >= TIMES:
            return None
        proxy.fired["fault"] += 1
        return refusal(403, "AccessDenied")

    proxy.before = before


def _unlocked(proxy: HttpProxy, _: random.Random) -> None:
    """Manifests are stored, and the lock that was asked for is not in what the store says of them."""

    def after(request: Request, answer: Answer) -> Answer:
        told = request.method in {"HEAD", "GET"} and request.key.startswith("manifests/") and answer.status == 200
        if not told or proxy.fired["fault"] >= TIMES:
            return answer
        proxy.fired["fault"] += 1
        return replace(answer, headers={k: v for k, v in answer.headers.items() if "object-lock" not in k})

    proxy.after = after


def _no_rights(proxy: HttpProxy, luck: random.Random) -> None:
    """The credentials are refused for a while, for reading too."""
    _burst(403, "AccessDenied")(proxy, luck)


BREAKS: dict[str, Break] = {
    "burst of 503": _burst(503, "SlowDown"),
    "burst of 500": _burst(500, "InternalError"),
    "credentials refused": _no_rights,
    "wrong body of the right length": _changed(_wrong_body),
    "body shorter than stated": _changed(_truncated),
    "an older version": _changed(_older_version),
    "an older version's bytes": _changed(_older_bytes),
    "a copy acknowledged and lost": _forgotten("blobs/"),
    "a manifest acknowledged and lost": _forgotten("manifests/"),
    "retention refused": _no_retention,
    "lock not kept": _unlocked,
}
FEW = ["burst of 503", "wrong body of the right length", "a manifest acknowledged and lost", "retention refused"]
FAULTS: dict[str, Callable[[], Fault]] = {
    "silence": lambda: Fault(latency=1.0),
    "black hole": lambda: Fault(hold_after=0, times=TIMES),
    "reset in mid-body": lambda: Fault(reset_after=500, marker=HTTP_BODY, times=TIMES),
    "cut in mid-body": lambda: Fault(cut_after=500, marker=HTTP_BODY, times=TIMES),
}


@pytest.mark.parametrize("fault", BREAKS if EVERYTHING else FEW)
async def test_what_the_store_does_wrong_delays_and_spoils_nothing(healed: Outage, fault: str) -> None:
    pids = healed.pids()
    BREAKS[fault](healed.store, random.Random(healed.fleet.seed))
    await asyncio.gather(healed.load(8), healed.flood(1.0))
    await healed.recovered(pids)
    assert healed.store.fired["fault"] > 3, healed.fleet.why(f"{healed.store.fired}")


@pytest.mark.parametrize("fault", FAULTS if EVERYTHING else ["reset in mid-body"])
async def test_what_happens_on_the_way_to_the_store_delays_and_spoils_nothing(healed: Outage, fault: str) -> None:
    pids, proxy = healed.pids(), healed.fleet.cluster.store
    proxy.answers = FAULTS[fault]()
    await asyncio.gather(healed.load(8), healed.flood(1.0))
    proxy.heal()
    await healed.recovered(pids)
    fired = sum(count for name, count in proxy.fired.items() if name != "connected")
    assert fired > 3, healed.fleet.why(f"{proxy.fired}")


async def test_a_store_that_could_not_keep_versions_is_refused_at_start(healed: Outage) -> None:
    running = healed.fleet.cluster
    environment = running.replicas["registry"][0].environment
    bucket = f"unlocked-{running.name}"
    blobs = running.blobs()
    await blobs.ensure_bucket(bucket, object_lock=False)
    await blobs.aclose()
    replica = Replica("registry", running.folder / "unlocked", {**environment, "MUNIMENT_S3__BUCKET": bucket})
    with pytest.raises(AssertionError, match="bucket_without_object_lock"):
        await replica.start()
    BREAKS["retention refused"](healed.store, random.Random(healed.fleet.seed))
    replica = Replica("registry", running.folder / "refused", environment)
    with pytest.raises(AssertionError, match="store_access_denied"):
        await replica.start()
    assert healed.store.fired["fault"] > 0, healed.fleet.why("the store gave the lock")
