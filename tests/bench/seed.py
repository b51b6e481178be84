"""Many versions that are there already, written straight into the tables of every service that grows with them.

Keys are spread evenly over their space, as digests are, and written in their order, which is fast. What is made up:
digests are not of these bytes, the objects do not exist in the store, root hashes of entries are their leaf hashes,
but where a checkpoint will end. So the log's tree is right, the writer goes on from it, and it is published: seeding
ends when it is, since what is measured next would share the machine with that.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg

from muniment.audit.publisher import STEP

ROWS = """for each version: 1 version, file, object, branch move, publication, held blob, event of the feed, outbox row of
ingest, validator, registry and audit; validator job; 3 audit entries; 9 inbox rows""".replace("\n", " ")


def _hex(number: str, count: str, salt: str) -> str:
    """SQL of 64 hexadecimal digits: number `number` of `count`, in their order."""
    return (
        f"lpad(to_hex(({number})::bigint * 4294967296 / ({count})), 8, '0') "
        f"|| left(encode(sha256(('{salt}' || ({number}))::bytea), 'hex'), 56)"
    )


_ID = "'sha256:' || " + _hex("i", "$1::bigint", "version")
_PUBLICATION = f"left({_hex('i', '$1::bigint', 'publication')}, 32)::uuid"
_DIGEST = _hex("i", "$1::bigint", "file")
_MODEL = "(i / $2::bigint)"
"""Number of the model, from 0: each has `$2` versions, one after the other."""
_NUMBER = "(i % $2::bigint + 1)"
_NAME = "(CASE WHEN $1::bigint = $2::bigint THEN 'model' ELSE 'model-' || (i / $2::bigint) END)"
_MANIFEST = f"""convert_to('{{"code":{{"commit":"' || md5('c' || i) || '"}},"files":[{{"format":"unknown","path":"model.bin",'
    || '"role":"weights","sha256":"' || {_DIGEST} || '","size":4096}}],"hyperparams":{{}},"metrics":{{"a":0.9}},"model":"'
    || {_NAME} || '","params":{{"lr":0.1,"n":' || i || '}},"run_id":"seeded-' || i || '"}}', 'UTF8')"""
_LOCATION = f"""jsonb_build_object('bucket', 'muniment-landing', 'key', 'seeded/' || i, 'version_id', {_DIGEST})"""
_SERIES = "generate_series(0, $1::bigint - 1) AS i"

# $1 versions, $2 of each model
_VERSIONS = {
    "model": """INSERT INTO registry.model (id, name_key, name, created_at, created_by, last_number)
        OVERRIDING SYSTEM VALUE
        SELECT i + 1, CASE WHEN $1::bigint = $2::bigint THEN 'model' ELSE 'model-' || i END,
            CASE WHEN $1::bigint = $2::bigint THEN 'model' ELSE 'model-' || i END, now(), 'muniment|seed', $2
        FROM generate_series(0, $1::bigint / $2::bigint - 1) AS i""",
    "version": f"""INSERT INTO registry.version
        SELECT {_MODEL} + 1, {_NUMBER}, {_ID}, {_PUBLICATION}, 'main', nullif({_NUMBER} - 1, 0), 'stable', 'production',
            'muniment|seed', 'none', now(), {_MANIFEST}, 'muniment-models', 'manifests/' || {_ID}, {_DIGEST},
            now() + interval '10 years', 4096, 1, NULL, '{{}}' FROM {_SERIES}""",
    "stored_object": f"""INSERT INTO registry.stored_object (id, bucket, key, version_id, sha256, size, lock_mode, locked_until)
        OVERRIDING SYSTEM VALUE
        SELECT i + 1, 'muniment-models', 'blobs/' || {_DIGEST}, {_DIGEST}, {_DIGEST}, 4096, 'COMPLIANCE',
            now() + interval '10 years' FROM {_SERIES}""",
    "version_file": f"""INSERT INTO registry.version_file
        SELECT {_MODEL} + 1, {_NUMBER}, 'model.bin', i + 1, 'unknown', 'weights' FROM {_SERIES}""",
    "branch": """INSERT INTO registry.branch
        SELECT i + 1, 'main', $2, now(), 'muniment|seed' FROM generate_series(0, $1::bigint / $2::bigint - 1) AS i""",
    "branch_move": f"""INSERT INTO registry.branch_move (model_id, branch, from_number, to_number, moved_at, operator, cause)
        SELECT {_MODEL} + 1, 'main', nullif({_NUMBER} - 1, 0), {_NUMBER}, now(), 'muniment|seed', 'seed-' || i FROM {_SERIES}""",
    "publication": f"""INSERT INTO ingest.publication (id, event_source, event_id, model, branch, commit_mode, stage, rank,
            operator, authenticated_by, declaration, declaration_sha256, files, history, version, created_at, updated_at)
        SELECT {_PUBLICATION}, '//trainers.example/seed', 'seeded-' || i, {_NAME}, 'main', 'auto', 'committed', 4,
            'muniment|seed', 'none', {_MANIFEST}, {_DIGEST},
            jsonb_build_array(jsonb_build_object('path', 'model.bin', 'sha256', {_DIGEST}, 'location', {_LOCATION})),
            jsonb_build_array(jsonb_build_object('stage', 'trained', 'at', '2026-01-01T00:00:00Z', 'cause', md5(i::text)),
                jsonb_build_object('stage', 'committed', 'at', '2026-01-01T00:00:00Z', 'cause', md5(i::text))),
            jsonb_build_object('id', {_ID}, 'number', {_NUMBER}), now(), now() FROM {_SERIES}""",
    "held_blob": f"""INSERT INTO ingest.held_blob
        SELECT {_DIGEST}, 4096, 'muniment-models', 'blobs/' || {_DIGEST}, {_DIGEST} FROM {_SERIES}""",
    "event_feed": f"""INSERT INTO notifier.event_feed (key, type, model, recorded_at, body)
        SELECT {_PUBLICATION}, 'version-available', {_NAME}, now(), convert_from({_MANIFEST}, 'UTF8') FROM {_SERIES}""",
    "job": f"""INSERT INTO checksum_validator.job (publication_id, model, trained, cause, bytes_total, finished_at, verdict)
        SELECT {_PUBLICATION}, {_NAME}, '\\x7b7d', 'seed', 4096, now(), 'valid' FROM {_SERIES}""",
}
_INBOX = {"ingest": 3, "checksum_validator": 1, "registry": 1, "audit": 3, "notifier": 1}
_OUTBOX = ("ingest", "checksum_validator", "registry", "audit")
_ENTRIES = 3
_DATA = """convert_to('{"action":"version.committed","authenticated_by":"none","cause":{"id":"' || md5('e' || i)
    || '","kind":"event"},"changes":[{"after":{"number":1},"path":"versions"}],"event_id":"seeded-' || i || '","log_time":'
    || '"2026-01-01T00:00:00Z","model":"model-' || i % 10000 || '","operator":"muniment|seed","outcome":"done",'
    || '"resource":"models/model-' || i % 10000 || '/versions/' || i || '","service":"registry","v":1}', 'UTF8')"""
_ENTRY = f"""INSERT INTO audit.entry (index, event_id, leaf_hash, root_hash, data, log_time, action, outcome, operator,
        model, resource, correlation)
    SELECT i, {_hex("i", "$1::bigint", "entry")}, sha256('\\x00'::bytea || data), coalesce($4, sha256('\\x00'::bytea || data)),
        data, (SELECT max(log_time) FROM audit.tree_head), (ARRAY['publication.accepted', 'publication.validated', 'version.committed'])[i % 3 + 1],
        'done', 'muniment|seed', 'model-' || i % 10000, 'models/model-' || i % 10000 || '/versions/' || i,
        md5('flow' || i / 3)
    FROM generate_series($2::bigint, $3::bigint) AS i, LATERAL (SELECT {_DATA}) AS d (data)"""


async def seed(dsn: str, versions: int, models: int, say: Callable[[str], None]) -> None:
    """Fill an empty stack's database with `versions` of `models` models named as the trainers name theirs."""
    each = versions // models
    work: list[tuple[str, str, tuple[int, ...]]] = []
    for table, statement in _VERSIONS.items():
        work.append((table, statement, (versions, each) if "$2" in statement else (versions,)))
    for service, rows in _INBOX.items():
        key = f"left({_hex('i', '$1::bigint', service)}, 32)::uuid"
        statement = f"INSERT INTO {service}.inbox SELECT {key}, sha256('') FROM {_SERIES}"
        work.append((f"{service}.inbox", statement, (versions * rows,)))
    for service in _OUTBOX:
        key = f"left({_hex('i', '$1::bigint', service)}, 32)::uuid"
        statement = (
            f"INSERT INTO {service}.outbox (id, aggregatetype, aggregateid, type, payload, headers, sent_at) "
            f"SELECT {key}, 'muniment.seed.v1', 'model', 'muniment.seed.v1', {_DATA}, '{{}}', now() FROM {_SERIES}"
        )
        work.append((f"{service}.outbox", statement, (versions,)))
    left = iter(work)

    async def tables() -> None:
        async with _connection(dsn) as connection:
            for name, statement, values in left:
                await _run(connection, say, name, statement, *values)

    async def log() -> None:
        async with _connection(dsn) as connection:
            await _audit(connection, say, versions * _ENTRIES)
        await tables()

    # Nothing is to be recovered here, and checkpoints come every few seconds: whole pages would double what is written.
    await _configure(dsn, "ALTER SYSTEM SET full_page_writes = off")
    indexes = await _drop_indexes(dsn)
    await asyncio.gather(tables(), log())
    waiting = iter(indexes)

    async def index() -> None:
        async with _connection(dsn) as connection:
            await connection.execute("SET maintenance_work_mem = '512MB'")
            for definition in waiting:
                await _run(connection, say, definition.split(" USING ")[0], definition)

    await asyncio.gather(index(), index())
    async with _connection(dsn) as connection:
        for name in ("model", "stored_object"):
            await connection.execute(
                f"SELECT setval(pg_get_serial_sequence('registry.{name}', 'id'), (SELECT max(id) FROM registry.{name}))"
            )
        await _run(connection, say, "vacuum", "VACUUM (ANALYZE)")
    await _configure(dsn, "ALTER SYSTEM RESET full_page_writes")
    async with _connection(dsn) as connection:
        began = time.perf_counter()
        await _published(connection, 900)
        say(f"seed: published {time.perf_counter() - began:.1f} s")


