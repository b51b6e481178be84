"""Makes a pack as a stream: entries in pages, one receipt at a time, and lists and report in temporary files.

No connection is held while the reader takes its time.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

from muniment.audit.evidence.archive import Sums
from muniment.audit.evidence.manifests import Manifests
from muniment.audit.evidence.proving import Receipts
from muniment.audit.evidence.question import MAX_ENTRIES, MAX_LEAVES, Facts, Question
from muniment.audit.evidence.records import deployment_line, version_line
from muniment.audit.evidence.report import DEPLOYED, MOVES, Report
from muniment.audit.merkle import HASH_SIZE
from muniment.audit.published import PublishedLog
from muniment.audit.store import MAX_INDEX, damaged
from muniment.contracts.errors import MunimentError, Rejected, Transient
from muniment.contracts.model import rfc3339
from muniment.runtime.sql import load_queries

if TYPE_CHECKING:
    import asyncpg

    from muniment.audit.keyring import Keyring

SQL: Final = load_queries("muniment.audit", "evidence")
AT_ONCE: Final = 2
"""Packs that one process makes at a time."""
_PAGE: Final = 200
_LEAVES: Final = 8_192
_MOST_EARLIER: Final = 10_000
_MOST_VERSIONS: Final = 1_000
_STANDING: Final = sorted(MOVES | {DEPLOYED})
_CHUNK: Final = 256 * 1024
_IN_MEMORY: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack that can be made: what is known before the first byte. `earlier`: indexes from before `facts.first`."""

    facts: Facts
    note: str
    keys: bytes
    earlier: Sequence[int]


@dataclass(slots=True)
class Evidence:
    """Packs of one log."""

    pool: asyncpg.Pool[Any]
    log: PublishedLog
    keyring: Keyring
    manifests: Manifests
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def pack(self, question: Question) -> Pack:
        """What the answer will be made of. The same question has the same answer once its `until` has passed: the
        checkpoint is the first that covers it.

        Raises `NotFound` (`audit_not_published`), `Rejected` (`evidence_empty`, `evidence_too_large`,
        `evidence_range_invalid`) and `Transient` (`evidence_busy`).
        """
        if self._turns.locked():
            raise Transient(
                "evidence_busy",
                f"{AT_ONCE} packs are being made, which is as many as one process makes at a time",
                hint="ask again when one of them is done",
            )
        if question.since and question.until and question.since >= question.until:
            raise Rejected(
                "evidence_range_invalid",
                "the range of times is empty",
                expected=f"to after {rfc3339(question.since)}",
                actual=rfc3339(question.until),
            )
        newest = await self.log.checkpoint()
        first = 0 if question.since is None else await self._place(question.since, newest.size)
        end = newest.size if question.until is None else await self._place(question.until, newest.size)
        # There is one: the newest covers it.
        row: Any = await self.pool.fetchrow(SQL["checkpoint_covering"], max(end, 1))
        earlier = await self._earlier(question.model, first, end)
        count = await self.pool.fetchval(SQL["count_of_model"], question.model, first, end, MAX_ENTRIES + 1)
        if not 0 < count + len(earlier) <= MAX_ENTRIES:
            raise _empty(question) if not count else _too_large(count)
        facts = Facts(
            model=question.model,
            since=None if question.since is None else rfc3339(question.since),
            until=None if question.until is None else rfc3339(question.until),
            first=first,
            end=end,
            origin=await self.keyring.origin(),
            size=row["size"],
            root=row["root"].hex(),
        )
        keys = "".join(f"{one.key.vkey}\n" for one in await self.keyring.keys()).encode()
        return Pack(facts, row["note"] + await self.log.cosignatures(row["size"]), keys, earlier)

    async def stream(self, pack: Pack) -> AsyncIterator[bytes]:
        """The pack's bytes. What fails on the way ends the stream before its end, which its reader notices."""
        async with self._turns:
            with _Lists(pack.facts) as lists:
                sums = Sums()
                yield sums.small("pack.json", pack.facts.text())
                yield sums.small("checkpoint", pack.note.encode())
                yield sums.small("keys", pack.keys)
                receipts = Receipts(self.log, pack.facts.size, pack.note)
                if pack.facts.end - pack.facts.first <= MAX_LEAVES:
                    yield sums.small("leaves", await self._leaves(pack.facts, receipts))
                given: set[bytes] = set()
                async for index, data in self._entries(pack):
                    yield sums.small(f"entries/{index}.json", data)
                    yield sums.small(f"receipts/{index}.tlog-proof", await receipts.of(index))
                    entry = json.loads(data)
                    found, name = await self.manifests.of(entry), None
                    if found is not None and found[1] is not None:
                        name = f"manifests/{found[0]}.json"
                        if bytes.fromhex(found[0]) not in given:
                            given.add(bytes.fromhex(found[0]))
                            yield sums.small(name, found[1])
                    lists.take(index, entry, name)
                for name, size, chunks in lists.members():
                    for chunk in sums.streamed(name, size, chunks):
                        yield chunk
                yield sums.end()

    async def _leaves(self, facts: Facts, receipts: Receipts) -> bytes:
        """The leaf hashes of the whole range, of whatever model, and the hashes around it: nothing of their content."""
        found = bytearray()
        for start in range(facts.first, facts.end, _LEAVES):
            end = min(facts.end, start + _LEAVES)
            page = await self.pool.fetchval(SQL["leaf_hashes"], start, end)
            if len(page or b"") != HASH_SIZE * (end - start):
                raise damaged("entries are missing", expected=f"{start} to {end - 1}", actual="fewer leaf hashes")
            found += page
        return bytes(found) + b"".join(await receipts.around(facts.first, facts.end))

    async def _entries(self, pack: Pack) -> AsyncIterator[tuple[int, bytes]]:
        for start in range(0, len(pack.earlier), _PAGE):
            for row in await self.pool.fetch(SQL["entries_at"], pack.earlier[start : start + _PAGE]):
                yield row["index"], row["data"]
        after = pack.facts.first
        while rows := await self.pool.fetch(SQL["entries_of_model"], pack.facts.model, after, pack.facts.end, _PAGE):
            for row in rows:
                yield row["index"], row["data"]
            after = rows[-1]["index"] + 1

    async def _place(self, moment: Any, size: int) -> int:
        """Log times never go back, so a time is a place; one that is not under a checkpoint yet is its end."""
        index: int | None = await self.pool.fetchval(SQL["first_at_or_after"], moment)
        return min(MAX_INDEX if index is None else index, size)

    async def _earlier(self, model: str, first: int, end: int) -> list[int]:
        """How things stood at `first`: the baseline, deployments, and what committed the versions in either."""
        standing = await self.pool.fetch(SQL["standing_before"], model, first, _STANDING, _MOST_EARLIER + 1)
        if len(standing) > _MOST_EARLIER:
            raise _too_large(len(standing))
        moves = await self.pool.fetch(SQL["moves_between"], model, first, end, _STANDING, _MOST_EARLIER)
        named = sorted({one for row in (*standing, *moves) for one in _versions(json.loads(row["data"]))})
        pieces = [b'"after":"' + one.encode() + b'","path":"version"' for one in named[:_MOST_VERSIONS]]
        commits = await self.pool.fetch(SQL["commits_before"], model, first, pieces, _MOST_VERSIONS) if pieces else []
        return sorted({row["index"] for row in (*standing, *commits)})


