"""Which version last changed a field on the way to another: as `git blame` does it for lines. Pure.

A field that a version shares with a parent is passed on to that parent, the first one that shares it; what no parent
shares was changed by the version. So each version is only ever compared with the one that was asked about.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from muniment.registry.history.fields import Scalar, Sections, field_name, same
from muniment.registry.history.graph import Graph


class Target:
    """The fields of the version that is asked about. A set of fields is an integer with a bit for each."""

    def __init__(self, sections: Sections, glob: str = "*") -> None:
        """`glob`: shell pattern that the fields' names fit, `params.*`."""
        self._sections: dict[str, dict[str, Scalar]] = {}
        self._bits: dict[str, dict[str, int]] = {}
        self.fields: dict[str, Scalar] = {}
        for section, values in sections.items():
            for name, value in values.items():
                field = field_name(section, name)
                if glob == "*" or fnmatchcase(field, glob):
                    self._sections.setdefault(section, {})[name] = value
                    self._bits.setdefault(section, {})[name] = 1 << len(self.fields)
                    self.fields[field] = value
        self._whole = {section: sum(bits.values()) for section, bits in self._bits.items()}
        # Python takes true for 1 and false for 0, so sections with these are looked at one by one.
        self._plain = {
            section
            for section, values in self._sections.items()
            if not any(value in (0, 1) for value in values.values())
        }

    @property
    def all(self) -> int:
        """Every field."""
        return (1 << len(self.fields)) - 1

    @property
    def sections(self) -> list[str]:
        """The sections that have fields here."""
        return list(self._sections)

    def shared(self, sections: Sections) -> int:
        """The fields that have the same values there."""
        found = 0
        for section, wanted in self._sections.items():
            values = sections.get(section, {})
            if section in self._plain and values == wanted:
                found |= self._whole[section]
                continue
            bits = self._bits[section]
            for name, value in wanted.items():
                if name in values and same(values[name], value):
                    found |= bits[name]
        return found

    def names(self, fields: int) -> list[str]:
        """The names of a set of fields."""
        return [field for place, field in enumerate(self.fields) if fields >> place & 1]


def blame(graph: Graph, start: int, shared: Mapping[int, int], wanted: int, *, first_only: bool) -> dict[int, int]:
    """By number of a version: the fields of `wanted` that it changed last on the way to `start`.

    `shared`: for each ancestor the fields in which it is like `start`; one that is missing shares nothing.
    """
    found: dict[int, int] = {}
    pending = {start: wanted}
    for number in sorted(graph.ancestors([start], first_only=first_only), reverse=True):
        left = pending.pop(number, 0)
        for parent in graph.parents(number, first_only=first_only):
            if taken := left & shared.get(parent, 0):
                pending[parent] = pending.get(parent, 0) | taken
                left &= ~taken
        if left:
            found[number] = left
    return found
