"""`muniment lineage`, `muniment deployments ls|report` and `muniment gc`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from muniment.cli.arguments import Command, Option
from muniment.cli.failures import Usage
from muniment.cli.session import DEFAULTS, At, Column, Common, Limit
from muniment.cli.text import cell, moment, size

app = Command(
    "muniment lineage",
    "What a version, a dataset or a commit came from, and what came of it.",
    example="muniment lineage digits@main --up",
)
deployments_app = Command(
    "muniment deployments",
    "Where versions run, as deployers report it.",
    example="muniment deployments report digits@1.2.0 --environment production --deployer argo --state running",
)
gc_app = Command(
    "muniment gc",
    "Free bytes that no live version and no release needs, once their lock has ended. Tells first, frees with --yes.",
    example="muniment gc --leftovers --dry-run",
)
_DEPLOYMENTS: tuple[Column, ...] = (
    ("ENVIRONMENT", lambda item: cell(item["environment"])),
    ("VERSION", lambda item: f"{cell(item['model'])}/{item['number']}"),
    ("RELEASE", lambda item: cell(item.get("release"))),
    ("DEPLOYER", lambda item: cell(item["deployer"])),
    ("STATE", lambda item: cell(item["state"])),
    ("AT", lambda item: moment(item["at"])),
    ("URL", lambda item: cell(item.get("url"))),
)


@app.default
def lineage(
    ref: str | None = None,
    /,
    *,
    dataset: Annotated[str | None, Option("NAME or NAME@DIGEST, in place of a reference.")] = None,
    code: Annotated[str | None, Option("A commit, in place of a reference.")] = None,
    up: Annotated[bool, Option("Only what it came from.")] = False,
    down: Annotated[bool, Option("Only what came of it.")] = False,
    depth: Annotated[int | None, Option("Steps at most.")] = None,
    kinds: Annotated[str | None, Option("Kinds of nodes shown, joined by commas: version,deployment.")] = None,
    previous: Annotated[bool, Option("Count the version before on the branch as a source.")] = False,
    at: At = None,
    common: Common = DEFAULTS,
) -> None:
    """Show the lineage as a tree; a node that stands there already is marked and not opened again."""
    if sum(one is not None for one in (ref, dataset, code)) != 1:
        raise Usage("one of REF, --dataset and --code is needed", hint="muniment lineage --help")
    direction = "both" if up == down else "up" if up else "down"
    with common.client() as client:
        found = client.lineage(
            ref, dataset=dataset, code=code, direction=direction, depth=depth, kinds=kinds, previous=previous, at=at
        )
    if common.json or common.quiet:
        common.line(found, name="\n".join(node["key"] for node in found["nodes"]), text="")
        return
    if kinds:  # what lies between is not shown: there is no tree
        shown = [node["key"] for node in found["nodes"] if node["key"] != found["start"]]
        common.line({}, name="", text="\n".join(shown) or "nothing that is known")
        return
    for way, title in (("up", "came from"), ("down", "led to")):
        if direction in {way, "both"}:
            common.line({}, name="", text="\n".join([f"{cell(found['start'])} {title}", *tree(found, way)]))
    if found["cut"]:
        common.say("there is more: give a larger --depth, or ask for a node further on")
    common.next("muniment versions show REF")


def tree(graph: Mapping[str, Any], way: str) -> list[str]:
    """The graph's lines in one direction from its start. Each node is opened once, so circles end."""
    here, there = ("target", "source") if way == "up" else ("source", "target")
    sides = {node["key"]: node["depth"] for node in graph["nodes"]}
    beyond: dict[str, list[Mapping[str, Any]]] = {}
    for edge in graph["edges"]:
        if sides[edge["source"]] <= 0 and sides[edge["target"]] <= 0 if way == "up" else sides[edge["target"]] > 0:
            beyond.setdefault(edge[here], []).append(edge)
    lines: list[str] = []
    opened: set[str] = set()
    waiting = [(1, edge) for edge in reversed(beyond.get(graph["start"], []))]
    while waiting:
        indent, edge = waiting.pop()
        key = edge[there]
        again = key in opened and key in beyond
        lines.append(f"{'  ' * min(indent, 40)}{edge['kind']}  {cell(key)}{'  (see above)' if again else ''}")
        if key not in opened:
            opened.add(key)
            waiting += [(indent + 1, one) for one in reversed(beyond.get(key, []))]
    return lines or ["  nothing that is known"]


@deployments_app.command("ls")
def ls(
    model: str | None = None,
    /,
    *,
    environment: str | None = None,
    limit: Limit = 100,
    common: Common = DEFAULTS,
) -> None:
    """List what deployers reported last: of a model, or everywhere."""
    with common.client() as client:
        common.rows(
            client.deployments(model, environment=environment),
            name=lambda item: f"{item['model']}/{item['number']}",
            table=_DEPLOYMENTS,
            limit=limit,
            empty="no deployment was reported: muniment deployments report --help",
        )


