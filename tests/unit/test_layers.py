"""The layers of the code, read from its imports: contracts < ports < adapters, runtime < services < server < cli."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = {"ingest", "checksum_validator", "registry", "audit", "notifier"}
LOWER = {"contracts", "ports", "adapters", "runtime"}
# What each package may import of ours, besides itself. A service: everything lower, and no other service.
ALLOWED = {
    "contracts": set(),
    "ports": {"contracts"},
    "adapters": {"contracts", "ports"},
    "runtime": {"contracts", "ports", "adapters"},
    "sdk": {"contracts"},
    "testing": LOWER,
    "verifier": set(),  # nothing of ours: it must not repeat a mistake of what it verifies
    "witness": {"verifier"},
    "server": LOWER | SERVICES | {"sdk", "verifier"},  # the demo is a user of the SDK
    "cli": {"contracts", "sdk", "server"},  # server late, inside the commands that start processes
    **dict.fromkeys(SERVICES, LOWER),
}
FASTSTREAM = {"services/muniment/server/stack.py", "shared/muniment/runtime/delivery/subscriber.py"}
# domain.py decides and does nothing: no I/O, no clock, no framework, nothing asynchronous.
IMPURE = {
    "asyncio",
    "asyncpg",
    "fastapi",
    "faststream",
    "aiokafka",
    "minio",
    "httpx2",
    "os",
    "socket",
    "subprocess",
    "time",
}


def modules() -> Iterator[tuple[str, Path]]:
    for source in ("services", "shared"):
        base = ROOT / source / "muniment"
        for file in sorted(base.rglob("*.py")):
            yield file.relative_to(base).parts[0], file


@functools.cache
def imports(file: Path) -> list[tuple[str, int]]:
    return list(_imports(file))


def _imports(file: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module, node.lineno
            if node.module == "muniment":
                for alias in node.names:
                    yield f"muniment.{alias.name}", node.lineno


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for owner, file in modules()
        if owner == package
        for name, line in imports(file)
        if name.startswith("muniment.") and name.split(".")[1] not in ALLOWED[package] | {package}
    ]
    assert wrong == []


def test_every_package_has_a_layer() -> None:
    assert {owner for owner, _ in modules()} <= set(ALLOWED)


def test_only_the_subscriber_and_the_composition_root_know_faststream() -> None:
    found = {
        str(file.relative_to(ROOT))
        for _, file in modules()
        for name, _ in imports(file)
        if name.split(".")[0] == "faststream"
    }
    assert found == FASTSTREAM


def test_the_verifier_needs_the_standard_library_and_cryptography_alone() -> None:
    allowed = {*sys.stdlib_module_names, "cryptography", "muniment"}
    found = {
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for owner, file in modules()
        if owner in {"verifier", "witness"}
        for name, line in imports(file)
        if name.split(".")[0] not in allowed
    }
    assert found == set()


def test_domains_are_pure() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for _, file in modules()
        if file.name == "domain.py"
        for name, line in imports(file)
        if name.split(".")[0] in IMPURE
    ]
    assert wrong == []


def test_nothing_lies_directly_under_the_namespace() -> None:
    for source in ("services", "shared"):
        assert list((ROOT / source / "muniment").glob("*.py")) == []


def test_there_is_no_drawer_for_everything() -> None:
    assert [file for _, file in modules() if file.stem in {"utils", "util", "helpers", "common", "misc"}] == []
