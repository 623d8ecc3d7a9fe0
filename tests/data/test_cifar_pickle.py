"""Batches of every Python and NumPy are read; pickles that do anything else are refused, and none is ever run."""

import os
import pickle
import struct

import numpy as np
import pytest

from kgan.data.cifar_pickle import read_batch
from kgan.errors import UserError
from tests.conftest import real_data

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 3072), np.uint8)
LABELS = [3, 8, 0]

# Pickles below are written from their instructions, as an attacker would.
PROTOCOL, MARK, TUPLE, REDUCE, BUILD, STOP, NONE, DICT = b"\x80\x02", b"(", b"t", b"R", b"b", b".", b"N", b"}"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def short(content: bytes) -> bytes:
    """A string as Python 2 wrote it."""
    return b"U" + bytes([len(content)]) + content


def long(content: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(content)) + content


def text(content: str) -> bytes:
    return b"X" + struct.pack("<I", len(content.encode())) + content.encode()


def sequence(*items: bytes) -> bytes:
    return MARK + b"".join(items) + TUPLE


def dtype(code: bytes = b"u1", state: bytes | None = None) -> bytes:
    state = state or sequence(integer(3), short(b"|"), NONE, NONE, NONE, integer(-1), integer(-1), integer(0))
    return name("numpy", "dtype") + sequence(short(code), integer(0), integer(1)) + REDUCE + state + BUILD


def array(shape: tuple[int, ...], block: bytes, of: bytes | None = None) -> bytes:
    start = name("numpy.core.multiarray", "_reconstruct")
    start += sequence(name("numpy", "ndarray"), sequence(integer(0)), short(b"b")) + REDUCE
    sides = sequence(*map(integer, shape))
    return start + sequence(integer(1), sides, of or dtype(), b"\x89", long(block)) + BUILD


def batch(data: bytes, **more: bytes) -> bytes:
    """A pickled dict as Python 2 wrote it."""
    items = {b"data": data} | {key.encode(): value for key, value in more.items()}
    return PROTOCOL + DICT + MARK + b"".join(short(key) + value for key, value in items.items()) + b"u" + STOP


def test_a_batch_as_python_2_wrote_it():
    labels = b"]" + MARK + b"".join(b"K" + bytes([label]) for label in LABELS) + b"e"
    read = read_batch(batch(array(PIXELS.shape, PIXELS.tobytes()), labels=labels, batch_label=short(b"one")))
    assert np.array_equal(read["data"], PIXELS)
    assert read["labels"] == LABELS


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("keys", [str, bytes])
@pytest.mark.parametrize("numpy_1", [False, True])
def test_a_batch_that_was_saved_again(protocol, keys, numpy_1):
    content = {"batch_label": "one", "labels": LABELS, "data": PIXELS, "filenames": ["a.png", "b.png", "c.png"]}
    if keys is bytes:
        content = {key.encode(): value for key, value in content.items()}
    saved = pickle.dumps(content, protocol)
    if numpy_1:  # the names that NumPy 1 had, in strings whose length is written before them
        for module in (b"numpy._core.multiarray", b"numpy._core.numeric"):
            renamed = module.replace(b"_core", b"core")
            saved = saved.replace(b"\x8c" + bytes([len(module)]) + module, b"\x8c" + bytes([len(renamed)]) + renamed)
            saved = saved.replace(b"c" + module, b"c" + renamed)
        if protocol > 3:
            saved = saved[:2] + saved[11:]  # without the frame, whose length changed
    read = read_batch(saved)
    assert np.array_equal(read["data"], PIXELS)
    assert read["labels"] == LABELS
    assert list(read) == ["batch_label", "labels", "data", "filenames"]


def test_columns_first():
    for protocol in range(2, 6):
        assert np.array_equal(read_batch(pickle.dumps({"data": np.asfortranarray(PIXELS)}, protocol))["data"], PIXELS)


def test_the_real_batches_read_as_an_unpickler_would():
    folder = real_data() / "cifar-10-batches-py"
    if not folder.is_dir():
        pytest.skip("no CIFAR-10 in this form")
    content = (folder / "test_batch").read_bytes()
    trusted, read = pickle.loads(content, encoding="bytes"), read_batch(content)
    assert np.array_equal(read["data"], trusted[b"data"])
    assert read["labels"] == trusted[b"labels"]


# A dtype of objects whose state says that it has none: NumPy would take the bytes of the file for pointers.
OBJECTS = dtype(b"O8", sequence(integer(3), short(b"|"), NONE, NONE, NONE, integer(-1), integer(-1), integer(0)))
NDARRAY_CALL = name("numpy", "ndarray") + sequence(sequence(integer(1_500_000), integer(3072))) + REDUCE


