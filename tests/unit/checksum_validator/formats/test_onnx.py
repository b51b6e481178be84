"""ONNX: facts of a valid model, external data, and messages that lie."""

from __future__ import annotations

import pytest

from muniment.checksum_validator.formats import Limits, inspect
from muniment.checksum_validator.formats.onnx import MAX_BYTES

from .builders import blocked, codes, field, look, onnx_external, onnx_file, onnx_graph, varint


def test_facts() -> None:
    seen = look(onnx_file(), "model.onnx", "onnx")
    assert seen.format == "onnx"
    assert seen.findings == ()
    assert seen.executable is False
    assert seen.facts == {
        "ir_version": 8,
        "producer": "pytorch 2.4",
        "model_version": None,
        "opsets": {"ai.onnx": 18},
        "inputs": ["input"],
        "outputs": ["output"],
        "nodes": 1,
        "tensors": 1,
        "functions": 0,
        "external_data": [],
    }


class Mostly:
    """A model of any size without its bytes: one graph, with or without a tensor that is most of it; the rest zeros."""

    def __init__(self, body: int, *, tensor: bool) -> None:
        raw = field(8, "w") + varint(9 << 3 | 2) + varint(body) if tensor else b""
        graph = varint(5 << 3 | 2) + varint(len(raw) + body) + raw if tensor else b""
        self._start = field(1, 8) + varint(7 << 3 | 2) + varint(len(graph) + body) + graph
        self.size = len(self._start) + body
        self.bytes_read = 0

    def read(self, offset: int, length: int) -> bytes:
        self.bytes_read += length
        return self._start[offset : offset + length].ljust(min(length, self.size - offset), b"\0")


def test_tensor_contents_are_passed_over_unread() -> None:
    reader = Mostly(512 * 1024 * 1024, tensor=True)
    seen = inspect(reader, name="model.onnx", declared="onnx")
    assert seen.ok
    assert seen.facts["tensors"] == 1
    assert reader.bytes_read < 512 * 1024


@pytest.mark.parametrize("location", ["weights.bin", "./weights.bin", "data/part-1.bin"])
def test_external_data_within_the_folder_is_listed(location: str) -> None:
    seen = look(onnx_file(onnx_graph(onnx_external(location), onnx_external(location, "v"))))
    assert seen.ok
    assert seen.facts["external_data"] == [location.removeprefix("./")]


@pytest.mark.parametrize(
    "location",
    [
        "../weights.bin",
        "data/../../weights.bin",
        "/etc/passwd",
        "..\\weights.bin",
        "C:/weights.bin",
        "file:///etc/passwd",
        "a//b",
        "data/./b",
        "",
        "..",
        "a\x00b",
        "a\u202eb",
        "./../x",
        "a" * 600,
    ],
)
def test_external_data_elsewhere_blocks(location: str) -> None:
    seen = look(onnx_file(onnx_graph(onnx_external(location))))
    assert blocked(seen) == ["external_data_outside"]
    assert seen.facts["external_data"] == []


def _attribute(**kind: bytes) -> bytes:
    numbers = {"tensor": 5, "graph": 6, "tensors": 10, "graphs": 11, "sparse": 22}
    return b"".join(field(numbers[name], value) for name, value in kind.items())


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param(onnx_graph(nodes=[field(5, _attribute(tensor=onnx_external("../x")))]), id="constant"),
        pytest.param(onnx_graph(nodes=[field(5, _attribute(graph=onnx_graph(onnx_external("../x"))))]), id="subgraph"),
        pytest.param(onnx_graph(nodes=[field(5, _attribute(tensors=onnx_external("../x")))]), id="tensors"),
        pytest.param(
            onnx_graph(nodes=[field(5, _attribute(sparse=field(1, onnx_external("../x"))))]), id="sparse attribute"
        ),
        pytest.param(onnx_graph() + field(15, field(2, onnx_external("../x"))), id="sparse initializer"),
    ],
)
def test_external_data_is_found_wherever_a_tensor_may_be(graph: bytes) -> None:
    assert blocked(look(onnx_file(graph))) == ["external_data_outside"]


