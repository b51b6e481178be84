"""What it takes to run a version's training again, as a folder of files made from its manifest. Pure: nothing is run.

Every text in a manifest was written by a stranger. In scripts it stands quoted (`shlex.quote`), behind `--`, and only
where its form is known: a commit that is not hexadecimal, a repository that names a transport helper (`ext::sh -c x`),
or a package whose name is an option of pip is told in the README instead.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from muniment.sdk.manifest import ManifestFile, ManifestText
from muniment.sdk.recipe_text import Step, readme
from muniment.sdk.started_by import HIDDEN

PATCH: Final = "patch.diff"
"""The name of the uncommitted changes in the folder, where the version holds them."""

_COMMIT: Final = re.compile(r"[0-9a-fA-F]{7,64}")
# Names and versions as PEP 508 and PEP 440 write them: no URL, no option, no marker can look like one of these.
_PACKAGE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_RELEASE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.!+_-]*[A-Za-z0-9])?")
_PROTOCOLS: Final = "file:git:http:https:ssh"
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_AGAIN: Final = (
    "Give every metric of the run again.",
    "Add `--run NAME`: the very same manifest is the very same version, and nothing would be recorded.",
)
_APOSTROPHE: Final = "\N{MODIFIER LETTER APOSTROPHE}"
_SCP: Final = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^:].*")


@dataclass(frozen=True, slots=True)
class Recipe:
    """The folder: its files by name, what the run did not say, and the file of the version that is the patch."""

    files: Mapping[str, bytes]
    missing: tuple[str, ...]
    patch: ManifestFile | None


def recipe(manifest: ManifestText, ref: str) -> Recipe:
    """The folder of a version. `ref` always means this version: the re-run is published as its reproduction."""
    facts = _Facts(manifest.content)
    patch = _patch_of(facts.code, manifest)
    files = {
        "manifest.json": manifest.text,
        "params.json": _json(facts.mapping("params")),
        "hyperparams.json": _json(facts.mapping("hyperparams")),
        "datasets.json": _json(facts.datasets),
        "environment.json": _json({name: value for name, value in facts.environment.items() if name != "packages"}),
        "code.json": _json(facts.code),
    }
    steps = [
        _code_step(facts, patch, files),
        _environment_step(facts, files),
        _data_step(facts),
        _command_step(facts, files),
    ]
    again = f"muniment publish OUT --model {shlex.quote(str(facts.content['model']))} --reproduces {shlex.quote(ref)}"
    last = Step("Publish the result", [again + " --metric NAME=NUMBER --wait"], [*_AGAIN])
    missing = tuple(line for step in steps for line in step.missing)
    text = readme(ref, manifest.id, [*steps, last], sorted([*files, *([PATCH] if patch else [])]))
    return Recipe({"README.md": text.encode(), **files}, missing, patch)


@dataclass(frozen=True, slots=True)
class _Facts:
    """A manifest's facts, where a field that is not of the form it should have counts as not said."""

    content: Mapping[str, Any]
    code: dict[str, Any] = field(init=False)
    environment: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", self.mapping("code"))
        object.__setattr__(self, "environment", self.mapping("environment"))

    def mapping(self, name: str) -> dict[str, Any]:
        """An object of the manifest."""
        value = self.content.get(name)
        return value if isinstance(value, dict) else {}

    @property
    def datasets(self) -> list[dict[str, Any]]:
        """The data that the run has read."""
        value = self.content.get("datasets")
        return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _patch_of(code: Mapping[str, Any], manifest: ManifestText) -> ManifestFile | None:
    wanted = code.get("patch_sha256")
    roles = {item["path"]: item.get("role") for item in manifest.content["files"]}
    for file in manifest.files:
        if file.sha256 == wanted or (wanted is None and roles.get(file.path) == "patch"):
            return file
    return None


def _code_step(facts: _Facts, patch: ManifestFile | None, files: dict[str, bytes]) -> Step:
    step = Step("Get the code", [], [])
    repository, commit = _text(facts.code.get("repository")), _text(facts.code.get("commit"))
    if repository is None:
        step.missing.append("The run did not say which repository its code is from.")
    if commit is None:
        step.missing.append("The run did not say which commit it was started from.")
    if step.missing and commit is None:
        step.hint("Next time: `muniment publish --git ...`, or `muniment.sdk.capture(...)` inside a git checkout.")
    elif step.missing:
        step.hint("Next time: give the checkout a remote (`git remote add origin ADDRESS`); it is recorded then.")
    elif commit is None or not _COMMIT.fullmatch(commit):
        step.missing.append("The commit is no hexadecimal commit id, so no script checks it out: see `code.json`.")
    elif repository is None or not _is_cloneable(repository):
        step.missing.append("The repository is no address that git clones by itself: see `code.json`.")
    else:
        files["checkout.sh"] = _checkout(repository, commit, patch is not None)
        step.commands.append("sh checkout.sh")
        step.hint("It clones into `code/`. Read it first: the address was written by whoever published the version.")
    if facts.code.get("dirty") is True or facts.code.get("patch_sha256"):
        if patch is None:
            step.missing.append("The checkout had uncommitted changes, and the version does not hold them as a file.")
            step.hint("Next time: save `git diff HEAD` beside the model and publish with `--role patch.diff=patch`.")
        else:
            applied = "`checkout.sh` applies them" if "checkout.sh" in files else f"apply them: `git apply {PATCH}`"
            step.hint(f"The uncommitted changes are in `{PATCH}`; {applied}.")
    return step


