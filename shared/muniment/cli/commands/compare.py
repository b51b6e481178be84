"""`muniment compare` and `muniment diff`."""

from __future__ import annotations

from typing import Annotated, Any

from muniment.cli.arguments import Command, Option
from muniment.cli.comparison import as_markdown, as_text, changed_names
from muniment.cli.session import DEFAULTS, Common

app = Command(
    "muniment compare",
    "Two to six versions side by side, by their manifests: metrics, params, hyperparams, environment, packages, "
    "datasets, code and files. The first one is what the others are compared with.",
    example="muniment compare digits digits@exp/dropout digits/7",
)
diff_app = Command(
    "muniment diff",
    "What changed from one version to another: their manifests, and each tensor of their safetensors files.",
    example="muniment diff digits/3 digits/4 --markdown",
)
All = Annotated[bool, Option("What is the same, too.", ("--all",))]
Markdown = Annotated[bool, Option("Tables in Markdown, for a report or a review.")]


@app.default
def compare(*refs: str, all_: All = False, markdown: Markdown = False, common: Common = DEFAULTS) -> None:
    """Compare versions."""
    with common.client() as client:
        answer = client.compare(*refs, only_changed=not all_)
    _tell(common, answer, in_markdown=markdown)
    if len(refs) > 1:
        common.next(f"muniment diff {refs[0]} {refs[1]}")


@diff_app.default
def diff(
    old: str,
    new: str,
    /,
    *,
    all_: All = False,
    no_tensors: Annotated[bool, Option("Manifests alone: nothing is read from the store.")] = False,
    markdown: Markdown = False,
    common: Common = DEFAULTS,
) -> None:
    """Compare two versions."""
    if not no_tensors:
        common.say("the tensors that changed are read from the store; --no-tensors leaves that out")
    with common.client() as client:
        answer = client.diff(old, new, tensors=not no_tensors, only_changed=not all_)
    _tell(common, answer, in_markdown=markdown)
    common.next(f"muniment log {new}")


def _tell(common: Common, answer: dict[str, Any], *, in_markdown: bool) -> None:
    text = as_markdown(answer) if in_markdown else as_text(answer)
    common.line(answer, name="\n".join(changed_names(answer)), text=text)
