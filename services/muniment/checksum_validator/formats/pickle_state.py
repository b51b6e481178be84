"""What a pickle machine remembers: values, stack, memo, and what the file has done so far.

Only names, numbers and tuples of them are kept; everything else is a placeholder, so that a pickle of any size is
followed in little memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from muniment.checksum_validator.formats.pickle_opcodes import Text
from muniment.checksum_validator.formats.spec import FormatError, Limits

_DTYPE: Final = re.compile(r"[<>|=]?([?biufcmMSUaOV])([0-9]{0,9})")
_MAX_MARKS: Final = 10_000
_MAX_STACK: Final = 1_000_000
_MAX_KEPT: Final = 30_000
_MAX_SLOTS: Final = 50_000


class Global(NamedTuple):
    """What a pickle imports: an attribute of a module."""

    module: str
    name: str


class Dtype:
    """A NumPy dtype that the stream has made: how many bytes an item takes, and whether items are objects."""

    __slots__ = ("_code", "_size", "objects")

    def __init__(self, code: object) -> None:
        found = _DTYPE.fullmatch(code) if isinstance(code, str) else None
        self._code = found[1] if found else None
        self._size = int(found[2] or 1) * (4 if found[1] == "U" else 1) if found else None
        self.objects = self._code == "O"

    def itemsize(self) -> int | None:
        """Bytes of an item in an array, None if that cannot be told."""
        return self._size if self._code else None

    def set_state(self, state: object) -> None:
        """What `numpy.dtype.__setstate__` does: the size of texts and records, and the flag that says objects."""
        if not isinstance(state, tuple) or len(state) not in {8, 9} or state[0] not in {3, 4}:
            self._code = None
            return
        size, flags = state[5], state[7]
        if not isinstance(flags, int) or not isinstance(size, int):
            self._code = None
            return
        if self._code in {"S", "a", "U", "V"}:
            self._size = size if size >= 0 else None
        self.objects = bool(flags & 1)


class Thing:
    """Any other object."""


class Attributes(dict[str, "Value"]):
    """The state of a joblib array."""


@dataclass(slots=True)
class JoblibArray:
    """joblib's stand-in for an array whose bytes follow in the stream; its attributes say how many."""

    attributes: Attributes = field(default_factory=Attributes)


THING: Final = Thing()
JOBLIB_ARRAY: Final = Global("joblib.numpy_pickle", "NumpyArrayWrapper")
Value = str | int | tuple["Value", ...] | Global | Dtype | JoblibArray | Attributes | Text | Thing | None


@dataclass(slots=True)
class Tally:
    """What has been seen in one file, over all its pickles."""

    limits: Limits
    opcodes: int = 0
    protocol: int = 0
    calls: int = 0
    persistent_ids: int = 0
    arrays: int = 0
    nested: int = 0
    torch: bool = False
    """Whether one of them is PyTorch's from before its zip format."""
    unresolved: int = 0
    """Imports whose names cannot be told: STACK_GLOBAL of something computed, extension registry codes."""
    extensions: int = 0
    """Of those the extension codes, which mean something only to a program that has given them a meaning before."""
    _canonical: dict[tuple[str, str], Global] = field(default_factory=dict)

    def add(self, module: str, name: str) -> Global:
        """Note an import; equal ones are one object."""
        found = self._canonical.setdefault((module, name), Global(module, name))
        if len(self._canonical) > self.limits.pickle_globals:
            raise FormatError("pickle_too_many_globals", "too many imports", expected=self.limits.pickle_globals)
        return found

    @property
    def globals(self) -> list[Global]:
        """The distinct imports, in the order of the stream."""
        return list(self._canonical.values())

    def step(self) -> None:
        """Count an opcode."""
        self.opcodes += 1
        if self.opcodes > self.limits.pickle_opcodes:
            raise FormatError(
                "pickle_too_long", "the pickle has too many opcodes to follow", expected=self.limits.pickle_opcodes
            )

    def merge(self, other: Tally) -> None:
        """Take over what was seen in a pickle inside this one. Its opcodes are counted already."""
        self.calls += other.calls
        self.nested += other.nested
        self.unresolved += other.unresolved
        self.extensions += other.extensions
        for found in other.globals:
            self.add(*found)


