"""Zip files by what they hold: PyTorch's, Keras's, NumPy's, and any other.

Members are looked at by content. A pickle is followed to its end and its checksum compared, because a scanner that
stops at a wrong checksum sees less than a loader that does not (CVE-2025-10156). Nothing is extracted.
"""

from __future__ import annotations

import re
from typing import Final

from muniment.checksum_validator.formats import keras, npy, pickles
from muniment.checksum_validator.formats.pickle_state import Tally
from muniment.checksum_validator.formats.report import Report, clip
from muniment.checksum_validator.formats.source import Slice, Source
from muniment.checksum_validator.formats.spec import Format, FormatError, Json, Limits
from muniment.checksum_validator.formats.zip_directory import LOCAL_MAGIC, Member, read_members
from muniment.checksum_validator.formats.zip_end import end_records
from muniment.checksum_validator.formats.zip_members import check, open_member

_SHOWN: Final = 16
_PICKLE_NAME: Final = re.compile(r".*\.(?:pkl|pickle|joblib|pk|p)", re.IGNORECASE | re.DOTALL)


def recognise(source: Source) -> bool:
    """Whether the file begins as an archive does, or ends as one."""
    return source.head.startswith(LOCAL_MAGIC) or bool(end_records(source))


def read(source: Source, limits: Limits, report: Report) -> None:
    """Check the structure, tell the kind, look into the members. Raises `FormatError`."""
    report.format = "zip"
    members = read_members(source, limits)
    report.format = _kind(members)
    size = sum(member.size for member in members)
    report.facts |= {
        "members": len(members),
        "uncompressed_bytes": size,
        "names": [clip(member.name) for member in members[:_SHOWN]],
    }
    if size > limits.zip_expansion * source.size:
        report.warn("zip_expands", f"{source.size} B become {size} B when unpacked")
    tally = Tally(limits)
    try:
        for member in members:
            _look(source, member, limits, report, tally)
    finally:
        if report.executable:
            pickles.judge(tally, report)
    if report.format == "torch-zip":
        _torch_facts(members, report)
    elif report.format == "keras-zip":
        keras.read(source, {member.name: member for member in members}, report)


def _kind(members: list[Member]) -> Format:
    names = {member.name for member in members}
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return "torch-zip"
    if {"config.json", "metadata.json"} <= names:
        return "keras-zip"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    return "zip"


def _look(source: Source, member: Member, limits: Limits, report: Report, tally: Tally) -> None:
    if member.peek.startswith(LOCAL_MAGIC):
        report.block("zip_nested", f"member {clip(member.name)!r} is an archive itself", expected="archives of depth 1")
    elif member.peek.startswith(npy.MAGIC):
        _look_at_array(source, member, report, tally)
    elif _is_pickle(source, member):
        _follow(source, member, 0, report, tally)
    elif report.format == "npz":
        report.block("npy_malformed", f"member {clip(member.name)!r} is not an array")


def _is_pickle(source: Source, member: Member) -> bool:
    """By name, or by what it begins with: most members are settled by the bytes at hand."""
    if _PICKLE_NAME.fullmatch(member.name):
        return member.size > 0
    return pickles.may_be_pickle(member.peek, member.size) and pickles.is_pickle(
        open_member(source, member), member.size
    )


def _look_at_array(source: Source, member: Member, report: Report, tally: Tally) -> None:
    complete = len(member.peek) >= member.size or len(member.peek) >= 128
    try:
        header = npy.read_header(Slice(member.peek), member.size) if complete else None
    except FormatError:
        header = None  # the peek may have cut it off
    if header is None:
        header = npy.read_header(open_member(source, member), member.size)
    if header.objects:
        _follow(source, member, header.start, report, tally)
    arrays = report.facts.setdefault("arrays", [])
    if isinstance(arrays, list) and len(arrays) < _SHOWN:
        fact: dict[str, Json] = {"name": clip(member.name.removesuffix(".npy")), **header.facts()}
        arrays.append(fact)


def _follow(source: Source, member: Member, start: int, report: Report, tally: Tally) -> None:
    """Follow a member's pickle, then read the rest of the member: size and checksum must be right."""
    stream = open_member(source, member)
    pickles.follow(stream, start, member.size, tally, report)
    check(stream, member)


def _torch_facts(members: list[Member], report: Report) -> None:
    top = next(member.name for member in members if member.name.endswith("data.pkl")).rpartition("/")[0]
    names = [member.name.removeprefix(f"{top}/") for member in members]
    report.facts |= {
        "archive": clip(top),
        "storages": sum(name.startswith("data/") for name in names),
        "torchscript": any(name == "constants.pkl" or name.startswith("code/") for name in names),
    }
