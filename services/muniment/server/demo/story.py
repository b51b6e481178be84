"""What the demo tells, step by step, and how a step fails."""

from __future__ import annotations

import sys
from typing import TextIO


class Failed(Exception):
    """A step did not show what it should."""


class _Story:
    """Where it is told, and the titles so far."""

    def __init__(self) -> None:
        self.to: TextIO = sys.stdout
        self.steps: list[str] = []


story = _Story()


def title(text: str) -> None:
    """Begin a step."""
    story.steps.append(text)
    say(f"\n{len(story.steps)}. {text}")


def say(text: str) -> None:
    """A line of it."""
    print(text, file=story.to, flush=True)


def check(holds: bool, what: str, found: object) -> None:
    """Raises `Failed` unless it holds."""
    if not holds:
        raise Failed(f"expected: {what}; found: {found}")
