"""Commands from functions, on argparse: a parameter is an argument or an option, and its type says how it is read.

Positional-only parameters are arguments, keyword-only ones options; a parameter whose type is a dataclass stands for
an option a field. Types: `str`, `int`, `float`, `Path`, `bool` (a flag), `Literal` (a choice), `tuple[T, ...]` (may be
repeated), each also `| None`, and `Annotated[T, Option(...)]`. argparse, since every command of a user pays for the
imports: the frameworks that do this take longer to load than publishing a small model does.
"""

from __future__ import annotations

import argparse
import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from muniment.cli.failures import OK, Usage, near

Function = Callable[..., int | None]
F = TypeVar("F", bound=Function)
_POSITIONAL: Final = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL}
_HELP: Final = {"-h", "--help"}
_WIDTH: Final = 110


@dataclass(frozen=True, slots=True)
class Option:
    """What a parameter's name and type do not say."""

    help: str = ""
    names: tuple[str, ...] = ()
    """The option's names; by default its parameter's, `--after-index` for `after_index`."""


class Command:
    """A command, or a noun to hang commands on."""

    def __init__(self, name: str, summary: str, *, example: str = "") -> None:
        """`name` is all the words before its options, `muniment` first; `example` is shown below the help."""
        self.name = name
        self.summary = summary
        self._example = example
        self._function: Function | None = None
        self.parts: dict[str, Command] = {}

    def default(self, function: F) -> F:
        """What the command does, where it has no further words."""
        self._function = function
        return function

    def command(self, word: str) -> Callable[[F], F]:
        """Hang a function on this noun under a word; its docstring is the help."""

        def hang(function: F) -> F:
            self.part(word, inspect.getdoc(function) or "").default(function)
            return function

        return hang

    def part(self, word: str, summary: str, *, example: str = "") -> Command:
        """Hang a command on this noun under a word."""
        self.parts[word] = Command(f"{self.name} {word}", summary, example=example)
        return self.parts[word]

    def __call__(self, tokens: Sequence[str]) -> int:
        """Run it with the words of a command line; the exit code. Raises `Usage`."""
        if self._function is not None:
            return self._run(self._function, tokens)
        if not tokens or tokens[0] in _HELP:
            print(self._overview())
            return OK
        if tokens[0] not in self.parts:
            hint = near(self.name, tokens[0], self.parts)
            raise Usage(f"{self.name} has no command {tokens[0]!r}", expected=", ".join(self.parts), hint=hint)
        return self.parts[tokens[0]](tokens[1:])

    def options(self) -> list[str]:
        """The names of its options."""
        if self._function is None:
            return []
        return [name for option in _parameters(self._function) for name in option.names]

    def parse(self, tokens: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
        """What its function would be called with, by position and by name. Raises `Usage`."""
        assert self._function is not None, f"{self.name} is a noun"  # noqa: S101  # reason: a call by mistake
        parameters = list(_parameters(self._function))
        end = tokens.index("--") if "--" in tokens else len(tokens)
        # Options first, then what is left: argparse alone wants all arguments in one place.
        options = _parser(self, [one for one in parameters if one.names])
        found, left = options.parse_known_args(tokens[:end])
        if unknown := [word for word in left if word.startswith("-") and word != "-"]:
            options.error(f"there is no option {unknown[0]}")
        words = [*left, *tokens[end + 1 :]]
        places = _parser(self, [one for one in parameters if not one.names])
        places.parse_args(["--", *words] if words else [], found)
        return _bound(self._function, {one.dest: one.value(getattr(found, one.dest)) for one in parameters})

    def _run(self, function: Function, tokens: Sequence[str]) -> int:
        end = tokens.index("--") if "--" in tokens else len(tokens)
        if _HELP & set(tokens[:end]):  # not argparse's own action for it: that one leaves the program
            print(_parser(self, list(_parameters(function))).format_help().rstrip())
            return OK
        arguments, keywords = self.parse(tokens)
        result = function(*arguments, **keywords)
        return OK if result is None else result

    def _overview(self) -> str:
        lines = [f"Usage: {self.name} COMMAND [OPTIONS]", "", self.summary, "", "Commands:"]
        lines += [f"  {word:<12} {part.summary.splitlines()[0]}" for word, part in self.parts.items()]
        return "\n".join([*lines, *self.epilogue()])

    def epilogue(self) -> list[str]:
        """The lines of its example."""
        return ["", f"Example: {self._example}"] if self._example else []


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One argument or option. `names` is empty for an argument; `dest` is `common.json` for a field of `common`."""

    dest: str
    type: Any
    default: Any
    help: str
    names: tuple[str, ...] = ()
    repeats: bool = False
    group: str = "Options"

    @property
    def is_required(self) -> bool:
        return self.default is MISSING

    @property
    def metavar(self) -> str:
        return self.dest.rpartition(".")[2].upper()

    def add(self, group: argparse._ArgumentGroup) -> None:
        """Tell argparse of it."""
        settings: dict[str, Any] = {"help": self.help.replace("%", "%%"), "default": None}
        if self.type is bool:
            group.add_argument(*self.names, dest=self.dest, action="store_true", help=settings["help"])
            return
        if get_origin(self.type) is Literal:
            settings["choices"] = get_args(self.type)
        else:
            settings |= {"type": self.type, "metavar": self.metavar}
        if not self.names:
            nargs = "*" if self.repeats else None if self.is_required else "?"
            group.add_argument(self.dest, nargs=nargs, **settings)
        else:
            action = "append" if self.repeats else "store"
            group.add_argument(*self.names, dest=self.dest, action=action, required=self.is_required, **settings)

    def value(self, found: Any) -> Any:
        """What the function is given for what argparse found."""
        if self.repeats:
            return tuple(found or ())
        return self.default if found is None else found


def _parameters(function: Function) -> Iterator[_Parameter]:
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints[name]
        default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
        if is_dataclass(hint):
            inner = get_type_hints(hint, include_extras=True)
            for field in fields(hint):
                yield _parameter(f"{name}.{field.name}", inner[field.name], field.default, group="Common options")
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            yield _Parameter(name, hint, (), "", repeats=True, group="Arguments")
        else:
            yield _parameter(name, hint, default, is_argument=parameter.kind in _POSITIONAL)


def _parameter(dest: str, hint: Any, default: Any, *, group: str = "Options", is_argument: bool = False) -> _Parameter:
    option = Option()
    if get_origin(hint) is Annotated:
        hint, option = get_args(hint)
    if get_origin(hint) in {types.UnionType, Union}:
        (hint,) = (one for one in get_args(hint) if one is not type(None))
    repeats = get_origin(hint) is tuple
    if repeats:
        hint = get_args(hint)[0]
    if is_argument:
        return _Parameter(dest, hint, default, option.help, (), repeats, "Arguments")
    names = option.names or ("--" + dest.rpartition(".")[2].replace("_", "-"),)
    return _Parameter(dest, hint, default, option.help, names, repeats, group)


def _bound(function: Function, values: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The values as the function takes them: positional ones, and the others by name."""
    hints = get_type_hints(function)
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if is_dataclass(hints[name]):
            made: Any = hints[name]
            keywords[name] = made(**{field.name: values[f"{name}.{field.name}"] for field in fields(made)})
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            arguments += values[name]
        elif parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            arguments.append(values[name])
        else:
            keywords[name] = values[name]
    return arguments, keywords


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Usage(message, hint=f"{self.prog} --help")

    def format_help(self) -> str:
        return "Usage" + super().format_help().removeprefix("usage")


def _parser(command: Command, parameters: Sequence[_Parameter]) -> _Parser:
    needed = [f"{one.names[0]} {one.metavar}" for one in parameters if one.names and one.is_required]
    places = [
        one.metavar if one.is_required else f"[{one.metavar}{' ...' * one.repeats}]"
        for one in parameters
        if not one.names
    ]
    parser = _Parser(
        prog=command.name,
        usage=" ".join([command.name, *places, *needed, "[OPTIONS]"]),
        description=command.summary,
        epilog="\n".join(command.epilogue()).strip(),
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=_WIDTH),
        add_help=False,
        allow_abbrev=False,
    )
    groups = {title: parser.add_argument_group(title) for title in ("Arguments", "Options", "Common options")}
    for one in parameters:
        one.add(groups[one.group])
    groups["Common options"].add_argument("-h", "--help", action="store_true", help="Show this.")
    return parser
