"""Reads the pickles that CIFAR's batches are published in, without unpickling.

A pickle is a program for a small stack machine. This module runs only the instructions that real batches consist of,
and lets them build nothing but dicts, lists, tuples, strings, integers and one block of uint8 pixels, which must be as
long in the file as its shape says. Nothing is imported or called, and every other instruction is refused by its name.
"""

import io
import pickletools
from collections.abc import Callable

import numpy as np

from kgan.errors import UserError

# The names a batch may mention, in every spelling: Python 2 and 3, NumPy 1 and 2. They are only compared, never called.
_NAMES = {
    ("_codecs", "encode"): "encode",
    ("numpy", "dtype"): "dtype",
    ("numpy", "ndarray"): "ndarray",
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
}
_LATIN1 = ("latin1", "latin-1", "iso-8859-1")
_MAX_INSTRUCTIONS = 4_000_000  # a batch of 10,000 images has 100,000
_UINT8_STATE = (3, "|", None, None, None, -1, -1, 0)
_MARK = object()


class _Name(str):
    """One of the values of _NAMES on the stack; a string of the file is never of this type."""


class _Pixels:
    """An array of the file; `rows` is None until its pixels were read."""

    rows: np.ndarray | None = None


class _Uint8:
    """The data type uint8, the only one there is."""


def read_batch(content: bytes) -> dict[str, object]:
    """The dict in a pickle of protocol 2 to 5, with keys as str, strings as str or bytes, and arrays as uint8 (n, m).

    Takes no more memory than a small multiple of the file's size. Raises UserError, in one line that does not name the
    file, if `content` is not such a pickle.
    """
    machine = _Machine(len(content))
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(content))):
            if count == _MAX_INSTRUCTIONS:
                raise UserError(f"its pickle has more than {_MAX_INSTRUCTIONS:,} instructions: the file is refused")
            machine.run(opcode.name, argument)
    except UserError:
        raise
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise UserError(f"not a CIFAR-10 batch (damaged pickle: {type(error).__name__})") from None
    return machine.result()


