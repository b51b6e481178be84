"""`muniment bisect`: by stored metrics in one call, or `start`, then `run`, `good`, `bad`, `skip`, `reset`."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from muniment.cli import bisect_state
from muniment.cli.arguments import Command, Option
from muniment.cli.bisect_state import FILE, FOLDER, State, Verdict
from muniment.cli.failures import Usage
from muniment.cli.progress import ProgressLine
from muniment.cli.session import DEFAULTS, Common
from muniment.cli.text import printable, short
from muniment.contracts.errors import Conflict, MunimentError
from muniment.contracts.reference import parse_reference

if TYPE_CHECKING:
    from muniment.sdk.client import Client


_STDERR: Final = 2
_SKIP: Final = 125
_CANNOT_RUN: Final = 126
_SHELL: Final = {126: ": a shell could not run a program", 127: ": a shell did not find a program"}


class _Bisect(Command):
    """With a word first it is one of its commands, with options alone the automatic bisect."""

    def __call__(self, tokens: Any) -> int:
        if tokens and tokens[0] in self.parts:
            return self.parts[tokens[0]](tokens[1:])
        return super().__call__(tokens)


app = _Bisect(
    "muniment bisect",
    "Since when it is bad, and what changed there. With --metric stored metrics decide in one call; with the words "
    "start, run, good, bad, skip and reset a command or a person decides on each version, downloaded and checked.",
    example="muniment bisect --good digits/1 --bad digits@main --metric accuracy --drop 0.02",
)


@app.default
def automatic(
    *,
    good: Annotated[str, Option("A version that is good.")],
    bad: Annotated[str, Option("A version that is bad and comes from it.")],
    metric: Annotated[str, Option("The metric that decides.")],
    drop: Annotated[float | None, Option("Bad is more than this below the good one.")] = None,
    rise: Annotated[float | None, Option("Bad is more than this above the good one.")] = None,
    below: Annotated[float | None, Option("Bad is below this.")] = None,
    above: Annotated[float | None, Option("Bad is above this.")] = None,
    slice: str | None = None,  # noqa: A002  # reason: the option's name
    dataset: str | None = None,
    common: Common = DEFAULTS,
) -> None:
    """Find the first version that is bad by stored metrics, and why."""
    given = {"drop": drop, "rise": rise, "below": below, "above": above, "slice": slice, "dataset": dataset}
    rule: Any = {name: value for name, value in given.items() if value is not None}
    with common.client() as client:
        found = client.bisect(good, bad, metric=metric, **rule)
    _show_end(common, found["model"], found)


@app.command("start")
def start(
    *,
    good: Annotated[tuple[str, ...], Option("A version that is good; may be repeated.")] = (),
    bad: Annotated[str, Option("A version that is bad.")],
    metric: Annotated[str | None, Option("The metric that is shown in the why.")] = None,
    common: Common = DEFAULTS,
) -> None:
    """Begin in this folder: `muniment bisect start --good digits/1 --bad digits@main`."""
    if not good:
        raise Usage("a bisect needs a good version", expected="--good REF")
    if (Path.cwd() / FILE).exists():
        raise Usage("a bisect was started in this folder", hint="muniment bisect reset")
    with common.client() as client:
        model = parse_reference(bad).model
        fixed = tuple(client.version(ref).ref for ref in good)
        state = State(model, fixed, client.version(bad).ref, metric=metric)
        _tell_step(common, _go_on(common, client, state))


@app.command("good")
def good_(*, common: Common = DEFAULTS) -> None:
    """The version that was downloaded last is good."""
    _judge(common, "good")


@app.command("bad")
def bad_(*, common: Common = DEFAULTS) -> None:
    """The version that was downloaded last is bad."""
    _judge(common, "bad")


@app.command("skip")
def skip(*, common: Common = DEFAULTS) -> None:
    """The version that was downloaded last cannot be tested."""
    _judge(common, "skip")


@app.command("reset")
def reset(*, common: Common = DEFAULTS) -> None:
    """Forget this folder's bisect and delete what it has downloaded."""
    (Path.cwd() / FILE).unlink(missing_ok=True)
    shutil.rmtree(Path.cwd() / FOLDER, ignore_errors=True)
    common.line({"reset": True}, name="reset", text="reset")


@app.command("run")
def run(*command: str, common: Common = DEFAULTS) -> None:
    """Let a command decide, after `--`: 0 is good, 125 skips, 1 to 124 is bad, more (or a signal) ends.

    126 and 127 are what a shell answers where it cannot run or find a program. The command is told
    MUNIMENT_BISECT_REF and MUNIMENT_BISECT_DIR. When it is killed, the same command goes on.
    """
    if not command:
        raise Usage("bisect run needs a command", expected="muniment bisect run -- python check.py")
    state = bisect_state.load(Path.cwd())
    with common.client() as client:
        while True:
            state = _go_on(common, client, state)
            if state.next is None:
                return
            verdict = _outcome(command, state.next)
            common.say(f"{state.next} {verdict}")
            state = state.judged(verdict)
            bisect_state.save(state, Path.cwd())