class _Lists:
    """The members that are known only at the end."""

    def __init__(self, facts: Facts) -> None:
        self._report = Report(facts)
        self._versions: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # reason: see __exit__
        self._deployments: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # reason: see __exit__

    def __enter__(self) -> _Lists:
        return self

    def __exit__(self, *error: Any) -> None:
        self._report.__exit__(*error)
        self._versions.close()
        self._deployments.close()

    def take(self, index: int, entry: dict[str, Any], manifest: str | None) -> None:
        self._versions.write(version_line(index, entry, manifest) or b"")
        self._deployments.write(deployment_line(index, entry) or b"")
        self._report.take(index, entry, manifest)

    def members(self) -> Iterator[tuple[str, int, Iterator[bytes]]]:
        for name, file in (("versions.jsonl", self._versions), ("deployments.jsonl", self._deployments)):
            size = file.tell()
            file.seek(0)
            yield name, size, iter(lambda source=file: source.read(_CHUNK), b"")  # type: ignore[misc]  # reason: a default binds the loop's file
        size, chunks = self._report.content()
        yield "report.html", size, chunks


def _versions(entry: dict[str, Any]) -> set[str]:
    """The versions that a move of the baseline or a report of a deployment names."""
    found: set[str] = set()
    for change in entry["changes"]:
        for side in ("before", "after"):
            value = change.get(side)
            value = value.get("version") if isinstance(value, dict) else value
            if isinstance(value, str) and value.startswith("sha256:"):
                found.add(value)
    return found


def _empty(question: Question) -> MunimentError:
    return Rejected(
        "evidence_empty",
        "the log has no entry of this model between these times",
        expected="a model's name, and times (of the log) between which something happened",
        actual=question.model,
        hint=f"muniment audit ls --model {question.model} shows what there is",
    )


def _too_large(count: int) -> MunimentError:
    return Rejected(
        "evidence_too_large",
        "the pack would have more entries than one pack has",
        expected=f"<= {MAX_ENTRIES} entries",
        actual=f">= {count}",
        hint="ask for shorter times, one pack each",
    )
