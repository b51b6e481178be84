"""`muniment-verify`: checks receipts, exports and living logs without trusting who keeps them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from muniment.verifier.bundle import verify_bundle, verify_log
from muniment.verifier.checkpoint import Trust
from muniment.verifier.continued import verify_continued
from muniment.verifier.errors import KeyTextError, Unreadable, VerifierError
from muniment.verifier.evidence import verify_evidence
from muniment.verifier.gossip import compare
from muniment.verifier.keys import COSIGNATURE, LOG, VerifierKey, parse_key, parse_keys
from muniment.verifier.note import MAX_NOTE
from muniment.verifier.receipt import MAX_RECEIPT, parse_receipt, verify_receipt
from muniment.verifier.report import Finding, Report
from muniment.verifier.source import Server, Source, open_path, read_file
from muniment.verifier.tiles import CHECKPOINT, MAX_ENTRY

AGREES, DISAGREES, USAGE, UNREADABLE = 0, 1, 2, 3
TOKEN: Final = "MUNIMENT_TOKEN"  # noqa: S105  # reason: the name of a variable
EPILOGUE: Final = """\
Exit codes:
  0  everything agrees
  1  something does not agree: the first entry and the layer are named, with what was expected and what is there
  2  the command line is wrong
  3  a file or the server could not be read: nothing is known about the log

Examples:
  muniment-verify receipt 42.tlog-proof --key log.vkey
  muniment-verify receipt 42.tlog-proof --entry 42.json --key log.vkey --witness w.vkey --require 1
  muniment-verify evidence digits.tar --key log.vkey      (or muniment-verify digits.tar --key log.vkey)
  muniment-verify bundle export.zip --key log.vkey
  muniment-verify log --url https://models.example.com/api/v1/audit/log --key log.vkey --state seen.json
  muniment-verify continued first.tlog-proof --key new.vkey --old old-log/ --old-key old.vkey
  muniment-verify gossip mine.checkpoint theirs.checkpoint --key log.vkey

