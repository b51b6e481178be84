"""`muniment reproduce`."""

from __future__ import annotations

from pathlib import Path

from muniment.cli.arguments import Command
from muniment.cli.session import DEFAULTS, Common

app = Command(
    "muniment reproduce",
    "Write a folder with what it takes to run a version's training again: code reference and patch, pinned packages, "
    "parameters, datasets with digests, the command, and a README that says what to do in order. Nothing is run. "
    "Without DIRECTORY it is again-MODEL-NUMBER.",
    example="muniment reproduce digits@main again/",
)


@app.default
def reproduce(ref: str, directory: Path | None = None, /, *, common: Common = DEFAULTS) -> None:
    """Write what it takes to run a version's training again into a new folder, by default `again-MODEL-NUMBER`."""
    with common.client() as client:
        if directory is None:
            found = client.version(ref)
            ref, directory = found.ref, Path(f"again-{found.model}-{found.number}")
        made = client.reproduce(ref, directory)
    version = made.version
    common.show(
        {
            "id": version.id,
            "model": version.model,
            "number": version.number,
            "directory": str(directory),
            "files": list(made.files),
            "missing": list(made.missing),
        },
        name=directory,
        facts=[
            ("version", version.ref),
            ("id", version.id),
            ("directory", directory),
            ("files", made.files),
            *(("missing", line) for line in made.missing),
        ],
    )
    common.next(f"read {directory / 'README.md'}, and publish the re-run with --reproduces {version.ref}")
