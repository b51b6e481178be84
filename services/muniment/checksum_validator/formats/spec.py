"""What the format readers share: the formats there are, how bytes are asked for, how much of everything is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

from muniment.contracts.errors import Rejected

Format = Literal[
    "safetensors",  # length, JSON header, tensors: nothing to execute
    "gguf",  # llama.cpp's container, versions 2 and 3, little endian
    "onnx",  # a ModelProto; may name external data files
    "torch-zip",  # torch.save since 1.6, TorchScript: a zip with a data.pkl
    "torch-legacy",  # torch.save before 1.6: five pickles, then raw storages
    "pickle",  # any other pickle stream, protocols 0 to 5
    "joblib",  # a pickle with raw NumPy arrays between its opcodes, compressed or not
    "keras-zip",  # .keras: a zip with config.json and weights
    "npy",  # one NumPy array; a pickle inside where the dtype holds objects
    "npz",  # a zip of .npy members
    "zip",  # any other zip
    "hdf5",  # HDF5, including the older Keras files
    "tar",  # a tar archive, not compressed
    "compressed",  # gzip, zlib, bzip2, xz, lzma, lz4, zstd around something that is not a pickle
    "pdf",  # a document, such as a model card
    "json",  # one JSON value
    "text",  # UTF-8 (YAML, CSV, Markdown, ...)
    "unknown",  # none of these: allowed, nothing is said about it
]
FORMATS: Final[frozenset[str]] = frozenset(get_args(Format))

Severity = Literal["info", "warning", "blocked"]

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

HEAD_BYTES: Final = 65_536
"""What every inspection reads first: worth keeping from the pass that hashes the file."""
TAIL_BYTES: Final = 65_536 + 128
"""What it reads of the end of a larger file: the longest zip comment and the zip end records before it."""


class RandomReader(Protocol):
    """A file of known size, read at any place. Synchronous: inspections run in a worker thread."""

    @property
    def size(self) -> int:
        """Bytes in the file."""

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`; fewer only at the end. Whatever it raises ends the inspection as is."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one inspection may take. Everything above is refused, not cut off in silence."""

    read_bytes: int = 128 * 1024 * 1024
    """Bytes asked of the reader in all, head and tail included."""
    reads: int = 20_000
    """Calls of the reader: each may be one request to the store."""
    header_bytes: int = 16 * 1024 * 1024
    """The safetensors header. The format's own limit is 100,000,000."""
    tensors: int = 200_000
    gguf_pairs: int = 100_000
    gguf_items: int = 1_000_000
    """Items in all arrays of strings or arrays; arrays of numbers are skipped whole and not counted."""
    gguf_string_bytes: int = 10_000_000
    gguf_dimensions: int = 8
    gguf_nesting: int = 4
    onnx_fields: int = 2_000_000
    onnx_nesting: int = 100
    """Messages within messages; 100 is also where the protobuf libraries stop."""
    archive_members: int = 10_000
    zip_ratio: int = 200
    """Uncompressed to compressed size of a member of 1 MiB or more."""
    zip_expansion: int = 2
    """All members together against the file; above it is a warning."""
    inflated_bytes: int = 256 * 1024 * 1024
    """Bytes decompressed while scanning; none of them are kept."""
    pickle_opcodes: int = 4_000_000
    pickle_globals: int = 1_000
    pickle_nesting: int = 4
    """Pickles in pickles."""
    json_bytes: int = 256 * 1024
    """A JSON file up to this size is parsed; of a larger one only both ends are looked at."""
    trusted_globals: frozenset[str] = frozenset()
    """Further `module.name` globals that pickles may import; an operator vouches for them."""


DEFAULT_LIMITS: Final = Limits()


class FormatError(Rejected):
    """The file breaks its format's rules, or a limit of ours. Becomes a finding of severity `blocked`."""