def _checkout(repository: str, commit: str, has_patch: bool) -> bytes:
    lines = [
        "#!/bin/sh",
        "# Clones the repository and checks the commit out, in the folder of this script. Runs nothing of it.",
        "set -eu",
        'cd -- "$(dirname -- "$0")"',
        "# Only these ways to fetch, whatever the address or the local configuration says.",
        f"GIT_ALLOW_PROTOCOL={_PROTOCOLS}",
        "export GIT_ALLOW_PROTOCOL",
        f"git clone --no-checkout -- {shlex.quote(repository)} code",
        f"git -C code checkout --detach {shlex.quote(commit)} --",
    ]
    if has_patch:
        lines.append(f"git -C code apply --whitespace=nowarn -- ../{PATCH}")
    return ("\n".join(lines) + "\n").encode()


def _is_cloneable(address: str) -> bool:
    """Whether git fetches it over one of the protocols: never an option, nor a helper's `TRANSPORT::ADDRESS`."""
    if not address.isprintable():
        return False
    scheme = _SCHEME.match(address)
    if scheme:
        return scheme[1].lower() in _PROTOCOLS.split(":")
    return address.startswith("/") or _SCP.fullmatch(address) is not None


def _environment_step(facts: _Facts, files: dict[str, bytes]) -> Step:
    step = Step("Make the environment", [], [])
    packages = facts.environment.get("packages")
    given: dict[str, Any] = packages if isinstance(packages, dict) else {}
    pinned = {name: version for name, version in given.items() if _is_pin(name, version)}
    # By name alone, without regard to case: the file is the same whatever order the run named them in.
    lines = [f"{name}=={version}" for name, version in sorted(pinned.items(), key=lambda pin: (pin[0].lower(), pin[0]))]
    files["requirements.txt"] = "".join(f"{line}\n" for line in lines).encode()
    python = _text(facts.environment.get("python"))
    image = _text(facts.environment.get("image"))
    if image is not None:
        step.hint("The run was in a container image; its name is in `environment.json`, and is the surest way.")
    if python is None:
        step.missing.append("The run did not say which Python it used.")
    else:
        step.hint(f"Python {_quoted(python)}; platform and hardware are in `environment.json`.")
    if lines:
        install = ".venv/bin/python -m pip install --no-deps -r requirements.txt"
        step.commands.extend(["python -m venv .venv", install])
    if not given:
        step.missing.append("The run did not say which packages were installed.")
        step.hint("Next time: `muniment.sdk.capture(...)`, or `environment=muniment.sdk.run.environment()`.")
    left_out = len(given) - len(pinned)
    if left_out:
        step.missing.append(
            f"{left_out} of {len(given)} packages have a name or version that pip could take for something else; "
            "they are left out of `requirements.txt` and stand in `manifest.json`."
        )
    return step


def _is_pin(name: object, version: object) -> bool:
    return (
        isinstance(name, str)
        and isinstance(version, str)
        and _PACKAGE.fullmatch(name) is not None
        and _RELEASE.fullmatch(version) is not None
    )


def _data_step(facts: _Facts) -> Step:
    step = Step("Get the data", [], [])
    if not facts.datasets:
        step.missing.append("The run did not say which data it read.")
        step.hint("Next time: `muniment publish --dataset NAME=URI@DIGEST ...`, or `run.log_dataset(...)`.")
        return step
    step.hint("Check each digest before you train; the list is in `datasets.json`.")
    for item in facts.datasets:
        name, uri, digest = (_text(item.get(key)) for key in ("name", "uri", "digest"))
        place = _quoted(uri) if uri else "nobody said where"
        step.hint(f"{_quoted(name or '?')}: {place}, {'digest ' + _quoted(digest) if digest else 'no digest'}")
    undigested = sum(_text(item.get("digest")) is None for item in facts.datasets)
    if undigested:
        step.missing.append(f"The run did not say the digest of {undigested} of {len(facts.datasets)} datasets.")
    return step


def _command_step(facts: _Facts, files: dict[str, bytes]) -> Step:
    step = Step("Run it", [], ["Parameters are in `params.json` and `hyperparams.json`."])
    command = _text(facts.code.get("command"))
    if command is None:
        step.missing.append("The run did not say which command started it.")
        step.hint("Next time: `muniment.sdk.capture(...)`, or `muniment publish --command TEXT ...`.")
        return step
    files["command.txt"] = f"{command}\n".encode()
    step.hint("The command is in `command.txt`, as its author wrote it. Read it before you run it in `code/`.")
    if HIDDEN in command:
        step.hint(f"`{HIDDEN}` stands for a value that looked like a secret: put yours there.")
    return step


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _quoted(text: str) -> str:
    """A stranger's text inside a line of Markdown: nothing in it is read as Markdown, and the line does not end."""
    shown = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return f"`{shown.replace('`', _APOSTROPHE)}`"


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
