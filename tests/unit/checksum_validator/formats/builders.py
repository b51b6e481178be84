"""Files of every format, made by hand: valid ones to start from, and the reader that watches how they are read."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import HealthCheck, settings

from muniment.checksum_validator.formats import DEFAULT_LIMITS, Inspection, Limits, inspect
from muniment.checksum_validator.formats.source import CHUNK_BYTES

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties: how long an example takes says something about the machine alone."""


class Reader:
    """Bytes as a `RandomReader` that holds every read to what was promised."""

    def __init__(self, data: bytes, limits: Limits = DEFAULT_LIMITS) -> None:
        self.data = data
        self.size = len(data)
        self.reads = 0
        self.bytes_read = 0
        self._limits = limits

    def read(self, offset: int, length: int) -> bytes:
        assert 0 <= offset < self.size, "a read begins inside the file"
        assert 0 < length <= CHUNK_BYTES, "no read is larger than a chunk"
        assert offset + length <= self.size, "no read reaches beyond the end"
        self.reads += 1
        self.bytes_read += length
        assert self.reads <= self._limits.reads
        assert self.bytes_read <= self._limits.read_bytes
        return self.data[offset : offset + length]


def look(data: bytes, name: str = "model", declared: str | None = None, limits: Limits = DEFAULT_LIMITS) -> Inspection:
    """Inspect, and hold what every inspection promises: bounded reads, bounded facts, no reader that failed."""
    inspection = inspect(Reader(data, limits), name=name, declared=declared, limits=limits)
    assert len(json.dumps(inspection.facts)) < 16 * 1024
    assert "reader_failed" not in codes(inspection), inspection.findings
    return inspection


def codes(inspection: Inspection, severity: str | None = None) -> list[str]:
    """The findings' codes, in order."""
    return [finding.code for finding in inspection.findings if severity in {None, finding.severity}]


def blocked(inspection: Inspection) -> list[str]:
    """The codes of what keeps the file out."""
    assert inspection.ok == (not codes(inspection, "blocked"))
    return codes(inspection, "blocked")


# --- safetensors


def safetensors_file(header: Mapping[str, Any] | bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def small_safetensors() -> bytes:
    header = {"__metadata__": {"format": "pt"}, "a": tensor("F32", [2, 2], 0, 16), "b": tensor("U8", [3], 16, 19)}
    return safetensors_file(header, bytes(range(19)))


# --- GGUF


def gguf_string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def gguf_pair(key: bytes, kind: int, value: bytes) -> bytes:
    return gguf_string(key) + struct.pack("<I", kind) + value


def gguf_tensor(name: bytes, shape: list[int], kind: int, offset: int) -> bytes:
    return gguf_string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf_file(
    pairs: Iterable[bytes] = (), tensors: Iterable[bytes] = (), data: bytes = b"", *, version: int = 3
) -> bytes:
    pairs, tensors = list(pairs), list(tensors)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs) + b"".join(tensors)
    return head + b"\0" * (-len(head) % 32) + data


def small_gguf() -> bytes:
    pairs = [
        gguf_pair(b"general.architecture", 8, gguf_string(b"llama")),
        gguf_pair(b"general.name", 8, gguf_string(b"tiny")),
        gguf_pair(b"general.file_type", 4, struct.pack("<I", 7)),
        gguf_pair(b"tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + gguf_string(b"a") + gguf_string(b"b")),
        gguf_pair(b"x.numbers", 9, struct.pack("<IQ3i", 5, 3, 1, 2, 3)),
        gguf_pair(b"x.flag", 7, b"\1"),
    ]
    tensors = [gguf_tensor(b"a", [8, 2], 0, 0), gguf_tensor(b"b", [32, 1], 8, 64)]
    return gguf_file(pairs, tensors, bytes(64 + 64))


# --- ONNX (protobuf by hand)


def varint(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def onnx_external(location: str, name: str = "w") -> bytes:
    """A TensorProto whose bytes lie in another file."""
    pair = field(1, "location") + field(2, location)
    return field(8, name) + field(13, pair) + field(13, field(1, "offset") + field(2, "0")) + field(14, 1)


def onnx_tensor(raw: bytes = bytes(16)) -> bytes:
    return field(1, 4) + field(2, 1) + field(8, "w") + field(9, raw)


def onnx_graph(*tensors: bytes, nodes: Iterable[bytes] = ()) -> bytes:
    return (
        b"".join(field(1, node) for node in nodes)
        + field(2, "main")
        + b"".join(field(5, each) for each in tensors)
        + field(11, field(1, "input"))
        + field(12, field(1, "output"))
    )


def onnx_file(graph: bytes | None = None) -> bytes:
    graph = onnx_graph(onnx_tensor(), nodes=[field(1, "input") + field(4, "Relu")]) if graph is None else graph
    opset = field(1, "") + field(2, 18)
    return field(1, 8) + field(2, "pytorch") + field(3, "2.4") + field(7, graph) + field(8, opset)


# --- zip


def zip_file(members: Mapping[str, bytes], *, deflated: bool = False, comment: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, archive.compression)
        archive.comment = comment
    return out.getvalue()


def npy_file(descr: str = "'<f4'", shape: str = "(2, 2)", data: bytes = bytes(16), *, version: int = 1) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + data


def torch_zip(pickled: bytes) -> bytes:
    """The layout of torch.save, as Python's zipfile writes it."""
    return zip_file({"model/data.pkl": pickled, "model/data/0": bytes(64), "model/version": b"3\n"})
