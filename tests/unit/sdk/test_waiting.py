"""Calls for which the server reads bytes are waited for: who gives up before is not told what came of them."""

from __future__ import annotations

import pytest

from muniment.sdk import naming
from muniment.sdk.exchange import Request


@pytest.mark.parametrize(
    ("verb", "is_waited_for"), [("rollback", True), ("promote", True), ("revert", True), ("freeze", False)]
)
def test_a_verb_that_reads_a_version_is_given_time(verb: str, is_waited_for: bool) -> None:
    asked = next(naming.act("digits", verb, {"reason": "x"}))
    assert isinstance(asked, Request)
    assert (asked.wait > 600) == is_waited_for
