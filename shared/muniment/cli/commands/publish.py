"""`muniment publish`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from muniment.cli import options
from muniment.cli.arguments import Command, Option
from muniment.cli.failures import Usage
from muniment.cli.near_names import meant
from muniment.cli.progress import ProgressLine
from muniment.cli.session import DEFAULTS, Common
from muniment.cli.text import differences, moment, reproduction, size
from muniment.contracts.errors import MunimentError, NotFound
from muniment.contracts.ids import MAIN

if TYPE_CHECKING:
    from muniment.sdk.client import Client
    from muniment.sdk.records import Publication, Version
    from muniment.sdk.transfer.scan import Scan

app = Command(
    "muniment publish",
    "Publish a directory or files as a version of a model. The files are hashed here and uploaded straight to the "
    "object store; hidden ones (.git, .cache) are left out.",
    example="muniment publish out/ --model digits --param lr=0.1 --metric accuracy=0.97 --wait",
)


@app.default
def publish(
    *source: Path,
    model: str,
    param: Annotated[tuple[str, ...], Option("NAME=VALUE; a JSON scalar where it reads as one.")] = (),
    hyperparam: Annotated[tuple[str, ...], Option("NAME=VALUE, the same.")] = (),
    metric: Annotated[tuple[str, ...], Option("NAME=NUMBER.")] = (),
    dataset: Annotated[tuple[str, ...], Option("NAME[=URI][@DIGEST].")] = (),
    tag: Annotated[tuple[str, ...], Option("NAME=TEXT.")] = (),
    role: Annotated[tuple[str, ...], Option("PATH=ROLE of a file (config, tokenizer, ...).")] = (),
    parent: Annotated[tuple[str, ...], Option("REF[:KIND], a version it was made from: digits/3:fine-tune.")] = (),
    branch: Annotated[str, Option("The branch, made where it is not there; experiments are exp/...")] = "main",
    existing_branch: Annotated[bool, Option("Refuse where the branch is not there yet.")] = False,
    track: Annotated[str | None, Option("The track whose rules hold.")] = None,
    commit: Annotated[
        Literal["auto", "manual"], Option("manual: wait as a candidate until a person commits it.")
    ] = "auto",
    experiment: Annotated[str | None, Option("The experiment's id.")] = None,
    run: Annotated[str | None, Option("The run's id.")] = None,
    description: Annotated[str | None, Option("A text for people.")] = None,
    reproduces: Annotated[str | None, Option("The version that this run repeats; the registry compares them.")] = None,
    git: Annotated[bool, Option("Record commit, branch and remote of the working directory.")] = False,
    command: Annotated[str | None, Option("The command that trained it: what `reproduce` tells to run.")] = None,
    idempotency_key: Annotated[str | None, Option("The same key gives the same publication.")] = None,
    wait: Annotated[bool, Option("Wait for the outcome.")] = False,
    timeout: Annotated[float, Option("Seconds to wait at most.")] = 3600.0,
    common: Common = DEFAULTS,
) -> None:
    """Publish a directory or files as a version of a model."""
    if not source:
        raise Usage("nothing to publish is named", expected="a directory, or files")
    facts: dict[str, Any] = {
        "params": options.scalars(param, "--param"),
        "hyperparams": options.scalars(hyperparam, "--hyperparam"),
        "metrics": options.numbers(metric, "--metric"),
        "datasets": options.datasets(dataset),
        "tags": options.pairs(tag, "--tag"),
        "roles": options.pairs(role, "--role"),
        "parents": options.parents(parent),
        "code": _code(command, git=git),
    }
    with common.client() as client, ProgressLine() as progress:
        _look_for_branch(common, client, model, branch, must_exist=existing_branch)
        # Once, before anything moves: what `digits@main` means now is meant, and not what is published here.
        original = client.version(reproduces) if reproduces else None
        publication = client.publish(
            source[0] if len(source) == 1 else list(source),
            model=model,
            branch=branch,
            track=track,
            commit=commit,
            experiment_id=experiment,
            run_id=run,
            description=description,
            reproduces=None if original is None else original.id,
            idempotency_key=idempotency_key,
            wait=wait,
            timeout=timeout,
            on_progress=None if common.quiet else progress,
            on_scan=lambda found: _say_what_goes(common, found),
            **facts,
        )
        answer = _whole(client, publication) if common.json or reproduces else {}
    _tell(common, publication, answer)
    if original is not None and publication.version is not None:
        _tell_repetition(common, original, publication.version.id, answer.get("reproduces"))


def _look_for_branch(common: Common, client: Client, model: str, branch: str, *, must_exist: bool) -> None:
    """Say which branch the publication makes, before anything is uploaded: a mistyped name makes one as well.

    Raises `NotFound` (`branch_not_found`) where it must exist.
    """
    if branch == MAIN and not must_exist:
        return
    try:
        client.branch(model, branch)
        return
    except NotFound:
        pass
    try:
        known = [one.name for one in client.branches(model)]
    except NotFound:  # nor is the model there
        known = []
    close = meant(branch, known)
    if must_exist:
        raise NotFound(
            "branch_not_found",
            f"{model} has no branch {branch!r}, and --existing-branch makes none",
            expected=f"one of {', '.join(known[:20])}{', ...' * (len(known) > 20)}"
            if known
            else "a model with branches",
            actual=branch,
            hint=f"did you mean {close}?" if close else f"muniment branch create {model} {branch} --from REF",
        )
    question = f"; did you mean {close}?" if close else ""
    common.say(f"{model} has no branch {branch!r} yet: a new version makes it{question}")


def _tell_repetition(common: Common, original: Version, published: str, recorded: Mapping[str, Any] | None) -> None:
    """Say why the answer to `--reproduces` is not there, or is another one."""
    if published == original.id:
        common.say(
            f"this is {original.ref} itself: the very same manifest is the very same version, and nothing was "
            "recorded; --run NAME makes the re-run a version of its own"
        )
    elif recorded is None or (recorded.get("model"), recorded["number"]) != (original.model, original.number):
        common.say("this version was published before; what was recorded of it then stays")


def _whole(client: Client, publication: Publication) -> dict[str, Any]:
    """The version as the registry records it, so that publishing the same again prints the same."""
    if publication.version is None:
        named = {"publication": publication.id}
        return {**named, **{name: value for name, value in publication.raw.items() if name != "id"}}
    answer = {"id": publication.version.id, "number": publication.version.number, "branch": publication.version.branch}
    try:
        recorded = client.version(publication.version.ref).raw
    except MunimentError:  # the version is there all the same; only the details are missing
        recorded = {"model": publication.model}
    details = {"manifest", "manifest_location", "files", "parents"}
    return {**answer, **{name: value for name, value in recorded.items() if name not in details}}


def _tell(common: Common, publication: Publication, answer: dict[str, Any]) -> None:
    version = publication.version
    if version is None:
        facts = [("publication", publication.id), ("model", publication.model), ("stage", publication.stage)]
        common.show(answer, name=publication.id, facts=facts)
        if publication.stage == "candidate":
            common.next(f"muniment commit {publication.id} --tag NAME=TEXT --description TEXT")
        else:
            common.next(f"muniment publications show {publication.id} --wait")
        return
    common.show(
        answer,
        name=version.id,
        facts=[
            ("version", f"{publication.model}/{version.number}"),
            ("id", version.id),
            ("branch", version.branch),
            ("track", version.track),
            ("committed", moment(version.committed_at)),
            ("reproduces", reproduction(answer.get("reproduces"))),
            *(("differs in", line) for line in differences(answer.get("reproduces"))),
        ],
    )
    if version.committed_at is None:  # a publication that was matched names its version, and committed none
        common.say("it was there before: the very same manifest is the very same version")
    common.next(f"muniment download {publication.model}/{version.number} DIR")


def _say_what_goes(common: Common, found: Scan) -> None:
    total = size(sum(file.size for file in found.files))
    common.say(f"publishing {len(found.files)} file{'s' * (len(found.files) != 1)}, {total}")
    if found.skipped:
        shown = ", ".join(found.skipped[:5]) + (", ..." if len(found.skipped) > 5 else "")
        common.say(f"left out, since hidden: {shown}")


def _code(command: str | None, *, git: bool) -> dict[str, Any] | None:
    """What is recorded of the code. The process that runs here published the files and did not train them."""
    told = {"command": command} if command else {}
    if not git:
        return told or None
    from muniment.sdk.run import code

    found = code()
    if found is None:
        return told or None
    return {**{name: value for name, value in found.items() if name != "command"}, **told}
