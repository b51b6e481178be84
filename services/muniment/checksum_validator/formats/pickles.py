"""Pickle streams: raw ones of every protocol, joblib's, and PyTorch's from before its zip format.

Nothing is unpickled: `pickle_machine` names what a stream imports, and everything outside the allow-list blocks it.
Even a clean pickle stays executable: whether a track takes those at all is for its policy to say.
"""

from __future__ import annotations

from typing import Final

from muniment.checksum_validator.formats.pickle_globals import is_allowed
from muniment.checksum_validator.formats.pickle_machine import Machine
from muniment.checksum_validator.formats.pickle_opcodes import OPCODES
from muniment.checksum_validator.formats.pickle_state import JOBLIB_ARRAY, Tally, is_malformed
from muniment.checksum_validator.formats.report import Report, clip
from muniment.checksum_validator.formats.source import ByteSource, Cursor, Slice, Source
from muniment.checksum_validator.formats.spec import DEFAULT_LIMITS, FormatError, Limits

TORCH_MAGIC: Final = 0x1950A86A20F9469CFC6C
_TORCH_PICKLES: Final = 5  # magic, protocol, system, object, storage keys
_TRIAL_OPCODES: Final = 2_000
_SHOWN: Final = 64
_FIRST: Final = frozenset(
    code for code, opcode in OPCODES.items() if not opcode.takes and not opcode.to_mark and opcode.name != "PERSID"
)


def recognise(source: Source) -> bool:
    """Whether an unpickler given this file would do anything with it.

    Protocols 0 and 1 have no signature, so the beginning is followed like a pickle: it is one if it calls something, if
    it ends where the file ends, or if it simply goes on being one. Text and numbers fail within a few bytes.
    """
    return bool(source.head) and source.head[0] in _FIRST and is_pickle(source, source.size)


def is_pickle(source: ByteSource, size: int) -> bool:
    """Whether the first `size` bytes begin with a pickle that does something."""
    cursor = Cursor(source, 0, size)
    signed = cursor.window(1)[0].startswith(b"\x80")  # PROTO: protocol 2 and up
    tally = Tally(DEFAULT_LIMITS)
    try:
        Machine(cursor, tally).run(_TRIAL_OPCODES)
    except FormatError as error:
        # Raw numbers begin like opcodes now and then (one file in 20,000), with calls of what is no callable: without
        # a name that was imported, an unpickler ends there and has run nothing.
        imports = bool(tally.globals) or tally.unresolved > tally.extensions
        did = tally.calls > 0 and (signed or imports)
        return did or not is_malformed(error)
    return tally.calls > 0 or tally.opcodes >= _TRIAL_OPCODES or signed or (tally.opcodes > 1 and not cursor.remaining)


def may_be_pickle(peek: bytes, size: int) -> bool:
    """Whether a file of this size that begins with these bytes could be a pickle: if not, nothing more need be read."""
    if not peek or peek[0] not in _FIRST:
        return False
    cursor = Cursor(Slice(peek), 0, size)
    tally = Tally(DEFAULT_LIMITS)
    try:
        Machine(cursor, tally).run(_TRIAL_OPCODES)
    except FormatError as error:
        # A cursor that met the end of the peek has moved its own end there.
        return tally.calls > 0 or cursor.end < size or not is_malformed(error)
    return True


def read(source: Source, limits: Limits, report: Report) -> None:
    """Follow every pickle of the file, report what they import. Raises `FormatError`."""
    report.format = "pickle"
    tally = Tally(limits)
    try:
        follow(source, 0, source.size, tally, report)
    finally:
        judge(tally, report)
        if tally.torch:
            report.format = "torch-legacy"
        elif any(found == JOBLIB_ARRAY for found in tally.globals):
            report.format = "joblib"


def follow(source: ByteSource, start: int, end: int, tally: Tally, report: Report, *, tail: bool = False) -> int:
    """Follow the pickles between `start` and `end`; where they end.

    There may be several, one behind the other; behind PyTorch's five there are raw storages, and with `tail` anything.
    The caller calls `judge` once it has followed all. Raises `FormatError`.
    """
    mark_executable(report)
    cursor = Cursor(source, start, end)
    torch = Machine(cursor, tally).run() == TORCH_MAGIC
    tally.torch |= torch
    count = 1
    while count < _TORCH_PICKLES and cursor.remaining and (torch or _begins_signed(cursor)):
        Machine(cursor, tally).run()
        count += 1
    if cursor.remaining and not torch and not tail:
        raise FormatError(
            "pickle_trailing_bytes",
            "bytes follow the pickle: it may be another file as well",
            expected="the end of the file",
            actual=f"{cursor.remaining} B",
        )
    return cursor.position


def judge(tally: Tally, report: Report) -> None:
    """Report what the pickles import, and block what is not known to be harmless."""
    report.facts |= {
        "protocol": tally.protocol,
        "opcodes": tally.opcodes,
        "calls": tally.calls,
        "globals": [clip(f"{found.module}.{found.name}") for found in tally.globals[:_SHOWN]],
    }
    rare = {"nested_pickles": tally.nested, "persistent_ids": tally.persistent_ids, "arrays": tally.arrays}
    report.facts |= {name: count for name, count in rare.items() if count}
    trusted = tally.limits.trusted_globals
    unknown = [f"{found.module}.{found.name}" for found in tally.globals if not is_allowed(*found, trusted)]
    if unknown:
        report.block(
            "pickle_global_not_allowed",
            f"loading imports {', '.join(clip(name) for name in unknown[:8])}"
            + (f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""),
            expected="only names known to build plain data",
            actual=unknown[0],
        )
    if tally.unresolved:
        report.block(
            "pickle_global_unresolved",
            "loading imports something whose name is computed",
            expected="names as texts",
            actual=f"{tally.unresolved} imports",
        )


def mark_executable(report: Report) -> None:
    """Say once that loading this file can run code."""
    if not report.executable:
        report.executable = True
        report.warn("executable_format", "loading a pickle can run code; safetensors cannot")


def _begins_signed(cursor: Cursor) -> bool:
    window, at = cursor.window(2)
    return window[at : at + 1] == b"\x80" and window[at + 1 : at + 2] <= b"\x05"
