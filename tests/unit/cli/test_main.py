"""Finding commands, exit codes, and what goes to which stream."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from muniment.cli import failures, main
from muniment.cli.commands import server
from muniment.contracts import errors
from muniment.sdk import PublicationRejected
from muniment.testing.fake_registry import FakeRegistry
from tests.unit.cli.conftest import Run

HEAVY = {"httpx2", "pydantic", "sqlite3", "asyncio", "cryptography", "shutil", "difflib", "importlib.metadata"}
"""What would take longer to import than the command has to do with it."""
KINDS: list[tuple[errors.MunimentError, int]] = [
    (errors.MunimentError("c", "m"), 1),
    (failures.Usage("m"), 2),
    (errors.Misconfigured("c", "m"), 2),
    (PublicationRejected("p", {"code": "digest_mismatch"}), 3),
    (errors.Rejected("c", "m"), 3),
    (errors.TooLarge("c", "m"), 3),
    (errors.NotFound("c", "m"), 4),
    (errors.Unauthenticated("c", "m"), 5),
    (errors.Forbidden("c", "m"), 5),
    (errors.Conflict("c", "m"), 6),
    (errors.PreconditionFailed("c", "m"), 6),
    (errors.Transient("c", "m"), 7),
]


@pytest.mark.parametrize(("error", "code"), KINDS, ids=lambda value: type(value).__name__)
def test_each_kind_of_error_has_its_exit_code(error: errors.MunimentError, code: int) -> None:
    assert failures.exit_code(error) == code


def test_the_help_names_every_command_and_every_exit_code(run: Run) -> None:
    done = run("--help")
    assert done.code == 0
    assert run().out == run("help").out == run("-h").out == done.out
    for name in main.COMMANDS:
        assert f"\n  {name} " in done.out
    for code, meaning in failures.MEANINGS.items():
        assert f"{code:>5}  {meaning}" in done.out
    assert all(len(line) <= 120 for line in done.out.splitlines())


@pytest.mark.parametrize("name", list(main.COMMANDS))
def test_every_command_has_a_help_with_an_example(run: Run, name: str) -> None:
    done = run(name, "--help")
    assert done.code == 0
    assert "Usage: muniment" in done.out
    assert f"Example: muniment {name}" in " ".join(done.out.split())


def test_an_unknown_command_suggests_one(run: Run) -> None:
    done = run("publsh")
    assert (done.code, done.out) == (2, "")
    assert "did you mean `muniment publish`?" in done.err
    assert run("xyzzy").code == 2


@pytest.mark.parametrize(
    "tokens",
    [
        ("publish",),
        ("publish", "out"),
        ("publish", "--model", "digits"),
        ("publish", "out", "--model", "digits", "--nonsense"),
        ("publish", "out", "--model", "digits", "--commit", "later"),
        ("publish", "out", "--model", "digits", "--metric", "loss=low"),
        ("models", "list"),
        ("audit", "show", "seven"),
        ("run", "ingest", "--http", "nowhere"),
        ("verify",),
        ("token", "create", "ci"),
        ("token", "key", "create", "trainer"),
    ],
)
def test_wrong_usage_is_two_and_goes_to_stderr(run: Run, registry: FakeRegistry, tokens: tuple[str, ...]) -> None:
    done = run(*tokens)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert "code:     usage" in done.err
    assert registry.requests == []


def test_errors_say_what_expected_actual_and_what_to_do(run: Run, registry: FakeRegistry) -> None:
    refusal = errors.NotFound("no_such", "there is no such model", expected="a model", actual="digits", hint="look")
    registry.intercept = lambda _: _raise(refusal)
    done = run("models", "show", "digits")
    assert (done.code, done.out) == (4, "")
    assert done.err.splitlines() == [
        "error: there is no such model",
        "  expected: a model",
        "  actual:   digits",
        "  to do:    look",
        "  note:     request r-1",
        "  code:     no_such",
    ]
    done = run("models", "show", "digits", "--json")
    assert (done.code, done.out) == (4, "")
    assert done.error == {
        "error": {
            "code": "no_such",
            "message": "there is no such model",
            "expected": "a model",
            "actual": "digits",
            "hint": "look",
        },
        "exit": 4,
    }


def test_nobody_there_is_seven(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniment.sdk.transfer.pool._PAUSES", (0.0,))
    done = run("models", "ls", "--server", "http://127.0.0.1:9", "--json")
    assert done.code == 7
    assert done.error["error"]["code"] == "server_unreachable"


def test_no_server_known_is_two(run: Run) -> None:
    done = run("models", "ls")
    assert done.code == 2
    assert "muniment up" in done.err


def test_a_defect_is_one_and_says_so(run: Run, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: Any) -> None:
        raise LookupError("oops")

    monkeypatch.setattr("muniment.sdk.client.Client.model", defect)
    done = run("models", "show", "digits")
    assert done.code == 1
    assert "LookupError: oops" in done.err
    assert "MUNIMENT_DEBUG" in done.err
    monkeypatch.setenv("MUNIMENT_DEBUG", "1")
    with pytest.raises(LookupError):
        run("models", "show", "digits")


def test_an_interrupt_is_130(run: Run, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("muniment.sdk.client.Client.model", interrupt)
    assert run("models", "show", "digits").code == 130


def test_a_closed_pipe_ends_quietly(registry: FakeRegistry) -> None:
    registry.lists["models"] = [{"name": f"m{number}"} for number in range(20_000)]
    line = f"{sys.executable} -m muniment.cli.main models ls --json --limit 0 | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.splitlines() == ['{"name":"m0"}', "141"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("tokens", "name", "expected"),
    [
        (["up"], "up", {"data_dir": None, "http": None, "json": False}),
        (
            ["up", "--data-dir", "d", "--http", "127.0.0.1:0", "--json"],
            "up",
            {"data_dir": Path("d"), "http": ("127.0.0.1", 0), "json": True},
        ),
        (["demo"], "demo", {"data_dir": None, "json": False}),
        (
            ["run", "ingest", "registry", "--http", ":9000"],
            "run",
            {"services": ["ingest", "registry"], "http": ("127.0.0.1", 9000), "json": False},
        ),
        (["doctor", "--json"], "doctor", {"json": True}),
        (["migrate"], "migrate", {"json": False}),
        (["topics"], "topics", {"json": False}),
    ],
)
def test_server_commands_are_handed_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, tokens: list[str], name: str, expected: dict[str, Any]
) -> None:
    called: list[dict[str, Any]] = []

    class Commands:
        def __getattr__(self, asked: str) -> Any:
            assert asked == name

            def note(services: list[str] | None = None, **options: Any) -> int:
                called.append(options if services is None else {"services": services, **options})
                return 3

            return note

    monkeypatch.setattr(server, "server_commands", Commands)
    assert run(*tokens).code == 3
    assert called == [expected]


def test_without_the_server_extra_the_answer_helps(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "muniment.server", None)
    monkeypatch.setitem(sys.modules, "muniment.server.commands", None)
    done = run("up")
    assert done.code == 2
    assert "pip install 'muniment[embedded]'" in done.err


@pytest.mark.parametrize(
    ("tokens", "absent"),
    [
        (["--help"], {*HEAVY, "argparse", "http.client", "muniment.sdk"}),
        (["version", "--json"], {*HEAVY, "http.client", "muniment.sdk"}),
        (["publish", "x", "--model", "m", "--wait"], {*HEAVY, "muniment.sdk.transfer.download"}),
        (
            ["versions", "ls", "m"],
            {*HEAVY, "hashlib", "muniment.sdk.transfer.upload", "muniment.sdk.transfer.download"},
        ),
        (["download", "m@main", "there"], {*HEAVY, "muniment.sdk.transfer.upload"}),
    ],
)
def test_commands_load_only_what_they_need(
    run: Run, tokens: list[str], absent: set[str], machine: Path, registry: FakeRegistry
) -> None:
    (machine / "x").write_text("x")
    assert run("publish", "x", "--model", "m", "--wait").code == 0
    script = f"import sys; from muniment.cli.main import main; code = main({tokens!r}); print(code, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    code, *loaded = done.stdout.splitlines()[-1].split()
    assert code == "0"
    assert "muniment.cli.main" in loaded
    assert not absent & set(loaded)


def _raise(error: errors.MunimentError) -> None:
    raise error
