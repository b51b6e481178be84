"""An evidence pack, verified offline: container, digests, checkpoint, receipts, manifests, and what its report says."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from muniment.verifier.canonical import canonical
from muniment.verifier.checkpoint import Checkpoint, Opened, Trust, open_checkpoint
from muniment.verifier.entry import parse_entry
from muniment.verifier.errors import EntryError, KeyTextError, PackError, VerifierError
from muniment.verifier.hashing import leaf_hash, verify_inclusion
from muniment.verifier.keys import LOG, VerifierKey, parse_keys
from muniment.verifier.note import MAX_NOTE
from muniment.verifier.pack import Pack, open_pack
from muniment.verifier.receipt import MAX_RECEIPT, parse_receipt
from muniment.verifier.report import Finding, Report
from muniment.verifier.retold import Retold
from muniment.verifier.tiles import MAX_ENTRY
from muniment.verifier.walk import Progress
from muniment.verifier.withholding import LEAVES, has_leaves, verify_range

FORMAT: Final = "muniment.evidence/v1"
SUMS: Final = "SHA256SUMS"
_FIRST: Final = ("pack.json", "checkpoint", "keys")
_LAST: Final = ("versions.jsonl", "deployments.jsonl", "report.html", SUMS)
_MOST_FINDINGS: Final = 100
_NO_FILES: Final[Mapping[str, bytes]] = {}
_MAX_SUMS: Final = 48 * 1024 * 1024
_MAX_MANIFEST: Final = 64 * 1024 * 1024
_LONGEST_LINE: Final = 4 * 1024 * 1024
_SUM: Final = re.compile(r"([0-9a-f]{64})  ([!-~]{1,100})", re.ASCII)
_COMMITS: Final = {"version.committed": "version", "release.published": "release"}


def verify_evidence(
    path: Path,
    keys: tuple[VerifierKey, ...],
    witnesses: tuple[VerifierKey, ...],
    require: int,
    progress: Progress,
    held: Mapping[str, bytes] = _NO_FILES,
) -> Report:
    """Verify a pack. Without `keys` those in the pack are taken, and the report says what that is worth. `held` are
    entries that somebody has from elsewhere, by a name for each: the report says where the pack's range has them.

    Raises `Unreadable`, and `ValueError` where the cosignatures that are required are more than the witnesses.
    """
    report = Report("evidence")
    try:
        with open_pack(path) as pack:
            _Verification(pack, report, progress).run(keys, witnesses, require, held)
    except PackError as error:
        report.findings.append(Finding.of("pack", None, error))
    return report


class _Verification:
    """One run over an open pack."""

    def __init__(self, pack: Pack, report: Report, progress: Progress) -> None:
        self.pack = pack
        self.report = report
        self.progress = progress
        self.members = {one.name: one for one in pack.members}

    def run(
        self,
        keys: tuple[VerifierKey, ...],
        witnesses: tuple[VerifierKey, ...],
        require: int,
        held: Mapping[str, bytes],
    ) -> None:
        """All checks. Where the digests of the files are not as listed, the proofs still name the entry."""
        self._sums()
        lacking = [name for name in (*_FIRST, *_LAST) if name not in self.members]
        for name in lacking:
            self._found(name, None, "member_missing", f"the pack has no {name}")
        if lacking:
            return
        facts = self._facts()
        opened = self._opened(keys, witnesses, require)
        if facts is None or opened is None:
            return
        head = opened.checkpoint
        for name, said, actual in (
            ("origin", facts["origin"], head.origin),
            ("size", facts["size"], head.size),
            ("root", facts["root"], head.root.hex()),
        ):
            if said != actual:
                self._found("pack.json", None, "facts_differ", f"`{name}` is not the checkpoint's", actual, said)
        self.report.facts |= {name: facts[name] for name in ("model", "from", "to")}
        if facts["end"] > head.size:
            message = "the range goes on behind the checkpoint"
            self._found("pack.json", None, "facts_differ", message, f"end <= {head.size}", facts["end"])
            return
        if has_leaves(facts) and LEAVES not in self.members:
            self._found(LEAVES, None, "member_missing", f"the pack has no {LEAVES}")
        with Retold(facts) as retold:
            self._entries(facts, head, retold)
            self._same("versions.jsonl", retold.versions())
            self._same("deployments.jsonl", retold.deployments())
            self._same("report.html", retold.report())
        given = {index for one in self.pack.members if (index := _index(one.name)) is not None}
        verify_range(self.pack, self.report, self._found, facts, head, given, held)

    def _sums(self) -> None:
        """Every file against the list of digests, in the list's order."""
        listed: list[tuple[str, str]] = []
        member = self.members.get(SUMS)
        if member is None:
            return
        raw = self.pack.read(member, _MAX_SUMS)
        for number, line in enumerate(_lines(raw), 1):
            found = _SUM.fullmatch(line)
            if found is None:
                self._found(SUMS, None, "sums_malformed", f"line {number} is malformed", "HEX  NAME", repr(line[:120]))
                return
            listed.append((found[2], found[1]))
        names = {name for name, _ in listed}
        if len(names) != len(listed) or not raw.endswith(b"\n"):
            self._found(SUMS, None, "sums_malformed", "a file is listed twice, or the last line has no end")
            return
        for one in self.pack.members:
            if one.name not in names and one.name != SUMS:
                self._found(one.name, _index(one.name), "member_added", "the pack's list does not have this file")
        for name, digest in listed:
            held = self.members.get(name)
            if held is None:
                self._found(name, _index(name), "member_missing", "the pack's list has this file, the pack has not")
                continue
            actual = _sha256(self.pack.chunks(held))
            if actual != digest:
                self._found(
                    name, _index(name), "member_differs", "the file is not the one of its digest", digest, actual
                )
        order = [one.name for one in self.pack.members if one.name != SUMS]
        if sorted(order) == sorted(names) and order != [name for name, _ in listed]:
            at = next(at for at, name in enumerate(order) if name != listed[at][0])
            self._found(
                order[at],
                _index(order[at]),
                "order_differs",
                "the files are in another order",
                listed[at][0],
                order[at],
            )

    def _facts(self) -> dict[str, Any] | None:
        """What `pack.json` says, every part of it of its kind."""
        try:
            raw = self.pack.read(self.members["pack.json"], MAX_ENTRY)
            facts = parse_entry(raw)
            kinds = {"format": str, "model": str, "first": int, "end": int, "origin": str, "size": int, "root": str}
            wrong = [name for name, kind in kinds.items() if type(facts.get(name)) is not kind]
            wrong += [name for name in ("from", "to") if not _is_time(facts.get(name, ""))]
            known = facts.get("format") == FORMAT and set(facts) == {*kinds, "from", "to"}
            if not wrong and not 0 <= facts["first"] <= facts["end"] < 2**63:
                wrong.append("range")
            if wrong or not known or canonical(facts).encode() != raw:
                raise EntryError(
                    "facts_malformed",
                    "pack.json is none that is known",
                    expected=FORMAT,
                    actual=", ".join(wrong) or repr(raw[:120]),
                )
        except VerifierError as error:
            self.report.findings.append(Finding.of("pack.json", None, error))
            return None
        return facts

    def _opened(self, keys: tuple[VerifierKey, ...], witnesses: tuple[VerifierKey, ...], require: int) -> Opened | None:
        self.report.facts["keys_from"] = (
            "you" if keys else ("THE PACK ITSELF: this shows that its parts agree, not whose they are; give --key")
        )
        try:
            held = _keys_of(self.pack.read(self.members["keys"], MAX_NOTE))
            raw = self.pack.read(self.members["checkpoint"], MAX_NOTE)
            opened = open_checkpoint(raw, Trust(keys or held, witnesses, require))
        except KeyTextError as error:
            self.report.findings.append(Finding.of("keys", None, error))
            return None
        except VerifierError as error:
            self.report.findings.append(Finding.of("checkpoint", None, error))
            return None
        self.report.opened(opened)
        return opened

    def _entries(self, facts: dict[str, Any], head: Checkpoint, retold: Retold) -> None:
        """Every entry with its receipt and its manifest. They follow each other in the pack in this order."""
        note = head.note.raw
        indexes = [index for one in self.pack.members if (index := _index(one.name)) is not None]
        expected: list[str] = [*_FIRST, *([LEAVES] if has_leaves(facts) else [])]
        given: set[str] = set()
        wanted = sorted(set(indexes))
        for done, index in enumerate(wanted, 1):
            self.progress(done, len(wanted))
            names = [f"entries/{index}.json", f"receipts/{index}.tlog-proof"]
            expected += names
            lacking = [name for name in names if name not in self.members]
            if lacking:
                self._found(lacking[0], index, "member_missing", f"the pack has no {lacking[0]}")
                continue
            try:
                data = self._proven(index, head, note)
                entry = parse_entry(data)
                self._belongs(index, entry, facts)
                manifest = self._manifest(index, entry)
                if manifest is not None and manifest not in given:
                    given.add(manifest)
                    expected.append(manifest)
                retold.take(index, entry, manifest)
            except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
                self._found(names[0], index, "entry_malformed", f"the entry is of a form that is not known: {error!r}")
            except VerifierError as error:
                self.report.findings.append(Finding.of(names[0], index, error))
        self.report.facts |= {"entries": len(wanted), "receipts": len(wanted), "manifests": len(given)}
        for name in (one.name for one in self.pack.members):
            if name.startswith("manifests/") and name not in given:
                self._found(name, None, "member_added", "no entry of the pack has committed this manifest")
        order = [one.name for one in self.pack.members]
        expected += _LAST
        if self.report.ok and order != expected:
            at = next((at for at, pair in enumerate(zip(order, expected, strict=False)) if pair[0] != pair[1]), 0)
            self._found(
                order[at], _index(order[at]), "order_differs", "the files are in another order", expected[at], order[at]
            )

    def _proven(self, index: int, head: Checkpoint, note: bytes) -> bytes:
        """The entry's bytes, shown by its receipt to be in the log of the pack's checkpoint."""
        data = self.pack.read(self.members[f"entries/{index}.json"], MAX_ENTRY)
        place = f"receipts/{index}.tlog-proof"
        receipt = parse_receipt(self.pack.read(self.members[place], MAX_RECEIPT))
        if receipt.index != index or receipt.checkpoint != note:
            what = "another entry" if receipt.index != index else "another checkpoint than the pack's"
            self._found(place, index, "receipt_differs", f"the receipt is for {what}")
        verify_inclusion(index, head.size, leaf_hash(data), receipt.proof, head.root)
        return data

    def _belongs(self, index: int, entry: dict[str, Any], facts: dict[str, Any]) -> None:
        """The entry is of the model, and, unless it tells how things stood before, of the time that was asked for."""
        name = f"entries/{index}.json"
        if str(entry.get("model")).lower() != facts["model"].lower():
            self._found(
                name, index, "entry_elsewhere", "the entry is of another model", facts["model"], str(entry.get("model"))
            )
        if index >= facts["end"]:
            self._found(
                name, index, "entry_elsewhere", "the entry lies behind the end", f"< {facts['end']}", str(index)
            )
        time = datetime.fromisoformat(entry["log_time"])
        early = facts["from"] is not None and time < datetime.fromisoformat(facts["from"])
        late = facts["to"] is not None and time >= datetime.fromisoformat(facts["to"])
        if late or early != (index < facts["first"]):
            wanted = f"{facts['from'] or 'the beginning'} to {facts['to'] or 'the end'}, from index {facts['first']} on"
            self._found(
                name, index, "entry_elsewhere", "the entry is of another time", wanted, f"{time}, index {index}"
            )

    def _manifest(self, index: int, entry: dict[str, Any]) -> str | None:
        """The name of the manifest that the entry committed, if the pack has it; its digest must be the entry's."""
        kind = _COMMITS.get(entry["action"])
        if kind is None or entry.get("outcome", "done") != "done":
            return None
        after = {one["path"]: one.get("after") for one in entry["changes"]}.get(kind)
        digest = after.removeprefix("sha256:") if isinstance(after, str) else None
        name = f"manifests/{digest}.json"
        member = self.members.get(name)
        if member is None:
            missing: list[str] = self.report.facts.setdefault("manifests_missing", [])
            if len(missing) < _MOST_FINDINGS:
                missing.append(name)
            return None
        actual = hashlib.sha256(self.pack.read(member, _MAX_MANIFEST)).hexdigest()
        if actual != digest:
            message = f"the manifest is not the one that entry {index} committed"
            self._found(name, index, "manifest_differs", message, f"sha256:{digest}", f"sha256:{actual}")
        return name

    def _same(self, name: str, lines: Iterable[bytes]) -> None:
        """A file must say, line by line, what the entries give."""
        both = zip_longest(lines, _split(self.pack.chunks(self.members[name])))
        for number, (wanted, actual) in enumerate(both, 1):
            if wanted != actual:
                self._line_differs(name, number, wanted, actual)
                return

    def _line_differs(self, name: str, number: int, wanted: bytes | None, actual: bytes | None) -> None:
        message = f"line {number} of {name} is not what the pack's entries give"
        sides = [None if one is None else one.decode("utf-8", "replace")[:300].strip() for one in (wanted, actual)]
        self._found(name, None, "retold_differs", message, sides[0] or "the end", sides[1] or "the end")

    def _found(
        self, place: str, index: int | None, code: str, message: str, expected: Any = None, actual: Any = None
    ) -> None:
        if len(self.report.findings) < _MOST_FINDINGS:
            sides = [None if one is None else _plain(str(one)) for one in (expected, actual)]
            self.report.findings.append(Finding(place, index, code, message, *sides))


def _keys_of(raw: bytes) -> tuple[VerifierKey, ...]:
    try:
        keys = tuple(parse_keys(raw.decode()))
    except UnicodeDecodeError as error:
        raise KeyTextError("key_malformed", "the pack's keys are not UTF-8") from error
    if any(key.type != LOG for key in keys):
        raise KeyTextError("key_type", "the pack's keys are not all a log's", expected="type 1 (Ed25519)")
    return keys


def _plain(text: str) -> str:
    return text if text.isprintable() else repr(text)


def _index(name: str) -> int | None:
    folder, _, rest = name.partition("/")
    return int(rest.split(".", 1)[0]) if folder in {"entries", "receipts"} and rest else None


def _is_time(value: object) -> bool:
    if value is None:
        return True
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _lines(raw: bytes) -> list[str]:
    text = raw.decode("utf-8", "replace")
    return text.removesuffix("\n").split("\n") if text else []


def _sha256(chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _split(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines with their line feeds; one that is longer than any that a pack has comes in pieces."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in whole)
        if len(rest) > _LONGEST_LINE:
            yield rest
            rest = b""
    if rest:
        yield rest
