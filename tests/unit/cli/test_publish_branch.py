"""`muniment publish --branch`: a mistyped name makes a branch as well, so it is told before anything is uploaded."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from muniment.testing.fake_registry import FakeRegistry

from .conftest import Run


@pytest.fixture
def publish(run: Run, registry: FakeRegistry, folder: Path) -> tuple[object, ...]:
    """The first words of the command, against a model that has the branches main and exp/dropout."""

    def answer(request: httpx2.Request) -> httpx2.Response | None:
        path = request.url.path.partition("/models/digits/branches")
        if not path[1]:
            return None
        if path[2] == "":
            items = [{"name": name, "head_number": 1} for name in ("exp/dropout", "main")]
            return httpx2.Response(200, json={"items": items, "next_page_token": None})
        if path[2] in {"/exp/dropout", "/main"}:
            return httpx2.Response(200, json={"name": path[2][1:]})
        return httpx2.Response(404, json={"code": "branch_not_found", "title": "branch_not_found", "status": 404})

    registry.intercept = answer
    return ("publish", folder, "--model", "digits", "--wait")


def test_a_new_branch_is_told_with_the_one_that_may_be_meant(run: Run, publish: tuple[object, ...]) -> None:
    done = run(*publish, "--branch", "exp/dropuot")
    assert done.code == 0
    first = done.err.splitlines()[0]
    assert first == "digits has no branch 'exp/dropuot' yet: a new version makes it; did you mean exp/dropout?"
    assert "digits has no branch 'exp/wide' yet: a new version makes it\n" in run(*publish, "--branch", "exp/wide").err


@pytest.mark.parametrize("branch", ["exp/dropout", "main"])
def test_of_a_branch_that_is_there_nothing_is_said(run: Run, publish: tuple[object, ...], branch: str) -> None:
    assert "has no branch" not in run(*publish, "--branch", branch).err
    assert run(*publish, "--branch", branch, "--existing-branch").code == 0


def test_a_script_can_have_it_refused(run: Run, registry: FakeRegistry, publish: tuple[object, ...]) -> None:
    done = run(*publish, "--branch", "exp/dropuot", "--existing-branch", "--json")
    assert (done.code, done.error["error"]["code"]) == (4, "branch_not_found")
    assert done.error["error"]["hint"] == "did you mean exp/dropout?"
    assert done.error["error"]["expected"] == "one of exp/dropout, main"
    assert registry.versions == [], "nothing was published"