A key is `NAME+ID+BASE64` or a file with one on each line. Get it from whom you trust, not from where the log lies.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--key", action="append", default=[], metavar="VKEY|FILE", help="a key of the log; may be repeated"
    )
    common.add_argument(
        "--witness", action="append", default=[], metavar="VKEY|FILE", help="a key of a witness that is trusted"
    )
    common.add_argument(
        "--require",
        type=int,
        default=None,
        metavar="K",
        help="how many of the witnesses must have cosigned; default all",
    )
    common.add_argument("--json", action="store_true", help="one JSON object on stdout")
    root = argparse.ArgumentParser(
        prog="muniment-verify",
        description="Verify an audit log, or a part of it, without trusting who keeps it.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = root.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    receipt = verbs.add_parser("receipt", parents=[common], help="a tlog-proof file, offline")
    receipt.add_argument("file", type=Path, metavar="FILE")
    receipt.add_argument("--entry", type=Path, help="the entry, byte for byte; default: the one inside the receipt")
    bundle = verbs.add_parser("bundle", parents=[common], help="an exported log: a folder, a zip or a tar file")
    bundle.add_argument("path", type=Path, metavar="PATH")
    evidence = verbs.add_parser(
        "evidence",
        parents=[common],
        help="an evidence pack (muniment audit export); without --key, by the keys that it holds itself",
    )
    evidence.add_argument("file", type=Path, metavar="FILE")
    evidence.add_argument(
        "--entry",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an entry that you have from elsewhere, byte for byte: was it left out? May be repeated",
    )
    log = verbs.add_parser("log", parents=[common], help="a living log, over HTTP (tlog-tiles)")
    log.add_argument(
        "--url", required=True, metavar="BASE", help=f"where /checkpoint and /tile are; {TOKEN} is sent as bearer token"
    )
    log.add_argument(
        "--state", type=Path, metavar="FILE", help="remembers what was verified: the next run goes on from there"
    )
    log.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS")
    continued = verbs.add_parser(
        "continued",
        parents=[common],
        help="a log that continues another: from its first entry's receipt to the old log",
    )
    continued.add_argument(
        "file", type=Path, metavar="FILE", help="the receipt of the new log's entry 0, with its entry"
    )
    continued.add_argument(
        "--old", required=True, metavar="PATH|URL", help="the old log: an export, or where it is served"
    )
    continued.add_argument(
        "--old-key", action="append", required=True, metavar="VKEY|FILE", help="a key of the old log; may be repeated"
    )
    gossip = verbs.add_parser("gossip", parents=[common], help="two checkpoints of one log, seen in two places")
    gossip.add_argument("checkpoints", nargs=2, metavar="FILE|URL")
    gossip.add_argument("--tiles", metavar="PATH|URL", help="tiles of the log, to show that the smaller one is a part")
    gossip.add_argument(
        "--out", type=Path, metavar="FILE", help="where a proof of misbehaviour is written; default stdout"
    )
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code."""
    root = parser()
    try:
        options = root.parse_args(_verb_of(sys.argv[1:] if argv is None else argv))
        if not options.key and options.verb != "evidence":
            root.error("the following arguments are required: --key")
        given = _given(options)
    except SystemExit as left:
        return int(left.code or 0) and USAGE
    except (KeyTextError, ValueError) as error:
        return _say(USAGE, getattr(error, "code", "usage"), str(error), as_json=getattr(options, "json", False))
    except Unreadable as error:
        return _say(UNREADABLE, "unreadable", str(error), as_json=options.json)
    try:
        report, code = _run(options, given)
    except ValueError as error:
        return _say(USAGE, "usage", str(error), as_json=options.json)
    except Unreadable as error:
        return _say(UNREADABLE, "unreadable", str(error), as_json=options.json)
    except VerifierError as error:
        report = Report(
            options.verb, findings=[Finding.of(_LAYERS.get(type(error).__name__, "checkpoint"), None, error)]
        )
        code = DISAGREES
    proof = report.facts.get("misbehaviour")
    if options.json:
        print(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        report.facts.pop("misbehaviour", None)
        print(report.text())
        if proof is not None:
            print(f"\n{proof}", end="")
    return code


_VERBS: Final = frozenset({"receipt", "bundle", "evidence", "log", "continued", "gossip"})
_LAYERS: Final = {"ReceiptError": "receipt", "ProofError": "receipt", "StateError": "state"}


def _verb_of(words: Sequence[str]) -> list[str]:
    """A command line that begins with a file is about an evidence pack."""
    return ["evidence", *words] if words and words[0] not in _VERBS and Path(words[0]).is_file() else list(words)


def _run(options: argparse.Namespace, given: Given) -> tuple[Report, int]:
    if options.verb == "evidence":
        with Line(options.json) as progress:
            held = {str(one): read_file(one, MAX_ENTRY) for one in options.entry}
            report = verify_evidence(options.file, given.log, given.witnesses, given.require, progress, held)
        return report, AGREES if report.ok else DISAGREES
    trust = Trust(given.log, given.witnesses, given.require)
    if options.verb == "receipt":
        report = _receipt(options, trust)
    elif options.verb == "bundle":
        with Line(options.json) as progress:
            report = verify_bundle(open_path(options.path), trust, progress)
    elif options.verb == "log":
        with Line(options.json) as progress:
            report = verify_log(_server(options.url, options.timeout), trust, options.state, progress)
    elif options.verb == "continued":
        receipt = read_file(options.file, MAX_RECEIPT)
        with Line(options.json) as progress:
            report = verify_continued(receipt, trust, _log(options.old), Trust(given.old), progress)
    else:
        return _gossip(options, trust)
    return report, AGREES if report.ok else DISAGREES


def _receipt(options: argparse.Namespace, trust: Trust) -> Report:
    report = Report("receipt")
    receipt = parse_receipt(read_file(options.file, MAX_RECEIPT))
    entry = receipt.extra if options.entry is None else read_file(options.entry, MAX_ENTRY)
    if entry is None:
        raise ValueError("the receipt does not hold its entry: give it with --entry FILE")
    report.facts["index"] = receipt.index
    try:
        report.opened(verify_receipt(receipt, entry, trust))
    except VerifierError as error:
        report.findings.append(Finding.of("receipt", receipt.index, error))
        return report
    report.facts["entry"] = entry.decode("utf-8", "replace")
    return report


def _gossip(options: argparse.Namespace, trust: Trust) -> tuple[Report, int]:
    first, second = (_note(place) for place in options.checkpoints)
    tiles: Source | None = None
    if options.tiles is not None:
        tiles = _log(options.tiles)
    report, proof = compare(first, second, trust, tiles)
    if proof is not None and options.out is not None:
        options.out.write_text(proof, "utf-8")
        report.facts["proof"] = str(options.out)
    elif proof is not None:
        report.facts["misbehaviour"] = proof
    if not report.ok:
        return report, DISAGREES
    same = report.facts["older_size"] == report.facts["size"]
    return report, AGREES if same or tiles is not None else UNREADABLE


def _note(place: str) -> bytes:
    if "://" not in place:
        return read_file(Path(place), MAX_NOTE)
    base = place.removesuffix(f"/{CHECKPOINT}")
    note = _server(base, 30.0).read(CHECKPOINT, MAX_NOTE)
    if note is None:
        raise Unreadable(f"{base}/{CHECKPOINT}: there is none")
    return note


def _log(place: str) -> Source:
    return _server(place, 30.0) if "://" in place else open_path(Path(place))


def _server(base: str, timeout_s: float) -> Server:
    return Server(base, token=os.environ.get(TOKEN), timeout_s=timeout_s)


@dataclass(frozen=True, slots=True)
class Given:
    """The keys of the command line, and how many witnesses must have cosigned."""

    log: tuple[VerifierKey, ...]
    witnesses: tuple[VerifierKey, ...]
    require: int
    old: tuple[VerifierKey, ...] = ()
    """Of the log that was continued."""


def _given(options: argparse.Namespace) -> Given:
    log = [key for place in options.key for key in _keys(place)]
    witnesses = [key for place in options.witness for key in _keys(place)]
    old = [key for place in getattr(options, "old_key", None) or () for key in _keys(place)]
    if any(key.type != LOG for key in (*log, *old)):
        raise ValueError("--key and --old-key take a log's key (type 1); a witness's key belongs to --witness")
    if any(key.type != COSIGNATURE for key in witnesses):
        raise ValueError("--witness takes a witness's key (type 4); the log's own key belongs to --key")
    require = len({key.public for key in witnesses}) if options.require is None else options.require
    given = Given(tuple(log), tuple(witnesses), require, tuple(old))
    if log:
        Trust(given.log, given.witnesses, given.require)  # so that a wrong number is told before anything is read
    return given


def _keys(place: str) -> list[VerifierKey]:
    """A key, or those of a file: whatever is a file's name is a file."""
    if not Path(place).is_file() and "+" in place:
        return [parse_key(place)]
    text = read_file(Path(place), MAX_NOTE)
    try:
        return parse_keys(text.decode(), place)
    except UnicodeDecodeError as error:
        raise KeyTextError("key_malformed", f"{place} is not UTF-8") from error


def _say(code: int, name: str, message: str, *, as_json: bool) -> int:
    document: dict[str, Any] = {"error": {"code": name, "message": message}, "exit": code}
    sys.stderr.write(f"{json.dumps(document, ensure_ascii=False)}\n" if as_json else f"muniment-verify: {message}\n")
    return code


class Line:
    """Progress on stderr, once a second, of what takes longer than one."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet or not sys.stderr.isatty()
        self._started = self._shown = time.monotonic()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown != self._started:
            sys.stderr.write("\r\x1b[2K")

    def count(self, what: str, done: int) -> None:
        """Take note of how far a part is whose end is not known."""
        now = time.monotonic()
        if not self._quiet and now - self._shown >= 1:
            self._shown = now
            sys.stderr.write(f"\r\x1b[2K{what}: {done:,}")
            sys.stderr.flush()

    def __call__(self, done: int, total: int) -> None:
        """Take note of how many entries are done."""
        now = time.monotonic()
        if self._quiet or now - self._shown < 1:
            return
        self._shown = now
        rate = done / (now - self._started)
        left = (total - done) / rate if rate else 0.0
        sys.stderr.write(f"\r\x1b[2K{done:,} of {total:,} entries, {rate:,.0f}/s, {left:.0f} s left")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