def _outcome(command: tuple[str, ...], ref: str) -> Verdict:
    told = {"MUNIMENT_BISECT_REF": ref, "MUNIMENT_BISECT_DIR": str(_folder(ref))}
    try:
        # What it prints goes to stderr: stdout is the answer's alone.
        code = subprocess.run(command, env={**os.environ, **told}, stdout=_STDERR, check=False).returncode
    except OSError as error:
        raise Usage(f"the command cannot be run: {error.strerror}", actual=command[0]) from error
    if code < 0 or code >= _CANNOT_RUN:
        raise MunimentError(
            "bisect_aborted",
            f"the command ended the bisect at {ref}",
            expected="exit code 0 (good), 1 to 124 (bad), 125 (skip)",
            actual=f"signal {-code}" if code < 0 else f"{code}{_SHELL.get(code, '')}",
            hint="muniment bisect run goes on from here",
        )
    return "good" if code == 0 else "skip" if code == _SKIP else "bad"


def _judge(common: Common, verdict: Verdict) -> None:
    """Take a verdict. It is kept when the server has said what is next: given once more after an error, it counts once.

    Raises `Conflict` (`bisect_not_tested`) where the version was not there to be tested when it was given.
    """
    state = bisect_state.load(Path.cwd())
    with common.client() as client:
        if state.next is not None and (state.is_here or verdict == "skip"):
            _tell_step(common, _go_on(common, client, state.judged(verdict)))
            return
        state = _go_on(common, client, state)
    if state.next is None:
        raise Conflict("bisect_over", "the bisect is over", hint="muniment bisect reset")
    raise Conflict(
        "bisect_not_tested",
        f"{state.next} was not there before: nobody can have tested it",
        expected=f"a verdict on {state.next}, which is in {_folder(state.next)} now",
        actual=f"{verdict}, and what was judged before is kept",
        hint="test it, and say muniment bisect good, muniment bisect bad or muniment bisect skip",
    )


def _go_on(common: Common, client: Client, state: State) -> State:
    """Ask what is next, download it, and keep the state; or show the end."""
    step = client.bisect_step(
        state.model,
        good=state.good,
        bad=state.bad,
        known_bad=state.known_bad,
        skipped=state.skipped,
        metric=state.metric,
    )
    if "next" not in step:
        state = replace(state, next=None)
        bisect_state.save(state, Path.cwd())
        _show_end(common, state.model, step)
        common.next("muniment bisect reset")
        return state
    ref = f"{state.model}/{step['next']['number']}"
    state = replace(state, next=ref, is_here=False)
    bisect_state.save(state, Path.cwd())
    folder = _folder(ref)
    folder.parent.mkdir(exist_ok=True)
    for old in folder.parent.iterdir():  # one candidate at a time: models are large
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    try:
        with ProgressLine() as progress:
            client.download(ref, folder, on_progress=None if common.quiet else progress)
    except Conflict as error:  # damaged, or another file is in the way
        error.add_note("muniment bisect skip leaves it out")
        raise
    state = replace(state, is_here=True)
    bisect_state.save(state, Path.cwd())
    left, steps = step["left"], step["steps"]
    common.say(f"{_count(left, 'version')} left, about {_count(steps, 'step')}; {ref} is in {folder}")
    return state


def _tell_step(common: Common, state: State) -> None:
    """What a person tests now, where they do it and not a command."""
    if state.next is None:
        return
    folder = _folder(state.next)
    if common.json or common.quiet:
        common.line({"model": state.model, "next": state.next, "directory": str(folder)}, name=folder, text="")
    common.next("muniment bisect run -- COMMAND, or muniment bisect good, bad or skip")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _folder(ref: str) -> Path:
    return Path.cwd() / FOLDER / ref.rpartition("/")[2]


def _show_end(common: Common, model: str, found: dict[str, Any]) -> None:
    versions = found["first_bad"]
    names = [f"{model}/{version['number']}" for version in versions]
    why = found["why"]
    common.show(
        found,
        name="\n".join(version["id"] for version in versions),
        facts=[
            ("first bad" if len(versions) == 1 else "one of these", names),
            *(
                (
                    printable(name),
                    f"{short(one['id'])}  {one['branch']}  {one['operator']}"
                    + ("  deleted: its bytes cannot be tested" if one.get("deleted") and len(names) > 1 else ""),
                )
                for name, one in zip(names, versions, strict=True)
            ),
            ("compared with", f"{model}/{why['base']['number']}" if why["base"] else None),
            *(("why" if not place else "", text) for place, text in enumerate(why["text"])),
        ],
    )
    common.next(f"muniment versions show {names[-1]}")
