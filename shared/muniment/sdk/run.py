"""`capture`: record a training run and publish what it saved, without ever getting in its way.

with muniment.sdk.capture("digits") as run:
    run.log_params(lr=0.1, epochs=20)
    ...
    run.log_metrics(accuracy=0.97)
    run.save("out/")
"""

from __future__ import annotations

import os
import platform
import subprocess
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from muniment.sdk.records import Publication
from muniment.sdk.started_by import started_by
from muniment.sdk.transfer.scan import scan

if TYPE_CHECKING:
    from muniment.sdk.client import Client

_GIT_TIMEOUT_S: Final = 5.0
_RANKS: Final = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")


class Run:
    """What is known of a run so far. `publication` is there once the run was published."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.params: dict[str, Any] = {}
        self.hyperparams: dict[str, Any] = {}
        self.metrics: dict[str, Any] = {}
        self.datasets: list[dict[str, Any]] = []
        self.files: dict[str, Path] = {}
        self.publication: Publication | None = None

    def log_param(self, name: str, value: Any) -> None:
        """Record one setting; the last value counts."""
        self.params[name] = value

    def log_params(self, params: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Record settings."""
        self.params.update(params or {}, **more)

    def log_metric(self, name: str, value: Any) -> None:
        """Record one metric; the last value counts."""
        self.metrics[name] = value

    def log_metrics(self, metrics: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Record metrics."""
        self.metrics.update(metrics or {}, **more)

    def log_dataset(self, name: str, uri: str | None = None, digest: str | None = None, **more: Any) -> None:
        """Record data that the run has read."""
        known = {"name": name, "uri": uri, "digest": digest, **more}
        self.datasets.append({key: value for key, value in known.items() if value is not None})

    def save(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Add a file, or all files of a directory, to what will be published. They are read at the end of the run."""
        place = Path(path)
        if name is not None:
            self.files[name] = place
        elif place.is_dir():
            self.files.update((file.path, file.source) for file in scan(place).files)
        else:
            self.files[place.name] = place


@contextmanager
def capture(
    model: str,
    *,
    client: Client | None = None,
    run_id: str | None = None,
    branch: str = "main",
    packages: bool = True,
    git: bool = True,
    wait: bool = False,
    **options: Any,
) -> Iterator[Run]:
    """Record a run and publish it when the block ends well. Only rank 0 of a distributed run publishes.

    Whatever goes wrong with the recording or publishing becomes one warning: training goes on. A block that raises
    publishes nothing. `options` are those of `Client.publish`.
    """
    run = _CarefulRun(model)
    yield run
    with _as_warning(f"the run of {model} was not published"):
        if run.trouble is not None:
            raise run.trouble
        if not _is_first_rank():
            return
        facts = {
            "params": run.params,
            "hyperparams": run.hyperparams,
            "metrics": run.metrics,
            "datasets": run.datasets,
            "environment": environment(packages=packages),
            "code": code() if git else None,
            "run_id": run_id or os.environ.get("MUNIMENT_RUN_ID") or str(uuid.uuid4()),
        }
        run.publication = _publish(client, run, {**facts, "branch": branch, "wait": wait, **options})


class _CarefulRun(Run):
    """A run whose `save` keeps its trouble for the end."""

    trouble: Exception | None = None

    def save(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        try:
            super().save(path, name)
        except Exception as error:  # noqa: BLE001  # reason: recording never breaks training; told at the end
            self.trouble = self.trouble or error


def environment(*, packages: bool = True) -> dict[str, Any]:
    """Python, platform and the installed packages with their versions."""
    from importlib.metadata import distributions

    found: dict[str, str] = {}
    if packages:
        for distribution in distributions():
            name = distribution.metadata["Name"]
            if name:
                found.setdefault(name.lower(), distribution.version)
    return {"python": platform.python_version(), "platform": platform.platform(), "packages": found}


def code(folder: str | os.PathLike[str] = ".") -> dict[str, Any] | None:
    """The git commit, branch, remote (without credentials) and dirtiness of a folder, and the command that started this
    process (without what looks like a secret); None outside a repository.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    remote = _git(folder, "remote", "get-url", "origin")
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {
        "commit": commit,
        "branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD"),
        "repository": remote and without_credentials(remote),
        "dirty": None if status is None else bool(status),
        "command": started_by(),
    }


def without_credentials(url: str) -> str:
    """A URL without user name, password and query: tokens hide in all of them."""
    if "://" not in url:
        return url
    split = urlsplit(url)
    host = split.netloc.rpartition("@")[2]
    return urlunsplit((split.scheme, host, split.path, "", ""))


def _git(folder: str | os.PathLike[str], *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return None
    return done.stdout.strip()


def _is_first_rank() -> bool:
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


def _publish(client: Client | None, run: Run, options: dict[str, Any]) -> Publication:
    if client is not None:
        return client.publish(run.files, model=run.model, **options)
    from muniment.sdk.client import Client as DefaultClient

    with DefaultClient() as own:
        return own.publish(run.files, model=run.model, **options)


@contextmanager
def _as_warning(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  # reason: publishing never breaks training
        warnings.warn(f"{what}: {error}", RuntimeWarning, stacklevel=4)
