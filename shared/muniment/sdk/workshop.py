"""What moving bytes needs, and how a transfer gets to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from muniment.sdk.exchange import Call, Work
from muniment.sdk.transfer.cache import Cache
from muniment.sdk.wire import Wire

if TYPE_CHECKING:
    from muniment.sdk.transfer.download import Download
    from muniment.sdk.transfer.upload import Upload

FRUITLESS_ROUNDS: Final = 3
"""Rounds of fresh URLs of which the store may take none, before its refusal is believed."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What moving bytes needs: connections to the store, this user's cache, and the server's name in that cache."""

    wire: Wire
    cache: Cache
    origin: str


def carry(transfer: Upload | Download, fresh: Callable[[], Call[Any]]) -> Call[None]:
    """Run a transfer to its end, with fresh URLs whenever some went stale."""
    fruitless = 0
    while transfer.left:
        yield Work(transfer.run)
        if not transfer.left:
            return
        fruitless = fruitless + 1 if transfer.refused else 0
        if transfer.refused and fruitless >= FRUITLESS_ROUNDS:
            raise transfer.refused
        transfer.take((yield from fresh()))
