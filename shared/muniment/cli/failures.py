"""What goes wrong, said on stderr, and the exit code for it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from muniment.cli.text import printable, styled
from muniment.contracts.errors import (
    Conflict,
    Forbidden,
    Misconfigured,
    MunimentError,
    NotFound,
    PreconditionFailed,
    Rejected,
    Transient,
    Unauthenticated,
)

OK, FAILED, USAGE, REJECTED, NOT_FOUND, NOT_ALLOWED, CONFLICT, UNREACHABLE, INTERRUPTED, CLOSED = (
    0, 1, 2, 3, 4, 5, 6, 7, 130, 141,
)  # fmt: skip

MEANINGS: Final = {
    OK: "done",
    FAILED: "failed: an internal error, or a check that found a difference (verify, doctor)",
    USAGE: "wrong options, or settings that are missing",
    REJECTED: "rejected: the publication or the input is at fault",
    NOT_FOUND: "nothing has this name",
    NOT_ALLOWED: "not authenticated, or not allowed",
    CONFLICT: "it contradicts what is there (also: a file changed, a digest differs)",
    UNREACHABLE: "no answer, or not in time: the same command may succeed later",
    INTERRUPTED: "interrupted",
    CLOSED: "nobody reads the output any more",
}

_CODES: Final[tuple[tuple[type[MunimentError], int], ...]] = (
    (Unauthenticated, NOT_ALLOWED),
    (Forbidden, NOT_ALLOWED),
    (NotFound, NOT_FOUND),
    (Conflict, CONFLICT),
    (PreconditionFailed, CONFLICT),
    (Rejected, REJECTED),
    (Transient, UNREACHABLE),
    (Misconfigured, USAGE),
)


class Usage(MunimentError):
    """The command line is not understood."""

    def __init__(
        self, message: str, *, expected: object = None, actual: object = None, hint: str | None = None
    ) -> None:
        super().__init__("usage", message, expected=expected, actual=actual, hint=hint)


def near(command: str, word: str, known: Iterable[str]) -> str:
    """What to do about a word that `command` does not know."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1)
    return f"did you mean `{command} {close[0]}`?" if close else f"{command} --help lists the commands"


@dataclass(slots=True)
class Result:
    """The exit code of a command line."""

    code: int = FAILED


def exit_code(error: MunimentError) -> int:
    """The exit code of an error."""
    if isinstance(error, Usage):
        return USAGE
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


@contextmanager
def handled(*, as_json: bool) -> Iterator[Result]:
    """Turn whatever the block raises into a message on stderr and an exit code."""
    result = Result()
    try:
        yield result
        sys.stdout.flush()
    except MunimentError as error:
        result.code = report(error, as_json=as_json)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        result.code = INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at exit: give it somewhere to go, so that it does not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        result.code = CLOSED
    except Exception as error:  # noqa: BLE001  # reason: the last resort of a program
        result.code = report(_as_ours(error), as_json=as_json)


def report(error: MunimentError, *, as_json: bool) -> int:
    """Say what went wrong: what, expected, actual, what to do, code. Returns the exit code."""
    code = exit_code(error)
    if as_json:
        line = json.dumps({"error": error.facts(), "exit": code}, ensure_ascii=False, separators=(",", ":"))
        sys.stderr.write(f"{line}\n")
        return code
    lines = [f"{styled('error:', 'red', sys.stderr)} {printable(error.message)}"]
    for name, value in (("expected", error.expected), ("actual", error.actual), ("to do", error.hint)):
        if value is not None:
            lines.append(f"  {name + ':':<10}{printable(value)}")
    lines += [f"  {'note:':<10}{printable(note)}" for note in getattr(error, "__notes__", [])]
    lines.append(f"  {'code:':<10}{error.code}")
    sys.stderr.write("\n".join(lines) + "\n")
    return code


def _as_ours(error: Exception) -> MunimentError:
    if os.environ.get("MUNIMENT_DEBUG"):
        raise error
    if isinstance(error, OSError):
        return MunimentError("os_error", _one_line(error))
    return MunimentError(
        "internal",
        f"{type(error).__name__}: {_one_line(error)}",
        hint="this is a defect of muniment; MUNIMENT_DEBUG=1 shows where it happened",
    )


def _one_line(error: Any) -> str:
    return " ".join(str(error).split()) or type(error).__name__
