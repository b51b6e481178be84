"""One file's inspection: which formats its bytes are, what the reader of that format finds, and what was claimed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from muniment.checksum_validator.formats import (
    compressed,
    gguf,
    hdf5,
    npy,
    onnx,
    pickles,
    safetensors,
    tar,
    text,
    zips,
)
from muniment.checksum_validator.formats.report import Inspection, Report, clip
from muniment.checksum_validator.formats.source import Source
from muniment.checksum_validator.formats.spec import (
    DEFAULT_LIMITS,
    FORMATS,
    Format,
    FormatError,
    Limits,
    RandomReader,
)

_PDF_WITHIN: Final = 1024  # readers of PDF look this far for its header


class _Kind(NamedTuple):
    """A format that can be told from the bytes, and its reader (which may make the format more precise)."""

    format: Format
    recognise: Callable[[Source], bool]
    read: Callable[[Source, Limits, Report], None] | None


def _is_pdf(source: Source) -> bool:
    return source.head.find(b"%PDF-", 0, _PDF_WITHIN) >= 0


# Every one of these is asked about every file: two that say yes are a polyglot. The most dangerous comes first, so that
# a polyglot is reported, and read, as that.
_KINDS: Final = (
    _Kind("pickle", pickles.recognise, pickles.read),
    _Kind("zip", zips.recognise, zips.read),
    _Kind("npy", npy.recognise, npy.read),
    _Kind("hdf5", hdf5.recognise, hdf5.read),
    _Kind("compressed", compressed.recognise, compressed.read),
    _Kind("tar", tar.recognise, tar.read),
    _Kind("onnx", onnx.recognise, onnx.read),
    _Kind("gguf", gguf.recognise, gguf.read),
    _Kind("safetensors", safetensors.recognise, safetensors.read),
    _Kind("pdf", _is_pdf, None),
)

_DECLARED: Final[dict[str, frozenset[str]]] = {
    "text": frozenset({"text", "json"}),
    "torch": frozenset({"torch-zip", "torch-legacy"}),
    "pytorch": frozenset({"torch-zip", "torch-legacy"}),
    "keras": frozenset({"keras-zip", "hdf5"}),
}
"""Names that stand for more than one format. Every other declared name must be exactly what is found."""

_SUFFIXES: Final[dict[str, frozenset[str]]] = {
    "safetensors": frozenset({"safetensors"}),
    "gguf": frozenset({"gguf"}),
    "onnx": frozenset({"onnx"}),
    "npy": frozenset({"npy"}),
    "npz": frozenset({"npz"}),
    "keras": frozenset({"keras-zip"}),
    "h5": frozenset({"hdf5"}),
    "hdf5": frozenset({"hdf5"}),
    "json": frozenset({"json"}),
    **dict.fromkeys(("txt", "md", "yaml", "yml", "csv", "toml", "ini", "py"), frozenset({"text", "json"})),
    **dict.fromkeys(("pt", "pth"), frozenset({"torch-zip", "torch-legacy", "pickle"})),
    **dict.fromkeys(("pkl", "pickle", "joblib"), frozenset({"pickle", "joblib", "torch-legacy"})),
}


def inspect(reader: RandomReader, *, name: str, declared: str | None, limits: Limits = DEFAULT_LIMITS) -> Inspection:
    """Tell a file's format by its content, check it, and compare it with what was claimed.

    `name` is the file's path in its model; its suffix alone never decides. `declared` is the publisher's word for the
    format, or None. Whatever is wrong with the file becomes a finding. Raises only what `reader` raises, and `OSError`
    when it answers with the wrong number of bytes: the store's trouble is not the file's.
    """
    source = Source(reader, limits)
    report = Report()
    try:
        _look(source, limits, report)
    except FormatError as error:
        report.refuse(error)
    except Exception as error:  # whatever else goes wrong in a reader: the file is not cleared
        if source.broken:
            raise
        report.block("reader_failed", f"the file could not be looked at: {type(error).__name__}")
    _compare(report, name, declared, source.size)
    return report.finish()


def _look(source: Source, limits: Limits, report: Report) -> None:
    if not source.size:
        report.warn("empty_file", "the file holds nothing")
        return
    found = [kind for kind in _KINDS if kind.recognise(source)]
    if not found:
        report.format = text.kind_of(source, limits, report)
        return
    report.format = found[0].format
    if len(found) > 1:
        report.block(
            "polyglot",
            "the file is several formats at once: what it does depends on who opens it",
            expected="one format",
            actual=", ".join(kind.format for kind in found),
        )
    if found[0].read:
        found[0].read(source, limits, report)


def _compare(report: Report, name: str, declared: str | None, size: int) -> None:
    if declared is not None:
        allowed = _DECLARED.get(declared, frozenset({declared}))
        if not allowed <= FORMATS:
            report.block(
                "format_not_known", "the declared format is no format's name", expected=_names(), actual=declared
            )
        elif report.format not in allowed:
            report.block(
                "format_mismatch", "the file is not what it was declared to be", expected=declared, actual=report.format
            )
    suffix = name.rpartition("/")[2].rpartition(".")[2].lower() if "." in name else ""
    usual = _SUFFIXES.get(suffix)
    if usual and report.format not in usual and size:
        report.add(
            "blocked" if report.executable and not usual & _EXECUTABLE else "warning",
            "suffix_mismatch",
            f"the name {clip(name)!r} suggests another format",
            expected=" or ".join(sorted(usual)),
            actual=report.format,
        )


_EXECUTABLE: Final = frozenset({"pickle", "joblib", "torch-zip", "torch-legacy"})


def _names() -> str:
    return ", ".join(sorted(FORMATS | _DECLARED.keys()))
