"""`muniment up|demo|run|doctor|migrate|rebuild|topics`: the server is imported only when one of these runs."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Annotated, Final, Literal

from muniment.cli.arguments import Command, Option
from muniment.cli.options import address
from muniment.contracts.errors import Misconfigured

COMMANDS: Final = "muniment.server.commands"
DataDir = Annotated[
    Path | None,
    Option("Where everything is kept; default MUNIMENT_DATA_DIR, else .muniment.", ("--data-dir",)),
]
Http = Annotated[str | None, Option("HOST:PORT to listen on; default 127.0.0.1:8686.", ("--http",))]
Json = Annotated[bool, Option("JSON on stdout.", ("--json",))]

up = Command(
    "muniment up",
    "Start Kafka, Postgres, the object store and all services here, and print `ready URL` when they answer. Stops on "
    "Ctrl-C; a second start on the same data finds everything as it was.",
    example="muniment up --data-dir .muniment --http 127.0.0.1:8686",
)
demo = Command(
    "muniment demo",
    "Train two small models, publish them and follow each event through the whole pipeline, up to a webhook and a "
    "mail.",
    example="muniment demo",
)
run = Command(
    "muniment run",
    "Start the named services in one process, against the external parts that the settings name.",
    example="muniment run ingest registry --http 0.0.0.0:8686",
)
doctor = Command("muniment doctor", "Check settings, broker, database and store.", example="muniment doctor --json")
migrate = Command("muniment migrate", "Bring the database schemas up to date.", example="muniment migrate")
rebuild = Command(
    "muniment rebuild",
    "Make the registry's state anew, in a fresh database, from the audit log and the manifests in the object store. "
    "With --compare the live database is held against it row by row; exit code 1 when something is missing or differs.",
    example="muniment rebuild --into postgresql://muniment@db/muniment_rebuilt --compare",
)
topics = Command(
    "muniment topics",
    "Show the topics, and create missing ones; exit code 1 when one has other settings than it must. With `check` "
    "nothing is created; with `acls` it prints what each service's principal must be allowed on a broker with an "
    "authorizer, so that the audit service alone may write the audit log.",
    example="muniment topics check --json",
)


@up.default
def start_all(*, data_dir: DataDir = None, http: Http = None, json: Json = False) -> int:
    """Start everything here."""
    place = address(http)
    return int(server_commands().up(data_dir=data_dir, http=place, json=json))


@demo.default
def show_all(*, data_dir: DataDir = None, json: Json = False) -> int:
    """Run the main job on real input."""
    return int(server_commands().demo(data_dir=data_dir, json=json))


@run.default
def run_services(*services: str, http: Http = None, json: Json = False) -> int:
    """Start the named services."""
    place = address(http)
    return int(server_commands().run(list(services), http=place, json=json))


@doctor.default
def check(*, json: Json = False) -> int:
    """Check settings, broker, database and store."""
    return int(server_commands().doctor(json=json))


@migrate.default
def migrate_schemas(*, json: Json = False) -> int:
    """Bring the database schemas up to date."""
    return int(server_commands().migrate(json=json))


@rebuild.default
def rebuild_registry(
    *,
    into: Annotated[str, Option("The DSN of an empty database, or a name: one is made beside the live one.")],
    compare: Annotated[bool, Option("Compare the live database with it, row by row.")] = False,
    entries: Annotated[
        Path | None, Option("Audit entries as `muniment audit ls --json --limit 0` prints them, not the live tables.")
    ] = None,
    json: Json = False,
) -> int:
    """Make the registry's state anew and compare."""
    return int(server_commands().rebuild(into=into, entries=entries, compare=compare, json=json))


@topics.default
def show_topics(what: Literal["check", "acls"] | None = None, /, *, json: Json = False) -> int:
    """Show the topics, and create missing ones."""
    return int(server_commands().topics(what, json=json))


def server_commands() -> ModuleType:
    """The commands that need the server. Raises `Misconfigured` (`server_missing`)."""
    from importlib import import_module

    try:
        return import_module(COMMANDS)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("muniment.") and error.name not in {"muniment.server", COMMANDS}:
            raise  # ours is incomplete: a defect, not a missing extra
        raise Misconfigured(
            "server_missing",
            f"this installation has no server: {error.name} is not installed",
            hint="pip install 'muniment[embedded]' (or 'muniment[server]' against external parts)",
        ) from error
