"""The `muniment` command: finds the module of a command, runs it, and turns what happens into an exit code.

Only the module that a command needs is imported, and `muniment --help` imports none: the table below is the page.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from muniment.cli import failures

if TYPE_CHECKING:
    from muniment.cli.arguments import Command

GROUPS: Final[tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]] = (
    (
        "Run a registry",
        (
            ("up", "server:up", "Start everything here, in one process, and print its URL"),
            ("demo", "server:demo", "Train two small models and follow them through the whole pipeline"),
            ("run", "server:run", "Start the named services against external parts"),
            ("doctor", "server:doctor", "Check settings, broker, database, store and server"),
            ("migrate", "server:migrate", "Bring the database schemas up to date"),
            ("rebuild", "server:rebuild", "Make the registry's state anew from audit log and manifests, and compare"),
            ("topics", "server:topics", "Show the topics, and create those that are missing"),
        ),
    ),
    (
        "Publish",
        (
            ("publish", "publish:app", "Publish a directory or files as a version of a model"),
            ("publications", "publications:app", "Look at publications: ls, show, abandon"),
            ("candidates", "candidates:app", "Finished runs that wait for a person: ls, refuse"),
            ("commit", "candidates:commit_app", "Make a candidate a version"),
        ),
    ),
    (
        "Models and versions",
        (
            ("models", "models:app", "Models: ls, show"),
            ("versions", "versions:app", "Versions of a model: ls, show, describe, delete, attest, verify-signature"),
            ("branch", "branch:app", "Branches: ls, show, create, close, reopen, protect, unprotect"),
            ("pointer", "branch:pointer_app", "Pointers: ls, show, history, set, rm"),
            ("log", "versions:log_app", "The versions on the way back from a reference"),
            ("release", "releases:app", "Releases, each a copy of its own: create, ls, show"),
            ("tracks", "tracks:app", "Where and how versions and releases are kept: ls, show, set"),
            ("lineage", "lineage:app", "What a version, a dataset or a commit came from, and what came of it"),
            ("deployments", "lineage:deployments_app", "Where versions run: ls, report"),
            ("gc", "lineage:gc_app", "Free bytes that nothing needs"),
            ("blame", "blame:app", "Which version last changed each field and tensor"),
            ("bisect", "bisect:app", "Since when it is bad, and why: by metrics, a command, or a person"),
            ("compare", "compare:app", "Two to six versions side by side, by their manifests"),
            ("diff", "compare:diff_app", "What changed between two versions, down to each tensor"),
            ("download", "download:app", "Download a version, checked while it streams"),
            ("scrub", "scrub:app", "Committed bytes read again and repaired: status, run, ls, repair"),
            ("reproduce", "reproduce:app", "Write what it takes to run a version's training again"),
            ("verify", "download:verify_app", "Check a version, or a directory against one"),
        ),
    ),
    (
        "The baseline",
        (
            ("promote", "promotion:promote_app", "Bring a version onto main and make it the baseline"),
            ("rollback", "promotion:rollback_app", "Lead the baseline back"),
            ("contract", "promotion:contract_app", "What a version must pass: show, set, freeze, unfreeze"),
            ("approve", "promotion:approve_app", "Say yes or no to a version"),
            ("check", "promotion:check_app", "Keep the outcome of a check of a version"),
            ("revert", "promotion:revert_app", "Reverse an audited change as a new one"),
        ),
    ),
    (
        "Measure",
        (
            ("evaluate", "measure:evaluate_app", "Append evaluations of a version: they count for promotion"),
            ("observe", "measure:observe_app", "Append observations of a version, from production"),
            ("series", "measure:series_app", "A metric over the versions of a model, or over time"),
            ("divergences", "measure:divergences_app", "How the baseline's tolerances stand"),
        ),
    ),
    (
        "Listen and look back",
        (
            ("watch", "watch:app", "Print events as they come"),
            (
                "subscriptions",
                "subscriptions:app",
                "Webhooks: ls, show, create, preview, pause, resume, rotate, delete, test, deliveries, retry, replay",
            ),
            ("audit", "audit:app", "The audit log: ls, show, checkpoint, prove, verify, export, close-log, keys"),
            ("dlq", "dlq:app", "Records that were set aside: ls, show, retry"),
        ),
    ),
    (
        "Access",
        (("token", "token:app", "API tokens and publisher keys: ls, create, revoke, key"),),
    ),
    (
        "About",
        (
            ("version", "about:version_app", "The version of this program, and of the server"),
            ("completion", "about:completion_app", "Print a completion script for a shell"),
        ),
    ),
)
_COLLECT_SELDOM: Final = (50_000, 10, 10)
"""Modules make hundreds of thousands of objects that stay: to look through them after every 700 new ones, as Python
does by itself, takes a fifth of the time before a command begins. A service sets its own once it is ready."""
COMMANDS: Final = {name: place for _, commands in GROUPS for name, place, _ in commands}

EPILOGUE: Final = """\
Every command takes --json (one JSON document, or JSON lines for lists and streams, on stdout), -q (ids alone),
--server and --credentials; `muniment COMMAND --help` has an example. Progress and errors go to stderr. With --json an
error is one line there: {"error": {"code", "message", "expected", "actual", "hint"}, "exit": N}

References: digits  digits@main  digits@exp/dropout  digits@1.2.0  digits@^1.2  digits/3
digits@sha256:ab12cd34

Server and token: --server or MUNIMENT_URL with MUNIMENT_TOKEN, else a credentials file: MUNIMENT_CREDENTIALS,
.muniment/credentials.json (written by `muniment up`), ~/.config/muniment/credentials.json. NO_COLOR is respected.

Exit codes:
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    if argv is None:  # a process of its own, which begins with imports
        gc.set_threshold(*_COLLECT_SELDOM)
    tokens = list(sys.argv[1:] if argv is None else argv)
    if not tokens or tokens[0] in {"-h", "--help", "help"}:
        sys.stdout.write(root_help())
        return failures.OK
    if tokens[0] == "--version":
        tokens[0] = "version"
    as_json = "--json" in tokens
    if tokens[0] not in COMMANDS:
        return failures.report(_unknown(tokens[0]), as_json=as_json)
    with failures.handled(as_json=as_json) as outcome:
        outcome.code = load(tokens[0])(tokens[1:])
    return outcome.code


def load(name: str) -> Command:
    """One command, by the first word after `muniment`."""
    from importlib import import_module

    module, _, attribute = COMMANDS[name].partition(":")
    command: Command = getattr(import_module(f"muniment.cli.commands.{module}"), attribute)
    return command


def root_help() -> str:
    """The page that `muniment --help` prints."""
    lines = [
        "Usage: muniment COMMAND [OPTIONS]",
        "",
        "A model registry where every version is checked, locked, audited and announced.",
    ]
    for title, commands in GROUPS:
        lines += ["", f"{title}:"]
        lines += [f"  {name:<14} {text}" for name, _, text in commands]
    lines += [
        "",
        "Example:",
        "  muniment up",
        "  muniment publish out/ --model digits --metric accuracy=0.97 --wait",
        "",
    ]
    codes = [f"  {code:>3}  {meaning}" for code, meaning in failures.MEANINGS.items()]
    return "\n".join([*lines, EPILOGUE + "\n".join(codes), ""])


def _unknown(name: str) -> failures.Usage:
    return failures.Usage(f"there is no command {name!r}", hint=failures.near("muniment", name, COMMANDS))


if __name__ == "__main__":
    sys.exit(main())
