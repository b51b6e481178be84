"""`muniment version` and `muniment completion`."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from muniment.cli.session import DEFAULTS, Common, application

version_app = application("muniment version", "The version of this program.", example="muniment version --remote")
completion_app = application(
    "muniment completion",
    "Print a completion script for a shell.",
    example="muniment completion bash > ~/.local/share/bash-completion/completions/muniment",
)


@version_app.default
def version(
    *,
    remote: Annotated[bool, Parameter(help="Ask the server for its version too.")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Print the version of this program."""
    mine = metadata.version("muniment")
    answer: dict[str, Any] = {"version": mine}
    if remote:
        with common.client() as client:
            answer["server"] = client.server_version()
    facts = [("muniment", mine), ("server", answer.get("server"))]
    common.show(answer, name=mine, facts=facts)


@completion_app.default
def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print a completion script."""
    from muniment.cli.main import COMMANDS, load

    root = App(name="muniment", version_flags=[])
    for name in COMMANDS:
        command = load(name)
        root.command(command, name=name)
    sys.stdout.write(root.generate_completion(shell=shell))
