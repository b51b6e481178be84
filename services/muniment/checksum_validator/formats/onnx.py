"""ONNX: one ModelProto, walked field by field; tensors' contents are passed over where they lie.

External data files are never opened. Their locations are facts, complete, so that the caller can require each of them
in the manifest; one that is not a plain relative path blocks the file (CVE-2022-25882, CVE-2024-27318).

Source: onnx/onnx.proto of https://github.com/onnx/onnx, IR version 14.
"""

from __future__ import annotations

import json
from typing import Final, Literal

from muniment.checksum_validator.formats import protobuf
from muniment.checksum_validator.formats.report import Report, clip
from muniment.checksum_validator.formats.source import Cursor, Source
from muniment.checksum_validator.formats.spec import FormatError, Json, Limits
from muniment.contracts.errors import Rejected
from muniment.contracts.file_path import file_path

MAX_BYTES: Final = 2 * 1024 * 1024 * 1024 - 1
"""No protobuf library reads a larger message."""
_LOCATIONS_BYTES: Final = 8 * 1024
_SHOWN: Final = 16

_Message = Literal[
    "model", "graph", "node", "attribute", "tensor", "sparse", "training", "function", "opset", "value", "pair"
]
_CHILDREN: Final[dict[_Message, dict[int, _Message]]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {13: "pair"},
    "opset": {},
    "value": {},
    "pair": {},
}
_IR_VERSION: Final = 1
_IR_VERSION_MAX: Final = 1_000
"""Far above the newest, 14: what stands there in raw weights is mostly larger."""
_GRAPH: Final = 7
_FUNCTIONS: Final = 25
_GRAPH_FIELDS: Final = frozenset({1, 2, 5, 10, 11, 12, 13, 14, 15, 16})
_MODEL_WIRES: Final = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_EXTERNAL: Final = 1
_DATA_LOCATION: Final = 14


def recognise(source: Source) -> bool:
    """Whether the whole file is a sequence of ModelProto's fields with a graph or functions among them."""
    if source.head[:1] not in b"\x08\x12\x1a\x22\x28\x32\x3a\x42\x72" or source.size < 4:
        return False
    cursor = Cursor(source, 0, source.size)
    numbers = set()
    graph = 0, 0
    try:
        for _ in range(10_000):
            if not cursor.remaining:
                break
            number, wire, value = protobuf.field(cursor, source.size)
            if _MODEL_WIRES.get(number) != wire or (number == _IR_VERSION and value > _IR_VERSION_MAX):
                return False
            if number == _GRAPH:
                graph = cursor.position, value
            numbers.add(number)
            if wire != protobuf.VARINT:
                cursor.skip(value)
    except FormatError:
        # A cut-off model is still meant as one if it got as far as its graph. Raw weights begin so now and then (one
        # file in 100,000), so the graph must be one as well.
        return _IR_VERSION in numbers and _GRAPH in numbers and _is_graph(source, *graph)
    return _IR_VERSION in numbers and bool(numbers & {_GRAPH, _FUNCTIONS})


def _is_graph(source: Source, start: int, length: int) -> bool:
    """Whether what should be a graph holds a graph's fields, to its end or to the file's."""
    end = start + length
    cursor = Cursor(source, start, min(end, source.size))
    if not cursor.remaining:
        return False
    try:
        for _ in range(100):
            if not cursor.remaining:
                break
            number, wire, value = protobuf.field(cursor, end)
            if wire != protobuf.BYTES or number not in _GRAPH_FIELDS:
                return False
            cursor.skip(value)
    except FormatError:
        return end > source.size
    return True


def read(source: Source, limits: Limits, report: Report) -> None:
    """Walk the whole model and report facts. Raises `FormatError`."""
    if source.size > MAX_BYTES:
        raise FormatError(
            "onnx_too_large",
            "no protobuf library reads a message of 2 GiB or more",
            expected=f"<= {MAX_BYTES} B",
            actual=f"{source.size} B",
            hint="save the tensors as external data",
        )
    walk = _Walk(Cursor(source, 0, source.size), limits)
    try:
        walk.run()
    finally:
        report.facts |= walk.facts()
    for location in sorted(walk.outside):
        report.block(
            "external_data_outside",
            "the model reads a file outside its own folder",
            expected="a relative path without '..'",
            actual=location,
        )
    if foreign := sorted(domain for domain in walk.opsets if domain not in _KNOWN_DOMAINS):
        report.add("info", "onnx_custom_operators", f"operators from {', '.join(foreign[:8])} are needed to run it")


_KNOWN_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training"})


class _Frame:
    """A message that is being walked."""

    __slots__ = ("end", "external", "kind", "located", "number", "texts")

    def __init__(self, kind: _Message, number: int, end: int) -> None:
        self.kind = kind
        self.number = number
        self.end = end
        self.external = False
        self.located = False
        self.texts: dict[int, str | int] = {}


