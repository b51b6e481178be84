"""`muniment-witness init|run`: a small process that cosigns only what has merely grown."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from muniment.verifier.errors import KeyTextError, StateError, Unreadable
from muniment.verifier.keys import LOG, VerifierKey, parse_key, parse_keys
from muniment.verifier.note import MAX_NOTE
from muniment.verifier.source import read_file
from muniment.witness.server import Witness, WitnessServer
from muniment.witness.state import WitnessState, init

OK, FAILED, USAGE = 0, 1, 2
EPILOGUE: Final = """\
Examples:
  muniment-witness init --state /var/lib/witness --name witness.example.com/w1
  muniment-witness run --state /var/lib/witness --log log.vkey --listen 127.0.0.1:8790

Run it on a machine that the log's keeper does not administer, and keep its folder: a witness that forgets what it has
seen could be led to cosign a second history. Put a TLS proxy in front where it listens beyond loopback.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code: 0 done, 1 failed, 2 usage."""
    root = argparse.ArgumentParser(
        prog="muniment-witness",
        description="A witness of audit logs (C2SP tlog-witness).",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = root.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    make = verbs.add_parser("init", help="make a key and an empty state; prints the verifier key")
    make.add_argument("--state", type=Path, required=True, metavar="FOLDER")
    make.add_argument("--name", required=True, help="a URL without scheme that you own")
    run = verbs.add_parser("run", help="answer POST /add-checkpoint until SIGTERM or Ctrl-C; prints `ready URL`")
    run.add_argument("--state", type=Path, required=True, metavar="FOLDER")
    run.add_argument(
        "--log", action="append", required=True, metavar="VKEY|FILE", help="a key of a log; may be repeated"
    )
    run.add_argument("--listen", default="127.0.0.1:8790", metavar="HOST:PORT")
    try:
        options = root.parse_args(argv)
    except SystemExit as left:
        return USAGE if left.code else OK
    try:
        if options.verb == "init":
            print(init(options.state, options.name).public.text())
            return OK
        return _run(options)
    except (KeyTextError, ValueError) as error:
        sys.stderr.write(f"muniment-witness: {error}\n")
        return USAGE
    except (StateError, Unreadable, OSError) as error:
        sys.stderr.write(f"muniment-witness: {error}\n")
        return FAILED


def _run(options: argparse.Namespace) -> int:
    host, _, port = options.listen.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"--listen takes HOST:PORT, not {options.listen!r}")
    logs = [key for place in options.log for key in _keys(place)]
    if any(key.type != LOG for key in logs):
        raise ValueError("--log takes keys of logs (type 1)")
    state = WitnessState.open(options.state)
    try:
        with WitnessServer((host, int(port)), Witness(state, logs)) as server:
            for number in (signal.SIGTERM, signal.SIGINT):
                # shutdown() waits for the loop, which is what the handler interrupts: so from another thread.
                signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
            print(f"ready {server.url}", flush=True)
            server.serve_forever(poll_interval=0.1)
    finally:
        state.close()
    return OK


def _keys(place: str) -> list[VerifierKey]:
    if not Path(place).is_file() and "+" in place:
        return [parse_key(place)]
    return parse_keys(read_file(Path(place), MAX_NOTE).decode("utf-8", "replace"), place)


if __name__ == "__main__":
    sys.exit(main())
