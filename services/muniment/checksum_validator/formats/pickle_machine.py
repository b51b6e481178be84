"""A pickle machine that never makes an object: it follows stack and memo far enough to name every import.

Names of globals come from GLOBAL, INST and STACK_GLOBAL; the last takes them from the stack, and so from wherever the
stream put them: memo slots that are overwritten, filled out of order, or shared. Hence the same stack, marks and memo
as a real machine's, with placeholders for everything that is not a name, a number or a tuple.

Where unpicklers differ this one goes on: what it sees is never less than what a real one would do.

joblib writes the bytes of arrays between the opcodes. They are passed over only where joblib would read them, only with
the length that it would read, and only if their first byte ends any other unpickler: it must not see opcodes there.
Arrays of objects are pickles within the stream, and are followed as joblib does, each with its own memo.
"""

from __future__ import annotations

from typing import Final

from muniment.checksum_validator.formats.pickle_opcodes import Argument, Data, Opcode, argument
from muniment.checksum_validator.formats.pickle_state import (
    JOBLIB_ARRAY,
    THING,
    Attributes,
    Dtype,
    Global,
    JoblibArray,
    Memo,
    Stack,
    Tally,
    Thing,
    Value,
    is_malformed,
    malformed,
)
from muniment.checksum_validator.formats.pickle_steps import STEPS, no_wrapper
from muniment.checksum_validator.formats.source import CHUNK_BYTES, Cursor, Slice
from muniment.checksum_validator.formats.spec import FormatError

HIGHEST_PROTOCOL: Final = 5
_STOP: Final = 0x2E
_NUMPY_DTYPE: Final = Global("numpy", "dtype")
_ALIGNMENT: Final = 16


class Machine:
    """Runs one pickle from the cursor's position to its STOP."""

    cursor: Cursor
    tally: Tally
    stack: Stack
    memo: Memo

    def __init__(self, cursor: Cursor, tally: Tally, depth: int = 1) -> None:
        self.cursor = cursor
        self.tally = tally
        self.stack = Stack()
        self.memo = Memo()
        self._depth = depth
        self._frame_end = 0

    def run(self, opcodes: int = 1 << 62) -> Value:
        """The value at STOP, or nothing after so many opcodes. Raises `FormatError` where no unpickler goes on."""
        cursor, tally = self.cursor, self.tally
        while opcodes:
            opcodes -= 1
            code = cursor.byte()
            step = STEPS.get(code)
            if step is None:
                raise malformed("a byte is no opcode", f"0x{code:02x} at {cursor.position - 1}")
            tally.step()
            if code == _STOP:
                return self.stack.pop()
            opcode, handle = step
            value = argument(cursor, opcode) if opcode.width else None
            if handle:
                handle(self, value)
            else:
                self._generic(opcode, value)
        return None

    def _generic(self, opcode: Opcode, value: Argument) -> None:
        if isinstance(value, Data):
            self._data(value)
        if opcode.to_mark:
            no_wrapper(self.stack.pop_mark())
        for _ in range(opcode.takes):
            no_wrapper([self.stack.pop()])
        for _ in range(opcode.gives):
            self.stack.push(THING)

    def call(self, function: Value, arguments: Value) -> None:
        """REDUCE, NEWOBJ: push what a call gives."""
        # Pure Python's unpickler, which is joblib's, takes anything iterable for arguments.
        if not isinstance(function, (Global, Thing)) or arguments is None or isinstance(arguments, int):
            raise malformed("something is called that cannot be", repr(function)[:64])
        self.tally.calls += 1
        if function == JOBLIB_ARRAY:
            self.stack.push(JoblibArray())
        elif function == _NUMPY_DTYPE and isinstance(arguments, tuple):
            self.stack.push(Dtype(arguments[0] if arguments else None))
        else:
            self.stack.push(THING)

    def frame(self, length: int) -> None:
        """FRAME: joblib's arrays lie between frames only."""
        if length > self.cursor.remaining:
            raise FormatError("truncated", "a frame is longer than the file", actual=f"{length} B")
        self._frame_end = self.cursor.position + length

    def protocol(self, number: int) -> None:
        """PROTO: which opcodes to expect."""
        if number > HIGHEST_PROTOCOL:
            raise malformed("a protocol that does not exist", number)
        self.tally.protocol = max(self.tally.protocol, number)

    def build(self) -> None:
        """BUILD: set an object's state. After joblib's stand-in for an array its bytes follow."""
        state = self.stack.pop()
        target = self.stack.top()
        self.tally.calls += 1
        if isinstance(target, Global):
            raise FormatError("pickle_patches_class", "the pickle changes a class or function", actual=target)
        if isinstance(target, Dtype):
            target.set_state(state)
        elif isinstance(target, JoblibArray):
            if not isinstance(state, Attributes):
                raise FormatError("joblib_array", "an array is described in a way that joblib does not write")
            target.attributes.update(state)
            self.stack.pop()
            self.stack.push(THING)
            self._array(target.attributes)
        no_wrapper([state])

    def _array(self, attributes: Attributes) -> None:
        """Pass over the bytes that joblib reads as an array here."""
        cursor, dtype, shape = self.cursor, attributes.get("dtype"), attributes.get("shape")
        size = dtype.itemsize() if isinstance(dtype, Dtype) else None
        if size is None or not isinstance(shape, tuple) or cursor.position < self._frame_end:
            raise FormatError("joblib_array", "an array's type or place cannot be told", actual=repr(dtype)[:64])
        self.tally.arrays += 1
        if isinstance(dtype, Dtype) and dtype.objects:
            self._nested(cursor)
            return
        padding = cursor.byte() if attributes.get("numpy_array_alignment_bytes") == _ALIGNMENT else 0
        if not 1 <= padding <= _ALIGNMENT:
            raise FormatError(
                "joblib_array",
                "an array without joblib's padding could be read as opcodes by another loader",
                hint="save the model again with joblib 1.2 or newer",
            )
        for dimension in shape:
            if not isinstance(dimension, int) or dimension < 0:
                raise FormatError("joblib_array", "an array's shape cannot be told", actual=repr(shape)[:64])
            size = min(size * dimension, 1 << 64)
        cursor.skip(padding + size)

    def _nested(self, cursor: Cursor) -> None:
        """Follow a pickle inside this one, with a memo of its own."""
        deepest = self.tally.limits.pickle_nesting
        if self._depth >= deepest:
            raise FormatError("pickle_too_deep", "pickles are nested too deeply", expected=deepest)
        self.tally.nested += 1
        Machine(cursor, self.tally, self._depth + 1).run()

    def _data(self, data: Data) -> None:
        """Bytes that an object is made of: passed over, and looked into if they are a pickle."""
        window, at = self.cursor.window(2)
        start = window[at : at + 2]
        if not (4 <= data.length <= CHUNK_BYTES and start[:1] == b"\x80" and start[1:] <= b"\x05"):
            self.cursor.skip(data.length)
            return
        content = Slice(self.cursor.take(data.length))
        seen = Tally(self.tally.limits, opcodes=self.tally.opcodes)
        inside = Machine(self.cursor, seen, self._depth)
        finished = False
        try:
            inside._nested(Cursor(content, 0, data.length))
            finished = True
        except FormatError as error:
            if not is_malformed(error):
                raise
        finally:
            self.tally.opcodes = seen.opcodes
        if finished or seen.calls:
            self.tally.merge(seen)
