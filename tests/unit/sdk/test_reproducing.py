"""The folder that repeats a run: whole, in order, and nothing in it is executable by a stranger's choice of words."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.canonical import canonical_json
from muniment.contracts.errors import Conflict
from muniment.sdk import AsyncClient, Client
from muniment.sdk.manifest import read_manifest
from muniment.sdk.reproducing import Recipe, recipe
from muniment.testing.fake_registry import FakeRegistry

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OURS = {"sh", "python", ".venv/bin/python", "muniment"}
NASTY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40) | st.sampled_from(
    [
        "$(touch owned)",
        "`touch owned`",
        "'; touch owned; '",
        "a\ntouch owned",
        "--upload-pack=touch owned",
        "```",
        '"',
        "\\",
    ]
)


def made(**facts: Any) -> Recipe:
    file = {"path": "model.bin", "size": 1, "sha256": "a" * 64, "format": "unknown", "role": "file"}
    content = {"schema": "muniment.manifest/v1", "model": "digits", "files": [file], **facts}
    return recipe(read_manifest(canonical_json(content)), "digits/1")


def shell_lines(readme: str) -> list[str]:
    return [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]


@given(NASTY, NASTY, NASTY, NASTY, st.dictionaries(NASTY, NASTY, max_size=4))
def test_strangers_words_stay_words(repository: str, path: str, command: str, python: str, packages: Any) -> None:
    for address in (repository, f"https://example.org/{path}"):
        found = made(
            code={"repository": address, "commit": COMMIT, "command": command},
            environment={"python": python, "packages": packages},
            datasets=[{"name": python, "uri": repository, "digest": command}],
        )
        if "checkout.sh" in found.files:
            script = found.files["checkout.sh"].decode()
            clone = next(line for line in script.splitlines() if line.startswith("git clone"))
            assert shlex.split(clone) == ["git", "clone", "--no-checkout", "--", address, "code"]
            assert not address.startswith("-")
            assert not re.match(r"\w+::", address)
        for line in found.files["requirements.txt"].decode().splitlines():
            assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*", line), line
        for line in shell_lines(found.files["README.md"].decode()):
            assert shlex.split(line)[0] in OURS
        readme = found.files["README.md"].decode()
        assert not any(line.startswith("touch") for line in readme.splitlines()), "a stranger's line feed ends no line"


@pytest.mark.parametrize("path", ["$(touch owned)", "`touch owned`", "'; touch owned; '", "it's", '"; touch owned; "'])
def test_the_script_hands_git_the_address_and_runs_nothing_else(tmp_path: Path, path: str) -> None:
    address = f"https://example.org/{path}"
    patch = {"path": "p", "size": 1, "sha256": "b" * 64, "format": "unknown", "role": "patch"}
    found = made(code={"repository": address, "commit": COMMIT, "dirty": True}, files=[patch])
    place = tmp_path / "again"
    place.mkdir()
    (place / "checkout.sh").write_bytes(found.files["checkout.sh"])
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text(f'#!/bin/sh\nfor word in "$@"; do echo "$word" >> {tmp_path}/words; done\n')
    git.chmod(0o755)
    environment = {"PATH": f"{git.parent}:/usr/bin:/bin"}
    subprocess.run(["sh", "checkout.sh"], cwd=place, env=environment, check=True)
    words = (tmp_path / "words").read_text().splitlines()
    assert words[:5] == ["clone", "--no-checkout", "--", address, "code"]
    assert words[5:10] == ["-C", "code", "checkout", "--detach", COMMIT]
    assert words[-1] == "../patch.diff"
    assert [item.name for item in place.iterdir()] == ["checkout.sh"], "nothing else ran"


@pytest.mark.parametrize(
    "code",
    [
        {"repository": "ext::sh -c 'touch owned'", "commit": COMMIT},
        {"repository": "rsync://example.org/a", "commit": COMMIT},
        {"repository": "--upload-pack=touch owned", "commit": COMMIT},
        {"repository": "https://example.org/a", "commit": "--orphan"},
        {"repository": "https://example.org/a", "commit": "main"},
        {"commit": COMMIT},
    ],
)
def test_what_git_could_misread_gets_no_script_but_a_word(code: dict[str, Any]) -> None:
    found = made(code=code)
    assert "checkout.sh" not in found.files
    assert any(word in found.missing[0] for word in ("repository", "commit"))


def test_what_the_run_did_not_say_is_told_with_how_to_say_it() -> None:
    found = made()
    readme = found.files["README.md"].decode()
    for word in ("repository", "commit", "Python", "packages", "data", "command"):
        assert any(word in line for line in found.missing), word
    assert readme.count("Next time") == 4
    assert found.files["requirements.txt"] == b""


def test_pins_are_sorted_and_those_that_pip_could_misread_are_counted() -> None:
    packages = {
        "torch": "2.9.1+cpu",
        "Pillow": "12.0",
        "numpy": "2.4.0",
        "-r": "x",
        "evil @ https://x": "1",
        "a": "; rm",
    }
    found = made(environment={"packages": packages})
    assert found.files["requirements.txt"] == b"numpy==2.4.0\nPillow==12.0\ntorch==2.9.1+cpu\n"
    assert any("3 of 6 packages" in line for line in found.missing)


@pytest.fixture
def published(registry: FakeRegistry, client: Client, folder: Path) -> bytes:
    """A version of a dirty checkout, whose patch is one of its files; returns the patch."""
    patch = b"--- a/train.py\n+++ b/train.py\n"
    (folder / "changes.patch").write_bytes(patch)
    code = {"repository": "https://example.org/digits.git", "commit": COMMIT, "dirty": True}
    code |= {"patch_sha256": hashlib.sha256(patch).hexdigest(), "command": "python train.py"}
    client.publish(folder, model="digits", params={"lr": 0.1}, code=code)
    return patch


def test_a_folder_is_written_whole(client: Client, published: bytes, tmp_path: Path) -> None:
    again = client.reproduce("digits@main", tmp_path / "again")
    assert set(again.files) == {item.name for item in again.directory.iterdir()}
    assert (again.directory / "patch.diff").read_bytes() == published
    assert json.loads((again.directory / "params.json").read_bytes()) == {"lr": 0.1}
    assert (again.directory / "command.txt").read_text() == "python train.py\n"
    digest = hashlib.sha256((again.directory / "manifest.json").read_bytes()).hexdigest()
    assert f"sha256:{digest}" == again.version.id
    assert not any(item.stat().st_mode & 0o111 for item in again.directory.iterdir()), "nothing runs by its name"
    readme = (again.directory / "README.md").read_text()
    assert "--reproduces digits/1" in readme
    with pytest.raises(Conflict, match="not empty"):
        client.reproduce("digits@main", again.directory)


async def test_the_asynchronous_client_writes_the_same(
    registry: FakeRegistry, client: Client, published: bytes, tmp_path: Path
) -> None:
    blocking = client.reproduce("digits@main", tmp_path / "one")
    async with AsyncClient(registry.url, "secret-token") as other:
        awaited = await other.reproduce("digits@main", tmp_path / "two")
    assert awaited.files == blocking.files
    for name in awaited.files:
        assert (awaited.directory / name).read_bytes() == (blocking.directory / name).read_bytes()


def test_a_rerun_is_published_with_the_id_that_the_reference_means(
    registry: FakeRegistry, client: Client, published: bytes, folder: Path
) -> None:
    first = client.version("digits@main")
    said: list[Any] = []

    def listen(request: Any) -> None:
        if request.url.path.endswith("/publications"):
            said.append(json.loads(request.read()).get("reproduces"))

    registry.intercept = listen
    client.publish(folder, model="digits", params={"lr": 0.2}, reproduces="digits@main")
    client.publish(folder, model="digits", params={"lr": 0.3}, reproduces=first.id)
    assert said == [first.id, first.id]
