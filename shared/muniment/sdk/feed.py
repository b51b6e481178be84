"""The feed of outward events: followed from a cursor, over restarts of the server."""

from __future__ import annotations

import time
from typing import Final

from muniment.contracts.errors import Transient
from muniment.sdk import calls
from muniment.sdk.exchange import Call, Pause
from muniment.sdk.records import Event

PATIENCE_S: Final = 300.0


class Feed:
    """A place in the feed. `cursor` names it for the next time; it moves with each page that was read."""

    def __init__(
        self,
        after: int | None,
        *,
        model: str | None = None,
        type: str | None = None,  # noqa: A002  # reason: the word that CloudEvents and the HTTP surface use
        wait: float = 30.0,
        patience: float = PATIENCE_S,
    ) -> None:
        self.cursor = after
        self._filters = {"model": model, "type": type}
        self._wait = wait
        self._patience = patience
        self._last_answer = time.monotonic()

    def page(self) -> Call[list[Event]]:
        """The next events: what is there, else what comes within `wait` seconds, else none.

        Raises `Transient` after `patience` seconds without an answer.
        """
        while True:
            try:
                found, cursor = yield from calls.events(self.cursor, self._wait, self._filters)
            except Transient:
                if time.monotonic() - self._last_answer > self._patience:
                    raise
                yield Pause(1.0)
                continue
            self._last_answer = time.monotonic()
            self.cursor = cursor
            return found
