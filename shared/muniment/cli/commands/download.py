"""`muniment download` and `muniment verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from muniment.cli import failures
from muniment.cli.arguments import Command, Option
from muniment.cli.failures import Usage
from muniment.cli.progress import ProgressLine
from muniment.cli.session import DEFAULTS, Common
from muniment.cli.text import printable, size

if TYPE_CHECKING:
    from muniment.sdk.verify import Verification

app = Command(
    "muniment download",
    "Download a version into a directory. Every file is read by its exact stored version, checked against the "
    "manifest while it streams, and put in place only when it is whole; what is already right is kept, what was cut "
    "off resumed.",
    example="muniment download digits@main models/digits",
)
verify_app = Command(
    "muniment verify",
    "Check a version's manifest against its id, and a directory against the manifest, by reading every byte. With "
    "--dir alone nothing is asked over the network: the manifest that `download` left in the directory is used.",
    example="muniment verify digits@main --dir models/digits",
)


@app.default
def download(
    ref: str,
    directory: Path,
    /,
    *,
    no_verify: Annotated[bool, Option("Do not hash the files while they stream.")] = False,
    force: Annotated[bool, Option("Take a damaged version as it is, unchecked: admins alone; it is audited.")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Download a version into a directory."""
    with common.client() as client, ProgressLine() as progress:
        tell = None if common.quiet else progress
        version = client.download(ref, directory, verify=not no_verify, force=force, on_progress=tell)
    release = version.raw.get("release")
    answer = {"id": version.id, "model": version.model, "number": version.number, "directory": str(directory)}
    common.show(
        {**answer, "release": {name: release[name] for name in ("semver", "id")}} if release else answer,
        name=version.id,
        facts=[
            # Of a release: its own bytes were taken, and `verify` tells its id.
            ("release", f"{version.model}@{release['semver']}  {release['id']}" if release else None),
            ("version", version.ref),
            ("id", version.id),
            ("directory", directory),
        ],
    )
    common.next(f"muniment verify --dir {directory}")


@verify_app.default
def verify(
    ref: str | None = None,
    /,
    *,
    directory: Annotated[Path | None, Option("The directory to read.", ("--dir",))] = None,
    id: Annotated[str | None, Option("The id it must have (sha256:...).")] = None,  # noqa: A002  # reason: the option's name
    common: Common = DEFAULTS,
) -> int:
    """Check a version, a directory against a version, or a directory against the manifest in it."""
    from muniment.contracts.errors import Conflict

    with ProgressLine() as progress:
        tell = None if common.quiet else progress
        if ref is not None:
            with common.client() as client:
                found = client.verify(ref, directory, on_progress=tell)
        elif directory is not None:
            from muniment.sdk.verify import verify_directory

            found = verify_directory(directory, on_progress=tell)
        else:
            raise Usage("nothing to verify is named", expected="a reference, --dir DIR, or both")
    if id is not None and found.id != id:
        raise Conflict("version_id_mismatch", "it is another version", expected=id, actual=found.id)
    _tell(common, found, ref, directory)
    return failures.OK if found.ok else failures.FAILED


def _tell(common: Common, found: Verification, ref: str | None, directory: Path | None) -> None:
    problems = [
        {"kind": item.kind, "path": item.path, "expected": item.expected, "actual": item.actual}
        for item in found.problems
    ]
    common.show(
        {
            "ok": found.ok,
            "id": found.id,
            "model": found.model,
            "files": found.files,
            "bytes": found.bytes,
            "problems": problems,
        },
        name=found.id,
        facts=[
            ("model", found.model),
            ("id", found.id),
            ("manifest", "its digest is the id"),
            ("files", f"{found.files} right, {size(found.bytes)}" if directory else f"{found.files}, not read here"),
            *((item.kind, _difference(printable(item.path), item.expected, item.actual)) for item in found.problems),
        ],
    )
    if ref is not None and directory is None:
        common.next(f"muniment download {ref} DIR")


def _difference(path: str, expected: str | None, actual: str | None) -> str:
    wanted = f"  expected {expected}" if expected else ""
    return f"{path}{wanted}" + (f"  actual {actual}" if actual else "")