@pytest.mark.parametrize(
    "content, words",
    [
        (batch(array((2, 8), b"\x41" * 16, OBJECTS)), "of type O8, not u1"),
        (
            batch(array((2, 8), b"\x41" * 16, dtype(state=sequence(integer(3), short(b"|"), *[NONE] * 3)))),
            "sets the state of something",
        ),
        (batch(NDARRAY_CALL), "calls ndarray, which no CIFAR batch does"),
        (batch(array((1_500_000, 3072), b"")), r"0 bytes, not \(n, m\) and n x m"),
        (batch(array((2, 2), b"12345")), "5 bytes, not"),
        (batch(array((-2, -2), b"1234")), "no shape of whole numbers"),
        (batch(array((2**31 - 1,) * 30, b"")), "30 dimensions"),
        (batch(array((1, 1), b"a"), more=array((1, 1), b"a")), "more than one array"),
        (batch(array((1, 1), b"a")[:-1] + b"0" + BUILD), "instruction POP, which no CIFAR batch needs"),
        (batch(name("os", "system") + sequence(text("id")) + REDUCE), "it asks for os.system, which"),
        (batch(name("builtins", "eval") + sequence(text("1")) + REDUCE), "it asks for builtins.eval, which"),
        (batch(name("numpy", "load") + sequence(text("x")) + REDUCE), "it asks for numpy.load, which"),
        (batch(name("numpy.core.multiarray", "scalar")), "it asks for numpy.core.multiarray.scalar"),
        (batch(name("a\x1b[31m", "b")), r"it asks for a\\x1b\[31m.b"),
        (PROTOCOL + text("os") + text("system") + b"\x93" + STOP, "it asks for os.system"),
        (PROTOCOL + (b"(" * 9 + b"t" * 9) + text("x") + b"\x93" + STOP, "asks for something without a name"),
        (batch(name("numpy", "ndarray") + sequence() + b"\x81"), "instruction NEWOBJ"),
        (PROTOCOL + MARK + name("numpy", "ndarray") + b"o" + STOP, "instruction OBJ"),
        (PROTOCOL + MARK + b"inumpy\nndarray\n" + STOP, "instruction INST"),
        (PROTOCOL + b"Pid\n" + STOP, "instruction PERSID"),
        (PROTOCOL + b"\x82\x01" + STOP, "instruction EXT1"),
        (PROTOCOL + b"\x97" + STOP, "instruction NEXT_BUFFER"),
        (PROTOCOL + b"\x8b\x04\x00\x00\x00abcd" + STOP, "instruction LONG4"),
        (b"S'os'\n.", "instruction STRING"),
        (PROTOCOL + text("id") + sequence() + REDUCE + STOP, "calls id, which"),
        (PROTOCOL + name("_codecs", "encode") + sequence(text("a"), text("idna")) + REDUCE + STOP, "another encoding"),
        (PROTOCOL + text("x" * 9) + STOP, "holds no dict"),
        (PROTOCOL + b"h\x07" + STOP, "damaged pickle: KeyError"),
        (PROTOCOL + TUPLE + STOP, "damaged pickle: ValueError"),
        (PROTOCOL + REDUCE + STOP, "damaged pickle: ValueError"),
        (PROTOCOL + b"q\x00" + STOP, "damaged pickle: IndexError"),
        (PROTOCOL + DICT + sequence() + NONE + b"s" + STOP, "damaged pickle: ValueError"),
        (PROTOCOL + DICT + b"K\x01K\x02s" + STOP, "damaged pickle: ValueError"),
        (PROTOCOL + b"X\xff\xff\xff\x7fabc", "damaged pickle: ValueError"),
        (PROTOCOL + DICT, "damaged pickle: ValueError"),
        (b"", "damaged pickle: ValueError"),
    ],
)
def test_every_other_pickle_is_refused_in_one_line(content, words):
    with pytest.raises(UserError, match=words) as error:
        read_batch(content)
    assert str(error.value).isprintable()


def test_only_texts_are_encoded():
    for given in (b"]", b"}", NONE):
        with pytest.raises(UserError, match="damaged pickle"):
            read_batch(PROTOCOL + name("_codecs", "encode") + sequence(given, text("latin1")) + REDUCE + STOP)


def test_a_memo_index_allocates_nothing():
    content = PROTOCOL + DICT + b"r" + struct.pack("<I", 10**9) + b"r" + struct.pack("<I", 2**32 - 1) + STOP
    assert read_batch(content) == {}


def test_one_string_encoded_again_and_again_is_refused():
    again = b"h\x00" + MARK + b"h\x01h\x02" + TUPLE + REDUCE
    content = PROTOCOL + name("_codecs", "encode") + b"q\x00" + text("x" * 300_000) + b"q\x01" + text("latin1")
    with pytest.raises(UserError, match="encodes more text than the file has"):
        read_batch(content + b"q\x02" + again * 10_000 + STOP)


def test_too_many_instructions_are_refused():
    with pytest.raises(UserError, match="more than 4,000,000 instructions"):
        read_batch(PROTOCOL + NONE * 4_000_001 + STOP)


@pytest.mark.parametrize("nest", [b"\x85", b"]" + b"q\x00", b"a"])
def test_a_deep_nest_is_no_crash(nest):
    depth = 300_000
    content = {
        b"\x85": NONE + b"\x85" * depth,  # a tuple in a tuple in ...
        b"a": b"]" * depth + b"a" * (depth - 1),  # a list in a list in ...
    }.get(nest, nest + b"h\x00a" + b"\x85" * depth)  # a list that holds itself
    for wrapped in (batch(content), PROTOCOL + content + STOP, PROTOCOL + DICT + content + NONE + b"s" + STOP):
        try:
            read_batch(wrapped)
        except UserError as error:
            assert str(error).isprintable()


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_command_does_not_run(tmp_path, protocol):
    with pytest.raises(UserError):
        read_batch(pickle.dumps({"data": _Touch(tmp_path / "ran")}, protocol))
    assert not (tmp_path / "ran").exists()