def test_external_data_is_found_in_functions_and_training() -> None:
    node = field(5, _attribute(tensor=onnx_external("../x")))
    assert blocked(look(onnx_file() + field(25, field(7, node)))) == ["external_data_outside"]
    assert blocked(look(onnx_file() + field(20, field(2, onnx_graph(onnx_external("../x")))))) == [
        "external_data_outside"
    ]


def test_external_without_a_name_and_with_too_many() -> None:
    assert blocked(look(onnx_file(onnx_graph(field(14, 1))))) == ["onnx_external_data"]
    many = [onnx_external(f"weights/{'x' * 200}/{i}.bin") for i in range(100)]
    assert blocked(look(onnx_file(onnx_graph(*many)))) == ["onnx_external_data"]


def test_nesting_and_fields_are_bounded() -> None:
    graph = onnx_graph()
    for _ in range(60):
        graph = onnx_graph(nodes=[field(5, field(6, graph))])
    assert blocked(look(onnx_file(graph))) == ["onnx_nesting"]
    assert blocked(look(onnx_file(onnx_graph(nodes=[field(4, "Relu")] * 50)), limits=Limits(onnx_fields=50))) == [
        "onnx_too_many_fields"
    ]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(onnx_file()[:-1], "truncated", id="cut off"),
        pytest.param(onnx_file(field(5, b"")[:-1] + varint(1 << 40)), "truncated", id="length beyond the graph"),
        pytest.param(onnx_file(field(5, b"\x42\x05abc")), "truncated", id="name beyond its tensor"),
        pytest.param(onnx_file(b"\x12\x07" + b"main"), "truncated", id="name beyond its graph"),
        pytest.param(onnx_file(b"\x2b"), "protobuf_wire_type", id="group"),
        pytest.param(onnx_file(b"\x2f"), "protobuf_wire_type", id="type 7"),
        pytest.param(onnx_file(b"\x28" + b"\xff" * 10 + b"\1"), "protobuf_varint", id="varint of 77 bits"),
        pytest.param(onnx_file(b"\0\0"), "protobuf_field", id="field 0"),
        pytest.param(onnx_file(onnx_graph(field(13, field(1, "x" * 5000)))), "onnx_text", id="long key"),
        pytest.param(onnx_file(onnx_graph(field(13, field(2, b"\xff")))), "onnx_text", id="not UTF-8"),
        pytest.param(onnx_file() + field(7, onnx_graph()), "onnx_graphs", id="two graphs"),
    ],
)
def test_messages_that_lie(data: bytes, code: str) -> None:
    seen = look(data, declared="onnx")
    assert seen.format == "onnx"
    assert blocked(seen) == [code]


def test_two_gibibytes_are_too_many() -> None:
    seen = inspect(Mostly(MAX_BYTES, tensor=False), name="model.onnx", declared="onnx")
    assert blocked(seen) == ["onnx_too_large"]


def test_operators_of_others_are_told() -> None:
    seen = look(onnx_file() + field(8, field(1, "com.example") + field(2, 1)))
    assert seen.ok
    assert codes(seen, "info") == ["onnx_custom_operators"]


def test_text_and_numbers_are_no_model() -> None:
    for data in (b"\x08\x08", field(1, 8) + field(2, "pytorch"), field(1, 8) + field(3, 5), b"\x08" * 100):
        assert look(data).format == "unknown"


def test_raw_weights_that_begin_like_a_model_are_none() -> None:
    head = bytes.fromhex("08b0063a4481ba51c7572ec36293cda8f37122ffd082bac945da93202cfad9b51a06d97dd26feca5")
    for version in (b"\x08\x52", b"\x08\xb0\x06"):
        assert look(version + head[3:] + bytes(range(256)) * 16).format == "unknown"
