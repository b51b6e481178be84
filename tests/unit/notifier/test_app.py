"""The wiring: what the service consumes and offers, and what its settings open."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from muniment.contracts.topics import VERSION_AVAILABLE
from muniment.notifier.app import policy_of, service
from muniment.notifier.domain import TOPICS
from muniment.ports.clock import SystemClock
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.service import Deps
from muniment.runtime.settings import KafkaSettings, NotifierSettings, Settings


def deps(settings: Settings) -> Deps:
    """Dependencies that are wired and never called."""
    nothing = cast("Any", None)
    transactions = Transactions(nothing, "notifier", "muniment.", SystemClock(), lambda: True)
    fields = {
        "settings": settings,
        "pool": nothing,
        "transactions": transactions,
        "clock": SystemClock(),
    }
    return Deps(**{name: fields.get(name, nothing) for name in Deps.__dataclass_fields__})


def test_it_takes_every_outward_topic_that_names_it(tmp_path: Path) -> None:
    built = service.build(deps(Settings(data_dir=tmp_path)))
    assert [route.topic for route in built.routes] == list(TOPICS)
    assert VERSION_AVAILABLE in TOPICS
    assert built.router is not None
    assert len(built.tasks) == 3
    assert (service.schema, service.package) == ("notifier", "muniment.notifier")
    assert (tmp_path / "secrets" / "notifier.key").exists()


def test_a_key_from_the_settings_leaves_no_file(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, notifier=NotifierSettings.model_validate({"secret_key": "A" * 43 + "="}))
    service.build(deps(settings))
    assert list(tmp_path.iterdir()) == []
    assert "AAAA" not in repr(settings)


@pytest.mark.parametrize("mode", ["external", "docker"])
def test_loopback_is_open_only_where_every_part_is_embedded(mode: str, tmp_path: Path) -> None:
    assert policy_of(Settings(data_dir=tmp_path)).allowed
    kafka = KafkaSettings.model_validate({"mode": mode, "bootstrap": "broker:9092"})
    assert policy_of(Settings(data_dir=tmp_path, kafka=kafka)).allowed == ()
