"""What references name, now and then."""

from __future__ import annotations

import pytest

from muniment.contracts.model import rfc3339
from muniment.ports.clock import SystemClock

from .conftest import Registry


def _now() -> str:
    return rfc3339(SystemClock().now())


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


@pytest.mark.parametrize("at", ["5", "yesterday", "20260102T030405Z", "2026-W01-1", "", "2026-13-01T00:00:00Z"])
async def test_a_moment_that_is_none_is_refused(registry: Registry, at: str) -> None:
    await registry.commit()
    await registry.refused("GET", "/resolve", "time_invalid", params={"ref": "digits", "at": at})


async def test_a_moment_without_an_offset_is_refused(registry: Registry) -> None:
    at = "2026-01-02T03:04:05"
    await registry.refused("GET", "/resolve", "time_without_zone", params={"ref": "digits", "at": at})


async def test_what_named_nothing_then_is_told_what_there_was(registry: Registry) -> None:
    await registry.commit()
    then = (await registry.get("/resolve", ref="digits/1"))["committed_at"]
    await registry.call("PUT", "/models/digits/pointers/champion", json={"ref": "digits/1"})
    now = await registry.refused("GET", "/resolve", "reference_not_found", params={"ref": "digits@none"})
    assert "champion, main" in now["expected"]
    early = {"ref": "digits@none", "at": then}
    before = await registry.refused("GET", "/resolve", "reference_not_found", params=early)
    assert "main" in before["expected"]
    assert "champion" not in before["expected"]


async def test_a_version_is_told_with_the_texts_and_the_stability_of_the_moment(registry: Registry) -> None:
    await registry.commit()
    await registry.commit(branch="exp/a")
    await registry.post("/models/digits/describe", ref="digits/1", description="raw", tags={"team": "a"})
    moments = [_now()]
    await registry.post("/models/digits/describe", ref="digits/1", description="checked", tags={"seen": "yes"})
    moments.append(_now())
    await registry.post("/models/digits/promote", as_="pam", ref="digits/1", reason="best")
    moments.append(_now())
    await registry.post("/models/digits/describe", ref="digits/1", description=None, tags={"team": None})
    moments.append(_now())
    await registry.post("/models/digits/releases", as_="pam", version="1.0.0-rc.1", ref="digits/2")
    moments.append(_now())
    await registry.post("/models/digits/releases", as_="pam", version="1.0.0", ref="digits/2")
    moments.append(_now())
    old, both = {"team": "a"}, {"team": "a", "seen": "yes"}
    first = [
        ("raw", old, "candidate"),
        ("checked", both, "candidate"),
        ("checked", both, "stable"),
        *[(None, {"seen": "yes"}, "stable")] * 3,
    ]
    second = ["experimental"] * 5 + ["stable"]
    for number, at in enumerate(moments):
        one = await registry.get("/resolve", ref="digits/1", at=at)
        listed = (await registry.get("/models/digits/versions", at=at))["items"]
        logged = (await registry.get("/models/digits/log", ref="digits@main", at=at))["items"]
        for told in (one, listed[1], logged[-1]):
            assert (told["description"], told["tags"], told["stability"]) == first[number], number
        assert listed[0]["stability"] == second[number]
