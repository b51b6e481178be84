"""What a manual bisect has found out so far, in a file of the working directory that survives a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from muniment.contracts.errors import Conflict, NotFound

FILE: Final = ".muniment-bisect.json"
FOLDER: Final = ".muniment-bisect"
"""Where candidates are downloaded, a folder a version."""
Verdict = Literal["good", "bad", "skip"]


@dataclass(frozen=True, slots=True)
class State:
    """References by number, so that they mean the same at the end. `next` is what is to be tested now."""

    model: str
    good: tuple[str, ...]
    bad: str
    skipped: tuple[str, ...] = ()
    next: str | None = None
    metric: str | None = None
    known_bad: tuple[str, ...] = ()
    """Those that were `bad` before: they are evidence for the why."""
    is_here: bool = True
    """Whether `next` was downloaded to its end: nobody can have tested it before."""

    def judged(self, verdict: Verdict) -> State:
        """With a verdict on `next`. Raises `Conflict` (`bisect_over`) where nothing is to be tested."""
        if self.next is None:
            raise Conflict("bisect_over", "the bisect is over", hint="muniment bisect reset")
        if verdict == "good":
            return replace(self, good=(*self.good, self.next), next=None)
        if verdict == "bad":
            return replace(self, bad=self.next, known_bad=(*self.known_bad, self.bad), next=None)
        return replace(self, skipped=(*self.skipped, self.next), next=None)


def save(state: State, folder: Path) -> None:
    """Put the file in place whole, or not at all."""
    place = folder / FILE
    partial = place.with_name(f"{FILE}.{os.getpid()}.part")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(asdict(state), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(place)


def load(folder: Path) -> State:
    """Raises `NotFound` (`bisect_not_started`) and `Conflict` (`bisect_state_invalid`)."""
    place = folder / FILE
    try:
        return _state(json.loads(place.read_text("utf-8")))
    except FileNotFoundError as error:
        raise NotFound(
            "bisect_not_started",
            "no bisect was started in this folder",
            expected=str(place),
            hint="muniment bisect start --good REF --bad REF",
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise Conflict(
            "bisect_state_invalid", f"{place} is not understood", hint="muniment bisect reset, and start again"
        ) from error


def _state(value: Mapping[str, Any]) -> State:
    good, skipped = tuple(value["good"]), tuple(value["skipped"])
    known_bad = tuple(value.get("known_bad", ()))  # files of older versions have none
    following, metric = value["next"], value["metric"]
    for text in (value["model"], value["bad"], *good, *skipped, *known_bad, following or "", metric or ""):
        if not isinstance(text, str):
            raise TypeError(text)
    is_here = value.get("is_here", True) is True
    return State(value["model"], good, value["bad"], skipped, following, metric, known_bad, is_here)