class Stack:
    """The stack, cut by marks into parts: nothing is taken from below the last mark."""

    __slots__ = ("_kept", "_marked", "items")

    def __init__(self) -> None:
        self.items: list[Value] = []
        self._marked: list[list[Value]] = []
        self._kept = 0  # of the items, those that are not placeholders

    def push(self, value: Value) -> None:
        """Put a value on top."""
        self.items.append(value)
        if value is not THING:
            self._kept += 1
            if self._kept > _MAX_KEPT:
                raise FormatError("pickle_too_deep", "the stack grows too large", expected=_MAX_KEPT)
        elif len(self.items) > _MAX_STACK:
            raise FormatError("pickle_too_deep", "the stack grows too large", expected=_MAX_STACK)

    def pop(self) -> Value:
        """Take the top."""
        if not self.items:
            raise malformed("the stack is empty")
        value = self.items.pop()
        if value is not THING:
            self._kept -= 1
        return value

    def top(self) -> Value:
        """The top, left there."""
        if not self.items:
            raise malformed("the stack is empty")
        return self.items[-1]

    def mark(self) -> None:
        """Begin a new part."""
        self._marked.append(self.items)
        self.items = []
        if len(self._marked) > _MAX_MARKS:
            raise FormatError("pickle_too_deep", "marks are nested too deeply", expected=_MAX_MARKS)

    def pop_mark(self) -> list[Value]:
        """Take everything above the last mark, and the mark."""
        if not self._marked:
            raise malformed("there is no mark")
        items, self.items = self.items, self._marked.pop()
        self._kept -= len(items) - items.count(THING)
        return items


class Memo:
    """The numbered slots. Which are filled is known exactly, for MEMOIZE numbers by it; what they hold, while it may
    matter and there is room: a name that was let go makes its import unresolved, never unseen.
    """

    __slots__ = ("_above", "_first", "_last", "_values")

    def __init__(self) -> None:
        self._values: dict[int, Value] = {}
        self._first = self._last = 0  # a range of filled slots, for they are filled in order
        self._above: set[int] = set()  # filled slots outside of it

    def __len__(self) -> int:
        return self._last - self._first + len(self._above)

    def put(self, slot: int, value: Value) -> None:
        """Fill a slot, or overwrite it."""
        if slot < 0:
            raise malformed("a memo slot is negative")
        if not len(self):
            self._first = self._last = slot  # Python 2 counts from 1
        if slot == self._last:
            self._last += 1
            while self._above and self._last in self._above:
                self._above.discard(self._last)
                self._last += 1
        elif not self._first <= slot < self._last:
            self._above.add(slot)
            if len(self._above) > _MAX_SLOTS:
                raise FormatError("pickle_too_long", "the memo is filled in no order", expected=_MAX_SLOTS)
        if self._values:
            self._values.pop(slot, None)
        if isinstance(value, (str, Global, Dtype, JoblibArray)):
            if len(self._values) < _MAX_SLOTS:
                self._values[slot] = value
            elif value == JOBLIB_ARRAY or isinstance(value, JoblibArray):
                raise FormatError("pickle_too_long", "the memo holds too much to follow", expected=_MAX_SLOTS)

    def get(self, slot: int) -> Value:
        """What a slot holds."""
        if not self._first <= slot < self._last and slot not in self._above:
            raise malformed("an empty memo slot is read")
        return self._values.get(slot, THING)


def malformed(what: str, actual: object = None) -> FormatError:
    """The error for a stream that no unpickler follows further."""
    return FormatError("pickle_malformed", f"not a well-formed pickle: {what}", actual=actual)


def is_malformed(error: FormatError) -> bool:
    """Whether no unpickler goes on after this error; after others some might, only we cannot follow."""
    return error.code in {"pickle_malformed", "truncated"}
