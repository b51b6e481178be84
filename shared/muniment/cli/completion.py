"""Completion scripts for shells, written from the commands themselves: further words, options, else file names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from muniment.cli.arguments import Command

Shell = Literal["bash", "zsh", "fish"]

_BASH: Final = """\
_muniment() {
  local before="${COMP_WORDS[*]:1:COMP_CWORD-1} " words=""
  case "$before" in
%s
  esac
  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _muniment muniment
"""
_ZSH: Final = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
_FISH: Final = """\
function __muniment_at
  set -l before (commandline -opc)
  test "$before[2..]" = "$argv"
end
function __muniment_within
  set -l before (commandline -opc)
  string match -q -- "$argv *" "$before[2..] "
end
"""


def completion(shell: Shell, commands: Mapping[str, Command]) -> str:
    """The script for a shell: right after a noun its words are offered, anywhere after a command its options."""
    offers = [("", " ".join(commands), True)]
    for name, command in commands.items():
        offers += _offers(name, command)
    if shell == "fish":
        lines = [
            f"complete -c muniment -n '__muniment_{'at' if is_noun else 'within'} {words}' -a '{offered}'\n"
            for words, offered, is_noun in offers
        ]
        return _FISH + "".join(lines)
    cases = [f'    "{words} "{"" if is_noun else "*"}) words="{offered}" ;;' for words, offered, is_noun in offers]
    return (_ZSH if shell == "zsh" else "") + _BASH % "\n".join(cases)


def _offers(words: str, command: Command) -> Iterator[tuple[str, str, bool]]:
    yield words, " ".join([*command.parts, *command.options()]), bool(command.parts)
    for word, part in command.parts.items():
        yield from _offers(f"{words} {word}", part)
