"""Random verbs against the registry and against a few lines that state its rules: after each verb both agree."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from .conftest import Registry

_names = itertools.count(1)
BRANCHES = st.sampled_from(["main", "exp/a", "exp/b"])
POINTERS = st.sampled_from(["champion", "exp/b", "canary"])
NUMBERS = st.integers(1, 6)
VERBS = st.one_of(
    st.tuples(st.just("commit"), BRANCHES),
    st.tuples(st.just("commit"), BRANCHES),
    st.tuples(st.just("branch"), BRANCHES, NUMBERS),
    st.tuples(st.just("close"), BRANCHES, st.booleans()),
    st.tuples(st.just("protect"), BRANCHES, st.booleans()),
    st.tuples(st.just("point"), POINTERS, NUMBERS),
    st.tuples(st.just("unpoint"), POINTERS),
    st.tuples(st.just("promote"), NUMBERS),
    st.tuples(st.just("rollback"), NUMBERS),
    st.tuples(st.just("freeze"), st.booleans()),
)


@dataclass
class Rules:
    """What must be so. A version is its number; `ancestors` are those on its way back, itself included."""

    branches: dict[str, int] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    protected: set[str] = field(default_factory=set)
    pointers: dict[str, int] = field(default_factory=dict)
    ancestors: dict[int, set[int]] = field(default_factory=dict)
    frozen: bool = False

    @property
    def last(self) -> int:
        return len(self.ancestors)

    def add(self, branch: str, *more: int) -> int:
        number = self.last + 1
        before = [self.branches[branch]] if branch in self.branches else []
        self.ancestors[number] = {number}.union(*(self.ancestors[one] for one in [*before, *more]))
        self.branches[branch] = number
        return number

    def do(self, verb: str, *given: Any) -> bool:
        """Whether the verb is allowed; it is done then."""
        return bool(getattr(self, verb)(*given))

    def commit(self, branch: str) -> bool:
        allowed = branch not in self.closed | self.protected and branch not in self.pointers
        if allowed:
            self.add(branch)
        return allowed

    def branch(self, name: str, number: int) -> bool:
        allowed = number <= self.last and name not in self.branches and name not in self.pointers
        if allowed:
            self.branches[name] = number
        return allowed

    def close(self, name: str, closed: bool) -> bool:
        if name not in self.branches:
            return False
        if closed == (name in self.closed):
            return True
        if (closed and name == "main") or name in self.protected:
            return False
        self.closed ^= {name}
        return True

    def protect(self, name: str, protected: bool) -> bool:
        if name not in self.branches:
            return False
        if protected != (name in self.protected):
            self.protected ^= {name}
        return True

    def point(self, name: str, number: int) -> bool:
        allowed = number <= self.last and name not in self.branches
        if allowed:
            self.pointers[name] = number
        return allowed

    def unpoint(self, name: str) -> bool:
        return self.pointers.pop(name, None) is not None

    def promote(self, number: int) -> bool:
        if number > self.last:
            return False
        if self.pointers.get("baseline") == number:
            return True
        if self.frozen:
            return False
        head = self.branches.get("main")
        if head is None or head in self.ancestors[number]:
            self.branches["main"] = number
        elif number not in self.ancestors[head]:
            number = self.add("main", number)
        self.pointers["baseline"] = number
        return True

    def rollback(self, number: int) -> bool:
        allowed = number <= self.last and not self.frozen and self.pointers.get("baseline") != number
        if allowed:
            self.pointers["baseline"] = number
        return allowed

    def freeze(self, frozen: bool) -> bool:
        self.frozen = frozen
        return True


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # a story is told up to its step: making it shorter takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(verbs=st.lists(VERBS, min_size=30, max_size=60))
async def test_the_registry_keeps_to_its_rules(registry: Registry, verbs: list[tuple[Any, ...]]) -> None:
    model, rules = f"model-{next(_names)}", Rules()
    for branch in ("main", "exp/a"):
        await registry.commit(model, branch)
        rules.add(branch)
    for step, (verb, *given_) in enumerate(verbs):
        story = f"step {step} of {verbs}"
        assert await _done(registry, model, verb, *given_) == rules.do(verb, *given_), story
        for names in (rules.branches, rules.pointers):
            for name, number in names.items():
                found = await registry.get("/resolve", ref=f"{model}@{name}")
                assert found["number"] == number, f"{story}: {name} is {found['number']}, not {number}"
    shown = (await registry.get(f"/models/{model}/pointers"))["items"]
    assert {one["name"]: one["number"] for one in shown} == rules.pointers
    count = len((await registry.get(f"/models/{model}/versions", limit=1000))["items"])
    assert count == rules.last, "a version was lost, or made twice"
    for name, number in rules.branches.items():
        line = {one["number"] for one in (await registry.get(f"/models/{model}/log", ref=f"{model}@{name}"))["items"]}
        assert line <= rules.ancestors[number]


async def _done(registry: Registry, model: str, verb: str, *given: Any) -> bool:
    """Do it to the registry: whether it was allowed."""
    path = f"/models/{model}"
    match verb, given:
        case "commit", (branch,):
            before = await _count(registry, model)
            await registry.take(await registry.validated(model, branch, publication=_publication()))
            return await _count(registry, model) == before + 1
        case "branch", (name, number):
            return await _ok(registry, "POST", f"{path}/branches", {"name": name, "ref": f"{model}/{number}"})
        case "close", (name, closed):
            return await _ok(registry, "PATCH", f"{path}/branches/{name}", {"closed": closed})
        case "protect", (name, protected):
            return await _ok(registry, "PATCH", f"{path}/branches/{name}", {"protected": protected})
        case "point", (name, number):
            return await _ok(registry, "PUT", f"{path}/pointers/{name}", {"ref": f"{model}/{number}"})
        case "unpoint", (name,):
            return await _ok(registry, "DELETE", f"{path}/pointers/{name}", None)
        case "promote", (number,):
            return await _ok(registry, "POST", f"{path}/promote", {"ref": f"{model}/{number}", "reason": "x"})
        case "rollback", (number,):
            return await _ok(registry, "POST", f"{path}/rollback", {"to": f"{model}/{number}", "reason": "x"})
        case "freeze", (frozen,):
            return await _ok(registry, "POST", f"{path}/{'freeze' if frozen else 'unfreeze'}", {"reason": "x"})
    raise AssertionError(verb)


async def _ok(registry: Registry, method: str, path: str, body: Any) -> bool:
    answer = await registry.client.request(method, path, json=body, headers={"authorization": "Bearer root"})
    assert answer.status_code < 500, answer.text
    return answer.status_code < 400


async def _count(registry: Registry, model: str) -> int:
    return int((await registry.get(f"/models/{model}"))["versions"])


def _publication() -> str:

    return str(uuid.uuid4())
