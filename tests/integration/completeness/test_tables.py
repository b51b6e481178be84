"""The declared tables against what there is: a route, command or consumed topic without a line fails."""

from __future__ import annotations

from collections.abc import Iterator

from muniment.cli import main
from muniment.cli.arguments import Command
from muniment.contracts import topics

from .conftest import Whole
from .declared import COMMANDS, EVENTS, ROUTES


def operations(whole: Whole) -> dict[str, str]:
    """Operation id -> method, of everything that is asked by another verb than GET."""
    paths = whole.app.openapi()["paths"]
    return {
        operation["operationId"]: method
        for verbs in paths.values()
        for method, operation in verbs.items()
        if method in {"post", "put", "patch", "delete"}
    }


def commands(command: Command) -> Iterator[str]:
    if command._function is not None:
        yield command.name.removeprefix("muniment ")
    for part in command.parts.values():
        yield from commands(part)


async def test_every_operation_of_the_http_api_has_a_line(whole: Whole) -> None:
    assert sorted(operations(whole)) == sorted(ROUTES)


async def test_every_consumed_topic_has_a_line_and_the_declared_consumers_consume_it(whole: Whole) -> None:
    consumed = {
        (name, route.topic.name)
        for name, one in whole.services.items()
        for processor in one.processors
        for route in processor.routes
    }
    assert consumed == set(EVENTS)
    declared = {
        (service, topic.name) for topic in topics.ALL for service in topic.consumers if service in topics.SERVICES
    }
    assert consumed == declared


def test_every_command_has_a_line_and_names_operations_that_have_one() -> None:
    found = [name for word in main.COMMANDS for name in commands(main.load(word))]
    assert sorted(found) == sorted(COMMANDS)
    named = {word for line in COMMANDS.values() if all(one in ROUTES for one in line.split()) for word in line.split()}
    without = {name for name in ROUTES if not name.startswith("retry_dead_letter_")} - named
    assert without == {"receive_run_event"}, "an operation that no command asks for, or a command's line is misspelt"
