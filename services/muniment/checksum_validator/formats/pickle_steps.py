"""What each opcode does to a pickle machine, where that is more than taking and giving placeholders."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from muniment.checksum_validator.formats.pickle_opcodes import OPCODES, Argument, Opcode, Text
from muniment.checksum_validator.formats.pickle_state import (
    JOBLIB_ARRAY,
    THING,
    Attributes,
    Global,
    JoblibArray,
    Thing,
    Value,
    malformed,
)
from muniment.checksum_validator.formats.spec import FormatError

if TYPE_CHECKING:
    from muniment.checksum_validator.formats.pickle_machine import Machine

ARRAY_ATTRIBUTES: Final = frozenset({"dtype", "shape", "numpy_array_alignment_bytes"})
_MAX_TUPLE: Final = 9
_MAX_ITEM: Final = 4


def no_wrapper(values: list[Value]) -> None:
    """The class of joblib's arrays may be instantiated and nothing else: instances must not arise unseen."""
    if JOBLIB_ARRAY in values or any(isinstance(value, JoblibArray) for value in values):
        raise FormatError("joblib_array", "joblib's array class is used in a way that joblib does not write")


def _global(machine: Machine, names: Any) -> None:
    module, name = names.split("\n")
    machine.stack.push(machine.tally.add(module, name))


def _stack_global(machine: Machine, _: Argument) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if isinstance(name, str) and isinstance(module, str):
        machine.stack.push(machine.tally.add(module, name))
    elif isinstance(name, (str, Text, Thing)) and isinstance(module, (str, Text, Thing)):
        machine.tally.unresolved += 1
        machine.stack.push(THING)
    else:
        raise malformed("a global's name is not a text")


def _extension(machine: Machine, _: Argument) -> None:
    machine.tally.unresolved += 1
    machine.tally.extensions += 1
    machine.stack.push(THING)


def _inst(machine: Machine, names: Any) -> None:
    module, name = names.split("\n")
    no_wrapper([machine.tally.add(module, name), *machine.stack.pop_mark()])
    machine.tally.calls += 1
    machine.stack.push(THING)


def _obj(machine: Machine, _: Argument) -> None:
    items = machine.stack.pop_mark()
    no_wrapper(items)
    if not items or not isinstance(items[0], (Global, Thing)):
        raise malformed("something is made that is no class")
    machine.tally.calls += 1
    machine.stack.push(THING)


def _call(machine: Machine, _: Argument) -> None:
    arguments = machine.stack.pop()
    machine.call(machine.stack.pop(), arguments)


def _call_with_names(machine: Machine, _: Argument) -> None:
    names = machine.stack.pop()
    if not isinstance(names, (Thing, Attributes)):
        raise malformed("keyword arguments are no dictionary")
    _call(machine, None)


def _tuple(machine: Machine, items: list[Value]) -> None:
    """Shapes, the arguments of dtypes and their states are kept; other tuples are things."""
    no_wrapper(items)
    items = [THING if isinstance(value, tuple) else value for value in items]
    simple = len(items) <= _MAX_TUPLE and all(
        value is None or isinstance(value, (int, Thing)) or (isinstance(value, str) and len(value) <= _MAX_ITEM)
        for value in items
    )
    machine.stack.push(tuple(items) if simple else THING)


def _small_tuple(length: int) -> Callable[[Machine, Any], None]:
    def handle(machine: Machine, _: Argument) -> None:
        _tuple(machine, [machine.stack.pop() for _ in range(length)][::-1])

    return handle


def _pop(machine: Machine, _: Argument) -> None:
    if machine.stack.items:
        machine.stack.pop()
    else:
        machine.stack.pop_mark()


def _empty_dict(machine: Machine, _: Argument) -> None:
    top = machine.stack.items[-1] if machine.stack.items else None
    machine.stack.push(Attributes() if isinstance(top, JoblibArray) else THING)


def _set_items(machine: Machine, _: Argument) -> None:
    items = machine.stack.pop_mark()
    target = machine.stack.top()
    if isinstance(target, Attributes):
        pairs = zip(items[::2], items[1::2], strict=False)
        target.update((key, value) for key, value in pairs if isinstance(key, str) and key in ARRAY_ATTRIBUTES)
    else:
        no_wrapper(items)


def _push(machine: Machine, value: Any) -> None:
    machine.stack.push(THING if value is None else value)


def _persistent(machine: Machine, _: Argument) -> None:
    machine.stack.pop()
    machine.tally.persistent_ids += 1
    machine.stack.push(THING)


def _persistent_line(_machine: Machine, _: Argument) -> None:
    raise malformed("a persistent id as text, which no loader of models takes")


def _put(machine: Machine, slot: Any) -> None:
    if slot is None:
        raise FormatError("pickle_memo", "a memo slot is numbered in an unusual way")
    machine.memo.put(slot, machine.stack.top())


def _get(machine: Machine, slot: Any) -> None:
    if slot is None and not len(machine.memo):
        raise malformed("an empty memo slot is read")
    if slot is None:
        raise FormatError("pickle_memo", "a memo slot is numbered in an unusual way")
    machine.stack.push(machine.memo.get(slot))


_TEXTS: Final = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_NUMBERS: Final = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
_HANDLERS: Final[dict[str, Callable[[Machine, Any], None]]] = {
    **dict.fromkeys((*_TEXTS, *_NUMBERS), _push),
    "NONE": lambda machine, _: machine.stack.push(None),
    "NEWTRUE": lambda machine, _: machine.stack.push(1),
    "NEWFALSE": lambda machine, _: machine.stack.push(0),
    "PROTO": lambda machine, number: machine.protocol(number),
    "FRAME": lambda machine, length: machine.frame(length),
    "MARK": lambda machine, _: machine.stack.mark(),
    "POP": _pop,
    "DUP": lambda machine, _: machine.stack.push(machine.stack.top()),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.push(()),
    "TUPLE": lambda machine, _: _tuple(machine, machine.stack.pop_mark()),
    "TUPLE1": _small_tuple(1),
    "TUPLE2": _small_tuple(2),
    "TUPLE3": _small_tuple(3),
    "EMPTY_DICT": _empty_dict,
    "SETITEMS": _set_items,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    "MEMOIZE": lambda machine, _: machine.memo.put(len(machine.memo), machine.stack.top()),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _extension),
    "INST": _inst,
    "OBJ": _obj,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "NEWOBJ_EX": _call_with_names,
    "BUILD": lambda machine, _: machine.build(),
    "PERSID": _persistent_line,
    "BINPERSID": _persistent,
}

STEPS: Final[dict[int, tuple[Opcode, Callable[[Machine, Any], None] | None]]] = {
    code: (opcode, _HANDLERS.get(opcode.name)) for code, opcode in OPCODES.items()
}
