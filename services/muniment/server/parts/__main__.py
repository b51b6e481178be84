"""`python -m muniment.server.parts --data-dir DIR`: the three embedded parts alone, for development.

Prints one line of JSON with the endpoints, secrets included, once all answer; runs until SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from muniment.server.parts import PartError, Parts, PartsSettings, start_parts


def main() -> int:
    """Run until told to stop. Exit codes: 0 stopped, 1 a part failed."""
    parser = argparse.ArgumentParser(prog="python -m muniment.server.parts", description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path(".muniment"), help="where the parts keep everything")
    arguments = parser.parse_args()
    try:
        asyncio.run(_run(PartsSettings(data_dir=arguments.data_dir)))
    except PartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _run(settings: PartsSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    run = asyncio.create_task(_serve(settings))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({run, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if stop.is_set() and not run.done():
        run.cancel()  # also while the parts are still starting
        await asyncio.wait({run})
    if not run.cancelled():
        run.result()


async def _serve(settings: PartsSettings) -> None:
    async with start_parts(settings, on_progress=lambda line: print(line, file=sys.stderr, flush=True)) as parts:
        print(json.dumps(_endpoints(parts)), flush=True)
        raise await parts.wait_failed()


def _endpoints(parts: Parts) -> dict[str, object]:
    return {
        "kafka": {"bootstrap": parts.kafka.bootstrap},
        "postgres": {"dsn": parts.postgres.dsn},
        "s3": {
            "endpoint": parts.s3.endpoint,
            "access_key": parts.s3.access_key,
            "secret_key": parts.s3.secret_key,
            "region": parts.s3.region,
        },
        "timings": parts.timings,
        "pids": parts.pids,
    }


if __name__ == "__main__":
    sys.exit(main())
