"""Whom an event of an intake topic is believed to be of, and where nobody is asked."""

from __future__ import annotations

import pytest

from muniment.contracts.errors import Forbidden, Misconfigured
from muniment.contracts.identity import Author, check_operator
from muniment.runtime.identity.producers import takes_unsigned

ADA = Author("muniment|ada", "token")


@pytest.mark.parametrize("claimed", [None, "muniment|ada"])
def test_an_operator_may_be_left_out_or_right(claimed: str | None) -> None:
    check_operator(claimed, ADA)


@pytest.mark.parametrize("claimed", ["muniment|eve", "ada", "MUNIMENT|ada", "muniment|ada "])
def test_an_operator_in_the_payload_is_never_believed(claimed: str) -> None:
    with pytest.raises(Forbidden) as caught:
        check_operator(claimed, ADA)
    assert caught.value.code == "operator_mismatch"
    assert caught.value.expected == "muniment|ada"
    assert caught.value.actual == claimed


@pytest.mark.parametrize(
    ("allow", "embedded", "bootstrap", "taken"),
    [
        (None, True, None, True),
        (None, True, "127.0.0.1:9092", True),
        (None, False, "127.0.0.1:9092", False),
        (None, False, "kafka:9092", False),
        (False, True, None, False),
        (False, False, "kafka:9092", False),
        (True, True, None, True),
        (True, False, "127.0.0.1:9092,localhost:9093", True),
        (True, False, "[::1]:9092", True),
        (True, False, "127.8.9.1:9092", True),
    ],
)
def test_unsigned_events(allow: bool | None, embedded: bool, bootstrap: str | None, taken: bool) -> None:
    assert takes_unsigned(allow, embedded=embedded, bootstrap=bootstrap) is taken


@pytest.mark.parametrize(
    "bootstrap", ["kafka:9092", "127.0.0.1:9092,10.0.0.7:9092", "0.0.0.0:9092", "[::]:9092", "localhost.evil.test:9092"]
)
def test_unsigned_events_from_afar_stop_the_start(bootstrap: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        takes_unsigned(True, embedded=False, bootstrap=bootstrap)
    assert caught.value.code == "unsigned_off_loopback"
