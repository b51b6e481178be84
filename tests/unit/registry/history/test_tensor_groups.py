"""Which part of a network a tensor is of, and which parts changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.registry.history.tensor_groups import LEVELS, MAX_GROUPS, differing, finest, group_of, grouped


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("encoder.layer.3.attention.weight", ["encoder.layer.3", "encoder.layer", "encoder"]),
        ("transformer/h/11/mlp/kernel", ["transformer/h/11", "transformer/h", "transformer"]),
        ("features.0.1.conv2.weight", ["features.0", "features", "features"]),
        ("head.weight", ["head", "head", "head"]),
        ("embeddings.word.weight", ["embeddings.word", "embeddings.word", "embeddings"]),
        ("conv1.weight", ["conv1", "conv1", "conv1"]),
        ("bias", ["bias", "bias", "bias"]),
        ("0.weight", ["0", "0", "0"]),
        ("a.safetensors:layer.1.w", ["a.safetensors:layer.1", "a.safetensors:layer", "a.safetensors:layer"]),
    ],
)
def test_the_group_of_a_name(name: str, groups: list[str]) -> None:
    assert [group_of(name, level) for level in LEVELS] == groups


@given(st.dictionaries(st.text("ab.1/:", min_size=1, max_size=8), st.sampled_from("xy"), max_size=8), st.data())
def test_a_group_differs_where_one_of_its_tensors_does_and_nowhere_else(
    tensors: dict[str, str], data: st.DataObject
) -> None:
    after = {name: data.draw(st.sampled_from("xy")) for name in tensors}
    for level in LEVELS:
        changed = {group_of(name, level) for name in tensors if tensors[name] != after[name]}
        assert set(differing(grouped(tensors, level), grouped(after, level))) == changed


def test_many_changed_layers_are_told_as_one_part_and_a_few_as_layers() -> None:
    before = {f"encoder.layer.{n}.{name}": "x" for n in range(MAX_GROUPS + 1) for name in ("w", "b")}
    one = {**before, "encoder.layer.10.w": "y", "encoder.layer.2.b": "y"}
    level, *sides = finest(before, one)
    assert (level, differing(*sides)) == ("layer", ["encoder.layer.2", "encoder.layer.10"])
    level, *sides = finest(before, dict.fromkeys(before, "y"))
    assert (level, differing(*sides)) == ("part", ["encoder.layer"])
    level, *sides = finest({}, {"head.w": "x"})
    assert (level, differing(*sides)) == ("layer", ["head"])
