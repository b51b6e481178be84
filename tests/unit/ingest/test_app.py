"""Ingest's wiring: which topics it takes, and when it refuses to start."""

from __future__ import annotations

from typing import Any, cast

import pytest

from muniment.adapters.memory import MemoryBlobStore
from muniment.contracts import topics
from muniment.contracts.errors import Misconfigured
from muniment.ingest.app import build, service
from muniment.ingest.handlers import TrainingCompletedHandler
from muniment.ports.clock import SystemClock
from muniment.runtime.service import Built, Deps
from muniment.runtime.settings import IngestSettings, KafkaSettings, Settings

NOTHING = cast("Any", None)
MAIN = "muniment.training-completed.v1"


def built(ingest: dict[str, Any] | None = None, kafka: dict[str, Any] | None = None) -> Built:
    settings = Settings(ingest=IngestSettings(**(ingest or {})), kafka=KafkaSettings(**(kafka or {})))
    return build(
        Deps(
            settings=settings,
            pool=NOTHING,
            transactions=NOTHING,
            blobs=MemoryBlobStore(),
            identity=NOTHING,
            clock=SystemClock(),
            metrics=NOTHING,
        )
    )


def intake_of(one: Built) -> TrainingCompletedHandler:
    (handler,) = {id(route.handler): route.handler for route in one.routes if route.refused_as}.values()
    assert isinstance(handler, TrainingCompletedHandler)
    return handler


def test_it_takes_every_topic_that_names_it_as_consumer() -> None:
    one = built()
    taken = {route.topic for route in (*one.routes, *one.following)}
    assert taken == {topic for topic in topics.ALL if service.name in topic.consumers}


def test_the_way_in_waits_for_nothing_that_is_only_followed() -> None:
    one = built({"topic_accounts": {"lab-a.done": "lab-a"}})
    assert {route.topic for route in one.routes} == {topics.TRAINING_COMPLETED}
    assert topics.TRAINING_COMPLETED not in {route.topic for route in one.following}
    assert all(route.handler.idempotent for route in one.following)


def test_extra_intake_topics_speak_for_their_accounts() -> None:
    one = built({"topic_accounts": {"lab-b.done": "lab-b", "lab-a.done": "lab-a"}})
    intake = [route for route in one.routes if route.topic is topics.TRAINING_COMPLETED]
    assert [route.wire_name for route in intake] == [None, "lab-a.done", "lab-b.done"]
    assert all(route.refused_as == "publication.refused" for route in intake)
    assert intake_of(one).producers.topic_accounts["lab-a.done"] == "lab-a"


def test_the_main_topics_may_have_one_account_and_are_no_extra_ones() -> None:
    reports = topics.DEPLOYMENT_REPORTED.wire_name("muniment.")
    one = built({"topic_accounts": {MAIN: "trainer", reports: "argo"}})
    assert [route.wire_name for route in one.routes if route.topic is topics.TRAINING_COMPLETED] == [None]
    assert intake_of(one).producers.topic_accounts[MAIN] == "trainer"


@pytest.mark.parametrize(
    ("ingest", "kafka", "taken"),
    [
        ({}, {}, True),
        ({"allow_unsigned": False}, {}, False),
        ({}, {"mode": "external", "bootstrap": "127.0.0.1:9092"}, False),
        ({"allow_unsigned": True}, {"mode": "external", "bootstrap": "127.0.0.1:9092"}, True),
    ],
)
def test_unsigned_events_are_a_setting(ingest: dict[str, Any], kafka: dict[str, Any], taken: bool) -> None:
    assert intake_of(built(ingest, kafka)).producers.allow_unsigned is taken


def test_it_does_not_start_where_anybody_could_write_unsigned_events() -> None:
    with pytest.raises(Misconfigured) as caught:
        built({"allow_unsigned": True}, {"mode": "external", "bootstrap": "kafka-1:9092"})
    assert caught.value.code == "unsigned_off_loopback"