class _Machine:
    """The stack machine. Each instruction is a method or a constant below."""

    def __init__(self, size: int):
        self._stack: list = []
        self._memo: dict[int, object] = {}
        self._has_array = False
        self._encodable = size  # characters; a file that encodes one string again and again would fill the memory

    def run(self, name: str, argument) -> None:
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _INSTRUCTIONS:
            _INSTRUCTIONS[name](self, argument)
        elif name not in _IGNORED:
            raise UserError(f"its pickle has the instruction {name}, which no CIFAR batch needs: the file is refused")

    def result(self) -> dict[str, object]:
        if len(self._stack) != 1 or type(self._stack[0]) is not dict:
            raise UserError("not a CIFAR-10 batch (its pickle holds no dict)")
        return {key: value.rows if isinstance(value, _Pixels) else value for key, value in self._stack[0].items()}

    def put(self, index: int | None) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def mark(self, _) -> None:
        self._stack.append(_MARK)

    def make_list(self, _) -> None:
        self._stack.append([])

    def make_dict(self, _) -> None:
        self._stack.append({})

    def make_tuple(self, _) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def append(self, _) -> None:
        self._extend([self._stack.pop()])

    def appends(self, _) -> None:
        self._extend(self._pop_to_mark())

    def set_item(self, _) -> None:
        self._update(self._pop(2))

    def set_items(self, _) -> None:
        self._update(self._pop_to_mark())

    def name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._push_name(module, name)

    def name_on_stack(self, _) -> None:
        module, name = self._pop(2)
        self._push_name(module, name)

    def reduce(self, _) -> None:
        function, arguments = self._pop(2)
        if type(function) is not _Name or function not in _CALLS or type(arguments) is not tuple:
            raise UserError(f"its pickle calls {_shown(function)}, which no CIFAR batch does: the file is refused")
        self._stack.append(_CALLS[function](self, *arguments))

    def build(self, _) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, _Pixels):
            _, shape, dtype, fortran_order, block = state
            self._fill(target, block, dtype, shape, "F" if fortran_order is True else "C")
        elif not isinstance(target, _Uint8) or tuple(map(_text, state)) != _UINT8_STATE:
            raise UserError("its pickle sets the state of something that is not its pixels: the file is refused")

    def _push_name(self, module: str, name: str) -> None:
        if not isinstance(module, str) or not isinstance(name, str) or (module, name) not in _NAMES:
            raise UserError(f"it asks for {_shown(module)}.{_shown(name)}, which no CIFAR batch needs: it is refused")
        self._stack.append(_Name(_NAMES[module, name]))

    def _encode(self, text: str, encoding: str | bytes) -> bytes:
        if not isinstance(text, str):
            raise ValueError("encode of something that is not a text")
        if _text(encoding) not in _LATIN1:
            raise UserError("it asks for another encoding than latin1, which no CIFAR batch needs: it is refused")
        self._encodable -= len(text)
        if self._encodable < 0:
            raise UserError("its pickle encodes more text than the file has: it is refused")
        return text.encode("latin-1")

    def _dtype(self, code: str | bytes, *_) -> _Uint8:
        if _text(code) != "u1":
            raise UserError(f"its pixels are of type {_shown(code)}, not u1 (uint8)")
        return _Uint8()

    def _reconstruct(self, *_) -> _Pixels:
        if self._has_array:
            raise UserError("it has more than one array, and a CIFAR batch has one: it is refused")
        self._has_array = True
        return _Pixels()

    def _frombuffer(self, block, dtype: _Uint8, shape: tuple, order: str) -> _Pixels:
        pixels = self._reconstruct()
        self._fill(pixels, block, dtype, shape, order)
        return pixels

    def _fill(self, pixels: _Pixels, block, dtype: _Uint8, shape: tuple, order: str) -> None:
        if not isinstance(dtype, _Uint8) or pixels.rows is not None:
            raise UserError("its pickle has an array that is not uint8, or sets one twice: the file is refused")
        block = block.encode("latin-1") if isinstance(block, str) else block
        if type(shape) is not tuple or any(type(side) is not int or side < 0 for side in shape):
            raise UserError("its pixels have no shape of whole numbers")
        if len(shape) != 2 or shape[0] * shape[1] != len(block):
            raise UserError(f"its pixels have {len(shape)} dimensions and {len(block):,} bytes, not (n, m) and n x m")
        pixels.rows = np.frombuffer(block, np.uint8).reshape(shape, order="F" if order == "F" else "C")

    def _extend(self, values: list) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise ValueError("APPEND to something that is not a list")
        target.extend(values)

    def _update(self, pairs: list) -> None:
        target = self._stack[-1]
        keys = [_text(key) for key in pairs[::2]]
        if type(target) is not dict or not all(type(key) is str for key in keys):
            raise ValueError("SETITEM of something that is not a dict with names")
        target.update(zip(keys, pairs[1::2], strict=True))

    def _pop(self, count: int) -> list:
        values = self._stack[-count:]
        if len(values) < count or any(value is _MARK for value in values):
            raise ValueError("the stack is empty")
        del self._stack[-count:]
        return values

    def _pop_to_mark(self) -> list:
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                values = self._stack[place + 1 :]
                del self._stack[place:]
                return values
        raise ValueError("there is no mark")


def _tuple_of(count: int):
    def make(machine: _Machine, _) -> None:
        machine._stack.append(tuple(machine._pop(count)))

    return make


def _text(value):
    """Python 2 and 3 disagree on which strings are bytes; the short ones here mean the same."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _shown(value) -> str:
    text = _text(value)
    return ascii(text)[1:-1][:40] if isinstance(text, str) else "something without a name"


_IGNORED = {"PROTO", "FRAME", "STOP"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    *("BININT", "BININT1", "BININT2"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BYTEARRAY8"),
}
_CALLS: dict[str, Callable[..., object]] = {
    "encode": _Machine._encode,
    "dtype": _Machine._dtype,
    "reconstruct": _Machine._reconstruct,
    "frombuffer": _Machine._frombuffer,
}
_INSTRUCTIONS = {
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "MARK": _Machine.mark,
    "EMPTY_LIST": _Machine.make_list,
    "EMPTY_DICT": _Machine.make_dict,
    "TUPLE": _Machine.make_tuple,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_on_stack,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