async def _configure(dsn: str, setting: str) -> None:
    """Change a setting of the server; ends with a checkpoint, from which on it holds."""
    async with _connection(dsn) as connection:
        await connection.execute(setting)
        await connection.execute("SELECT pg_reload_conf()")
        await connection.execute("CHECKPOINT")


async def _drop_indexes(dsn: str) -> list[str]:
    """Drop those that are no constraints, and return what makes them again: built at the end, they cost far less."""
    async with _connection(dsn) as connection:
        rows = await connection.fetch(
            "SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition "
            "FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace "
            "WHERE n.nspname = ANY($1) AND NOT i.indisunique "
            "AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)",
            list(_INBOX),
        )
        for row in rows:
            await connection.execute(f"DROP INDEX {row['name']}")
    return [row["definition"] for row in rows]


@asynccontextmanager
async def _connection(dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    # Foreign keys hold by construction; checking a million rows one by one would take longer than writing them.
    settings = {"session_replication_role": "replica", "synchronous_commit": "off"}
    connection = await asyncpg.connect(dsn, server_settings=settings, timeout=30)
    try:
        yield connection
    finally:
        await connection.close()


async def _run(
    connection: asyncpg.Connection[asyncpg.Record], say: Callable[[str], None], name: str, sql: str, *values: object
) -> None:
    began = time.perf_counter()
    await connection.execute(sql, *values, timeout=600)
    if (taken := time.perf_counter() - began) > 1:
        say(f"seed: {name} {taken:.1f} s")


async def _audit(connection: asyncpg.Connection[asyncpg.Record], say: Callable[[str], None], entries: int) -> None:
    """Entries after those that the stack's start has left, and the head over all of them. Holds the writer's row."""
    async with asyncio.timeout(30):
        while not await connection.fetchval("SELECT max(size) FROM audit.tree_head"):
            await asyncio.sleep(0.1)  # the first token's entry comes by way of Kafka
    async with connection.transaction():
        await connection.execute("SELECT FROM audit.writer FOR UPDATE")
        await _published(connection, 30)  # from here on, so that it is known at which entries checkpoints will end
        began = time.perf_counter()
        await _entries(connection, entries)
    say(f"seed: audit.entry {time.perf_counter() - began:.1f} s")


async def _published(connection: asyncpg.Connection[asyncpg.Record], timeout_s: float) -> None:
    """Wait until the newest checkpoint is of all entries."""
    async with asyncio.timeout(timeout_s):
        while await connection.fetchval(
            "SELECT (SELECT max(size) FROM audit.tree_head) > coalesce((SELECT max(size) FROM audit.checkpoint), 0)"
        ):
            await asyncio.sleep(0.1)


async def _entries(connection: asyncpg.Connection[asyncpg.Record], entries: int) -> None:
    """As many at a time as one checkpoint adds: the last of them has the tree's root, which the publisher asks for."""
    head = await connection.fetchrow("SELECT size, frontier FROM audit.tree_head ORDER BY size DESC LIMIT 1")
    first, end = head["size"], head["size"] + entries
    frontier = Subtrees(first, list(head["frontier"]))
    for start in range(first, end, STEP):
        last = min(start + STEP, end) - 1
        await connection.execute(_ENTRY, end, start, last - 1, None, timeout=600)
        for row in await connection.fetch("SELECT leaf_hash FROM audit.entry WHERE index >= $1 ORDER BY index", start):
            frontier.add(row[0])
        leaf = f"SELECT sha256('\\x00'::bytea || ({_DATA})) FROM generate_series($1::bigint, $1) AS i"
        frontier.add(await connection.fetchval(leaf, last))
        await connection.execute(_ENTRY, end, last, last, frontier.root())
    await connection.execute(
        "INSERT INTO audit.tree_head (size, previous, root, frontier, log_time, writer_epoch) VALUES ($1, $2, $3, $4, $5, 0)",
        *(end, first, frontier.root(), frontier.nodes),
        await connection.fetchval("SELECT log_time FROM audit.tree_head ORDER BY size DESC LIMIT 1"),
    )


class Subtrees:
    """RFC 6962's complete subtrees, largest first: the writer's own, without an object for each leaf."""

    def __init__(self, size: int, nodes: list[bytes]) -> None:
        self.size = size
        self.nodes = nodes

    def add(self, leaf: bytes) -> None:
        """One more leaf hash."""
        complete = self.size
        while complete & 1:
            leaf = hashlib.sha256(b"\x01" + self.nodes.pop() + leaf).digest()
            complete >>= 1
        self.nodes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Of at least one leaf."""
        root = self.nodes[-1]
        for node in reversed(self.nodes[:-1]):
            root = hashlib.sha256(b"\x01" + node + root).digest()
        return root
