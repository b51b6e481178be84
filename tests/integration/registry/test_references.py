"""What references name, now and then."""

from __future__ import annotations

import pytest

from .conftest import Registry


async def test_a_version_is_named_by_branch_number_and_digest(registry: Registry) -> None:
    first = await registry.commit(accuracy=0.9)
    second = await registry.commit(branch="exp/a", accuracy=0.91)
    for ref, wanted in (
        ("digits@main", first),
        ("digits@exp/a", second),
        ("DIGITS/2", second),
        (f"digits@{first['id'][:20]}", first),
    ):
        assert (await registry.get("/resolve", ref=ref))["id"] == wanted["id"], ref


@pytest.mark.parametrize(
    ("ref", "code"),
    [
        ("nothing", "model_not_found"),
        ("digits", "reference_not_found"),
        ("digits@exp/none", "reference_not_found"),
        ("digits@1.0.0", "reference_not_found"),
        ("digits/3", "version_not_found"),
        ("digits@sha256:00000000", "reference_not_found"),
        ("digits/0", "reference_invalid"),
    ],
)
async def test_what_names_nothing_is_told_what_there_is(registry: Registry, ref: str, code: str) -> None:
    await registry.commit()
    await registry.refused("GET", "/resolve", code, params={"ref": ref})
