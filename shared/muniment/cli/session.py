"""What every command shares: its common options, its client, and how it writes to stdout."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

from muniment.cli.arguments import Option
from muniment.cli.text import columns, pairs, styled

if TYPE_CHECKING:
    from muniment.sdk.async_client import AsyncClient
    from muniment.sdk.client import Client

Column = tuple[str, Callable[[Mapping[str, Any]], str]]
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Common:
    """Options that every command takes."""

    json: Annotated[bool, Option("One JSON document on stdout; JSON lines for lists and streams.")] = False
    quiet: Annotated[bool, Option("Print ids alone.", ("--quiet", "-q"))] = False
    server: Annotated[str | None, Option("The server's URL, not MUNIMENT_URL's or the credentials file's.")] = None
    credentials: Annotated[str | None, Option('A credentials file: {"url": ..., "token": ...}.')] = None
    timeout: Annotated[float, Option("Give a request up after that many silent seconds.", ("--http-timeout",))] = 30.0

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client for the server that options, environment or a credentials file name."""
        from muniment.sdk.client import Client

        with _warnings_told():
            client = Client(self.server, credentials=self.credentials, timeout=self.timeout)
        with client:
            yield client

    def async_client(self) -> AsyncClient:
        """The same for commands that do several things at once."""
        from muniment.sdk.async_client import AsyncClient

        with _warnings_told():
            return AsyncClient(self.server, credentials=self.credentials, timeout=self.timeout)

    def show(self, value: Mapping[str, Any], *, name: object, facts: Iterable[tuple[str, Any]]) -> None:
        """Print one object: as JSON, as its name alone, or as `facts` for people."""
        if self.json:
            _write(dumps(value))
        elif self.quiet:
            _write(str(name))
        else:
            _write("\n".join(pairs(facts)))

    def line(self, value: Mapping[str, Any], *, name: object, text: str) -> None:
        """Print one line of a stream."""
        _write(dumps(value) if self.json else str(name) if self.quiet else text)
        sys.stdout.flush()

    def rows(
        self,
        items: Iterable[Mapping[str, Any]],
        *,
        name: Callable[[Mapping[str, Any]], object],
        table: Sequence[Column],
        limit: int,
        empty: str,
        then: str = "",
    ) -> None:
        """Print a list: JSON lines, names, or a table; `limit` rows at most, 0 for all. `then`: what one does next."""
        source = iter(items)
        shown = islice(source, limit) if limit else source
        count = 0
        if self.json or self.quiet:
            for item in shown:
                _write(dumps(item) if self.json else str(name(item)))
        else:
            while batch := list(islice(shown, _BATCH)):
                cells = [[read(item) for _, read in table] for item in batch]
                lines = columns([title for title, _ in table], cells)
                _write("\n".join(lines if not count else lines[1:]))
                count += len(batch)
            if not count:
                self.say(empty)
        if limit and next(source, None) is not None:
            self.say(f"the first {limit} are shown; --limit 0 shows all")
        if count and then:
            self.next(then)

    def say(self, text: str) -> None:
        """A remark on stderr, for people only."""
        if not self.json and not self.quiet:
            sys.stderr.write(f"{text}\n")

    def next(self, command: str) -> None:
        """What one would do next."""
        self.say(f"{styled('next:', 'dim', sys.stderr)} {command}")


DEFAULTS: Final = Common()
At = Annotated[str | None, Option("As of this moment, RFC 3339: 2026-01-02T03:04:05Z.")]
Limit = Annotated[int, Option("How many are shown at most; 0 is all.")]


@contextmanager
def _warnings_told() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        sys.stderr.write(f"{styled('warning:', 'yellow', sys.stderr)} {warning.message}\n")


def dumps(value: Any) -> str:
    """A JSON value on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
