"""What a model file is, by its content: format, facts from its header, and whether it may pass.

    inspection = inspect(reader, name="weights/model.safetensors", declared="safetensors")
    inspection.ok, inspection.format, inspection.facts, inspection.findings, inspection.executable

Nothing is deserialised, unpickled, extracted or resolved. Only headers are read, through a `RandomReader`, in a bounded
number of bounded reads; the first `HEAD_BYTES` and the last `TAIL_BYTES` are read of every file, so a caller that
streams the file anyway keeps those two. No allocation follows a size that a file declares. A reader that fails in any
way has not cleared the file: that is a finding too.

`ok` says that nothing blocks the file. `executable` says that loading it can run code even so: which tracks take such
formats is for their policy to decide.
"""

from muniment.checksum_validator.formats.inspection import inspect
from muniment.checksum_validator.formats.report import Finding, Inspection
from muniment.checksum_validator.formats.safetensors import TensorInfo, read_safetensors_index
from muniment.checksum_validator.formats.spec import (
    DEFAULT_LIMITS,
    FORMATS,
    HEAD_BYTES,
    TAIL_BYTES,
    Format,
    FormatError,
    Json,
    Limits,
    RandomReader,
    Severity,
)

__all__ = [
    "DEFAULT_LIMITS",
    "FORMATS",
    "HEAD_BYTES",
    "TAIL_BYTES",
    "Finding",
    "Format",
    "FormatError",
    "Inspection",
    "Json",
    "Limits",
    "RandomReader",
    "Severity",
    "TensorInfo",
    "inspect",
    "read_safetensors_index",
]
