"""`muniment version` and `muniment completion`."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

from muniment.cli.arguments import Command, Option
from muniment.cli.session import DEFAULTS, Common
from muniment.contracts.version import VERSION

version_app = Command("muniment version", "The version of this program.", example="muniment version --remote")
completion_app = Command(
    "muniment completion",
    "Print a completion script for a shell.",
    example="muniment completion bash > ~/.local/share/bash-completion/completions/muniment",
)


@version_app.default
def version(
    *,
    remote: Annotated[bool, Option("Ask the server for its version too.")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Print the version of this program."""
    answer: dict[str, Any] = {"version": VERSION}
    if remote:
        with common.client() as client:
            answer["server"] = client.server_version()
    facts = [("muniment", VERSION), ("server", answer.get("server"))]
    common.show(answer, name=VERSION, facts=facts)


@completion_app.default
def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print a completion script."""
    from muniment.cli.completion import completion as script
    from muniment.cli.main import COMMANDS, load

    sys.stdout.write(script(shell, {name: load(name) for name in COMMANDS}))