@deployments_app.command("report")
def report(
    ref: str,
    /,
    *,
    environment: str,
    deployer: str,
    state: Literal["started", "running", "failed", "stopped"],
    at: Annotated[str | None, Option("When it came so, RFC 3339; now without it.")] = None,
    url: str | None = None,
    details: str | None = None,
    common: Common = DEFAULTS,
) -> None:
    """Report where a version runs."""
    with common.client() as client:
        made = client.report_deployment(
            ref, environment=environment, deployer=deployer, state=state, at=at, url=url, details=details
        )
    version = f"{made['model']}/{made['number']}"
    common.show(
        made,
        name=version,
        facts=[("version", version), *((name, made[name]) for name in ("environment", "deployer", "state", "url"))],
    )
    common.next(f"muniment deployments ls {made['model']}")


@gc_app.default
def gc(
    *,
    yes: Annotated[bool, Option("Free them; without it they are only told.")] = False,
    dry_run: Annotated[bool, Option("Only tell, which is also the default.")] = False,
    leftovers: Annotated[bool, Option("Old uploads, copies, manifests and bytes that no version came of.")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Free what nothing needs, in requests of a thousand objects. What was uploaded lately is no leftover yet."""
    if yes and dry_run:
        raise Usage("--yes and --dry-run contradict each other", hint="muniment gc --dry-run")
    if leftovers:
        _sweep(common, free=yes)
        return
    total: dict[str, Any] = {"dry_run": not yes, "objects": 0, "size": 0, "kept": 0}
    after: int | None = 0
    with common.client() as client:
        while after is not None:
            found = client.collect(dry_run=not yes, after=after)
            if after == 0:
                total |= {name: found[name] for name in ("locked", "locked_size", "locked_until")}
            after = found["next"]
            for name in ("objects", "size", "kept"):
                total[name] += found[name]
            if after is not None:
                common.say(f"{total['objects']} objects, {size(total['size'])} so far")
    verb = "freed" if yes else "would be freed"
    common.show(
        total,
        name=total["objects"],
        facts=[
            ("objects", f"{total['objects']} {verb}"),
            ("size", size(total["size"])),
            ("kept", total["kept"]),
            ("locked", _locked(total)),
        ],
    )
    if total["objects"]:
        common.next("muniment audit ls --action objects.collected --newest" if yes else "muniment gc --yes")


def _locked(total: Mapping[str, Any]) -> str:
    if not total["locked"]:
        return "0"
    until = moment(total["locked_until"])
    return f"{total['locked']}, {size(total['locked_size'])}: needed by nothing, the first lock ends {until}"


def _sweep(common: Common, *, free: bool) -> None:
    total = {"looked_at": 0, "leftovers": 0, "size": 0, "kept": 0, "locked": 0, "locked_size": 0}
    places: dict[tuple[str, str], dict[str, Any]] = {}
    older_than = None
    with common.client() as client:
        # Uploads of publications are ingest's; what was locked once and copies for releases are the registry's.
        for ask in (client.sweep, client.collect_leftovers):
            for found in _pages(ask, dry_run=not free):
                at = found["place"]
                place = places.setdefault((at["bucket"], at["prefix"]), {**at, "leftovers": 0, "size": 0})
                for name in total:
                    total[name] += found.get(name, 0)  # ingest's are never locked
                for name in ("leftovers", "size"):
                    place[name] += found[name]
                older_than = found["older_than"]
                if found["next_page_token"] is not None:
                    common.say(f"{total['leftovers']} of {total['looked_at']} so far, {size(total['size'])}")
    held = sorted((place for place in places.values() if place["leftovers"]), key=lambda one: -one["size"])
    verb = "freed" if free else "would be freed"
    common.show(
        {"dry_run": not free, **total, "places": held},
        name=total["leftovers"],
        facts=[
            ("leftovers", f"{total['leftovers']} of {total['looked_at']} {verb}"),
            ("size", size(total["size"])),
            *((f"{one['bucket']}/{one['prefix']}", f"{one['leftovers']}, {size(one['size'])}") for one in held),
            ("kept", total["kept"]),
            ("locked", f"{total['locked']}, {size(total['locked_size'])}: freed when their locks have ended"),
            ("older than", moment(older_than)),
        ],
    )
    common.next("muniment audit ls" if free else "muniment gc --leftovers --yes")


def _pages(ask: Callable[..., Mapping[str, Any]], *, dry_run: bool) -> Iterator[Mapping[str, Any]]:
    """The answers for one page after the other."""
    token: str | None = None
    while True:
        found = ask(dry_run=dry_run, page_token=token)
        yield found
        if (token := found["next_page_token"]) is None:
            return
