"""What the fuzz tests of all readers share: damaged files, and the one way in which a reader may refuse them.

200 examples each by default; KGAN_FUZZ_EXAMPLES=10000 asks for more, and other ones.
"""

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kgan.errors import UserError

EXAMPLES = int(os.environ.get("KGAN_FUZZ_EXAMPLES", 200))


def fuzz(*strategies: st.SearchStrategy, **named: st.SearchStrategy) -> Callable:
    """Runs a test on many examples and marks it `fuzz`. The same examples every time, unless more are asked for."""
    options = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize="KGAN_FUZZ_EXAMPLES" not in os.environ,
        database=None,
        phases=[Phase.generate],  # making a failing file smaller can take longer than all the rest
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: pytest.mark.fuzz(options(given(*strategies, **named)(test)))


@contextlib.contextmanager
def only_user_errors() -> Iterator[None]:
    """The block may end well or in a UserError of one printable line; anything else is a failure."""
    try:
        yield
    except UserError as error:
        assert str(error).isprintable() and len(str(error)) < 2000


def damaged(*originals: bytes) -> st.SearchStrategy[bytes]:
    """One of the files, whole or with a few bytes changed, cut out, put in, repeated or exchanged; or any bytes."""
    return st.tuples(st.sampled_from(originals), damage()).map(lambda drawn: drawn[1](drawn[0]))


def damage() -> st.SearchStrategy[Callable[[bytes], bytes]]:
    """The damage itself, for files that are not the same each time."""
    edits = st.lists(st.tuples(_PLACES, _LENGTHS, _INSERTS), max_size=6)
    edited = edits.map(lambda drawn: lambda content: _edited(content, drawn))
    return st.one_of(edited, edited, edited, st.binary(max_size=200).map(lambda drawn: lambda _: drawn))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def changed(draw, value):
    """A JSON value with up to four of its parts, at any depth, left out or any other values."""
    places = list(_parts(value))
    for place in draw(st.lists(st.sampled_from(places), max_size=4)):
        value = _with_part(value, place, draw(st.just(_LEFT_OUT) | JSON))
    return value


_LEFT_OUT = object()


def _parts(value, place=()) -> Iterator[tuple]:
    """The keys and indices that lead to each part of a JSON value, itself first."""
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from _parts(item, (*place, key))


def _with_part(value, place: tuple, part):
    """The value with another part at that place, or none; as it is if there is no such place any more."""
    if not place:
        return None if part is _LEFT_OUT else part
    key, *rest = place
    if isinstance(value, dict) and key in value:
        items = value | {key: part if not rest else _with_part(value[key], rest, part)}
        return {name: item for name, item in items.items() if item is not _LEFT_OUT}
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        items = [*value[:key], part if not rest else _with_part(value[key], rest, part), *value[key + 1 :]]
        return [item for item in items if item is not _LEFT_OUT]
    return value


_PLACES = st.one_of(st.integers(0, 64), st.integers(0, 2**20), st.integers(-64, -1))
_LENGTHS = st.one_of(st.just(0), st.integers(0, 8), st.integers(0, 2**12))
_INSERTS = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0" * 300, b"9" * 40, b"-1"]),
)


def _edited(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, length, insert in edits:
        place = place % (len(content) + 1)
        content = content[:place] + insert + content[place + length :]
    return content
