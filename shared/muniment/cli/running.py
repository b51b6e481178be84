"""`--exec`: a command for each event, at least once; tried again with rising pauses, and then given up loudly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from muniment.cli.failures import Usage
from muniment.contracts.errors import MunimentError

if TYPE_CHECKING:
    from muniment.sdk.records import Event

_STDERR: Final = 2
FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs a command for an event. `say` tells people of failed tries; its own output is shown as it comes."""

    command: tuple[str, ...]
    retries: int
    timeout_s: float
    to_stderr: bool
    """Its stdout goes to stderr, where stdout is for JSON lines alone."""
    say: Callable[[str], None]

    async def run(self, event: Event) -> None:
        """Run it until it ends with 0. Raises `MunimentError` (`command_failed`); `Usage` where it cannot start."""
        outcome = ""
        for attempt in range(self.retries + 1):
            if attempt:
                pause = min(FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S)
                self.say(f"{outcome} for {event.id}; again in {pause:g} s ({attempt} of {self.retries})")
                await asyncio.sleep(pause)
            code = await self._once(event)
            if code == 0:
                return
            outcome = (
                f"the command took more than {self.timeout_s:g} s"
                if code is None
                else f"the command was killed by signal {-code}"
                if code < 0
                else f"the command ended with {code}"
            )
        raise MunimentError(
            "command_failed",
            f"{outcome} for the event {event.id}",
            expected=f"exit code 0 within {self.retries + 1} tries",
            actual=shlex.join(self.command),
            hint="the cursor has not moved: the same command line starts with this event again",
        )

    async def _once(self, event: Event) -> int | None:
        """The exit code; None where it took too long and was killed."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=_STDERR if self.to_stderr else None,
                env={**os.environ, **told(event)},
            )
        except OSError as error:
            raise Usage(f"the command cannot be run: {error.strerror}", actual=self.command[0]) from error
        body = json.dumps(event.cloudevent, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        try:
            async with asyncio.timeout(self.timeout_s or None):
                await process.communicate(body)  # who does not read it is not at fault
        except TimeoutError:
            return None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return process.returncode


def told(event: Event) -> Mapping[str, str]:
    """The environment variables of an event; what it does not have is empty, so that nothing is left of another one."""
    data = event.data
    source: Any = data.get("source")
    found = {
        "ID": event.id,
        "TYPE": event.kind,
        "TIME": event.time,
        "CURSOR": event.cursor,
        "MODEL": event.model,
        "NUMBER": data.get("number", source.get("number") if isinstance(source, dict) else None),
        "VERSION": data.get("id", data.get("version")),
        "RELEASE": data.get("release"),
    }
    return {f"MUNIMENT_EVENT_{name}": "" if value is None else str(value) for name, value in found.items()}
