"""`muniment audit verify`, from settings to a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from muniment.adapters.postgres import connect
from muniment.contracts.errors import Misconfigured, Transient
from muniment.contracts.topics import AUDIT_LOG
from muniment.runtime.settings import Settings
from muniment.server.endpoints import reached_parts
from muniment.server.store import open_store
from muniment.server.verifying.work import ALL, Places, keys_of, verify_layers
from muniment.verifier.checkpoint import Trust
from muniment.verifier.errors import KeyTextError, Unreadable
from muniment.verifier.keys import parse_keys
from muniment.verifier.report import Report


async def verify(
    settings: Settings,
    *,
    keys: Sequence[str],
    witnesses: Sequence[str],
    require: int | None,
    only: Sequence[str],
    say: Callable[[str], None],
    progress: Callable[[str, int], None],
) -> Report:
    """Verify the log of the running stack. `keys` and `witnesses` are texts of vkeys, one a line.

    Raises `Misconfigured` (`keys_unknown`, `key_invalid`, `layer_unknown`) and `Transient` when a part does not answer.
    """
    unknown = sorted(set(only) - set(ALL))
    if unknown:
        raise Misconfigured("layer_unknown", "no such layer", expected=", ".join(ALL), actual=", ".join(unknown))
    async with AsyncExitStack() as stack:
        endpoints = await stack.enter_async_context(reached_parts(settings, say))
        blobs = await stack.enter_async_context(open_store(settings, endpoints))
        database = await connect(endpoints.postgres_dsn, "audit")
        stack.push_async_callback(database.close)
        own = list(keys) or await keys_of(database)
        places = Places(
            blobs=blobs,
            tiles=settings.audit.bucket,
            models=settings.s3.bucket,
            kafka=endpoints.kafka,
            topic=AUDIT_LOG.wire_name(settings.kafka.topic_prefix),
            database=database,
        )
        try:
            report = await verify_layers(places, _trust(own, witnesses, require), tuple(only) or ALL, progress)
        except Unreadable as error:
            raise Transient("layer_unreadable", str(error), hint="the same command may succeed later") from error
        report.facts["keys_from"] = (
            "the command line" if keys else "this log's own database: give --key to trust nobody"
        )
        return report


def _trust(keys: Sequence[str], witnesses: Sequence[str], require: int | None) -> Trust:
    try:
        log = tuple(key for text in keys for key in parse_keys(text))
        witness = tuple(key for text in witnesses for key in parse_keys(text))
        return Trust(log, witness, len({key.public for key in witness}) if require is None else require)
    except (KeyTextError, ValueError) as error:
        raise Misconfigured("key_invalid", str(error), hint="a key is NAME+ID+BASE64") from error