class _Walk:
    """Goes through the messages with a stack of its own, so that nesting costs no recursion."""

    def __init__(self, cursor: Cursor, limits: Limits) -> None:
        self._cursor = cursor
        self._limits = limits
        self._model = _Frame("model", 0, cursor.end)
        self._stack = [self._model]
        self._external: dict[str, None] = {}
        self._external_cost = 0
        self._counts = {"node": 0, "tensor": 0, "function": 0}
        self._values: dict[int, list[Json]] = {11: [], 12: []}
        self.opsets: dict[str, int] = {}
        self.outside: set[str] = set()

    def facts(self) -> dict[str, Json]:
        """What was seen so far."""
        texts = self._model.texts
        return {
            "ir_version": texts.get(1),
            "producer": clip(f"{texts.get(2, '')} {texts.get(3, '')}".strip()),
            "model_version": texts.get(5),
            "opsets": {clip(domain) or "ai.onnx": version for domain, version in list(self.opsets.items())[:_SHOWN]},
            "inputs": self._values[11],
            "outputs": self._values[12],
            "nodes": self._counts["node"],
            "tensors": self._counts["tensor"],
            "functions": self._counts["function"],
            "external_data": list(self._external),
        }

    def run(self) -> None:
        """Walk to the end of the file. Raises `FormatError`."""
        cursor, stack = self._cursor, self._stack
        fields = self._limits.onnx_fields
        graphs = 0
        while stack:
            frame = stack[-1]
            if cursor.position >= frame.end:
                self._leave(stack.pop())
                continue
            fields -= 1
            if fields < 0:
                raise FormatError("onnx_too_many_fields", "the model is too large", expected=self._limits.onnx_fields)
            number, wire, value = protobuf.field(cursor, frame.end)
            child = _CHILDREN[frame.kind].get(number)
            if wire == protobuf.VARINT:
                self._number(frame, number, value)
            elif child is None or wire != protobuf.BYTES:
                self._content(frame, number, wire, value)
            else:
                graphs += frame is self._model and number == 7
                self._enter(child, number, cursor.position + value)
        if graphs != 1 and not self._counts["function"]:
            raise FormatError("onnx_graphs", "a model has one graph", expected=1, actual=graphs)

    def _enter(self, kind: _Message, number: int, end: int) -> None:
        if len(self._stack) >= self._limits.onnx_nesting:
            raise FormatError("onnx_nesting", "messages are nested too deeply", expected=self._limits.onnx_nesting)
        if kind in self._counts:
            self._counts[kind] += 1
        self._stack.append(_Frame(kind, number, end))

    def _number(self, frame: _Frame, number: int, value: int) -> None:
        if frame.kind == "tensor" and number == _DATA_LOCATION:
            frame.external = value == _EXTERNAL
        elif frame.kind in {"model", "opset"}:
            frame.texts[number] = value

    def _content(self, frame: _Frame, number: int, wire: int, length: int) -> None:
        """Keep the few short texts that facts are made of; pass over everything else."""
        wanted = (
            (frame.kind == "pair" and number in {1, 2})
            or (frame.kind == "model" and number in {2, 3})
            or (frame.kind in {"opset", "value"} and number == 1)
        )
        if not wanted or wire != protobuf.BYTES:
            self._cursor.skip(length)
            return
        if length > 4096:
            raise FormatError("onnx_text", "a name is too long", expected="<= 4096 B", actual=f"{length} B")
        try:
            frame.texts[number] = self._cursor.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError("onnx_text", "a name is not UTF-8", actual=f"byte {self._cursor.position}") from error

    def _leave(self, frame: _Frame) -> None:
        texts = frame.texts
        if frame.kind == "pair" and texts.get(1) == "location":
            self._stack[-1].located = True
            self._locate(str(texts.get(2, "")))
        elif frame.kind == "tensor" and frame.external and not frame.located:
            raise FormatError("onnx_external_data", "a tensor lies in an external file that is not named")
        elif frame.kind == "opset" and len(self.opsets) < 1_000:
            self.opsets[str(texts.get(1, ""))] = int(texts.get(2, 0))
        elif frame.kind == "value" and len(self._stack) == 2 and len(self._values[frame.number]) < _SHOWN:
            self._values[frame.number].append(clip(str(texts.get(1, ""))))

    def _locate(self, location: str) -> None:
        try:
            path = file_path(location.removeprefix("./"))
            if ":" in path.partition("/")[0]:
                raise FormatError("external_data_outside", "a drive or a scheme", actual=path)
        except Rejected:
            if len(self.outside) < 8:
                self.outside.add(location)
            return
        if path not in self._external:
            self._external[path] = None
            self._external_cost += len(json.dumps(path)) + 2
            if self._external_cost > _LOCATIONS_BYTES:
                raise FormatError(
                    "onnx_external_data",
                    "the model names too many external files",
                    expected=f"<= {_LOCATIONS_BYTES} B of names",
                    hint="save all external data in one file",
                )
