"""An .npz of generated images is consistent if it is what its own arrays and marks are written as, and nothing more."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kgan.latents import draws_recipe
from kgan.provenance import npz
from kgan.provenance.check import Verdict
from kgan.provenance.marks import Origin, describe
from tests.fuzzing import changed, damaged, fuzz

SAMPLES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
LABELS = np.array([0, 1, 0], np.int64)
ORIGIN = Origin("run", "a" * 64, "b" * 64, "CC0-1.0", False, {"kgan": "0.1.0"})
MARKS = describe(ORIGIN, SAMPLES, seed=1, z=draws_recipe(3))


def written(producer: str = "") -> bytes:
    stream = io.BytesIO()
    halves = [SAMPLES[:2], SAMPLES[2:]]
    npz.write(stream, SAMPLES.shape, halves, LABELS, lambda sha256: replace(MARKS, pixels_sha256=sha256), producer)
    return stream.getvalue()


CONTENT = written()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("npz") / "x.npz"


@pytest.mark.parametrize("producer", ["", "Acme Labs"])
def test_what_is_written_is_consistent(place, producer):
    place.write_bytes(written(producer))
    result = npz.check_npz(place)
    assert (result.verdict, result.reasons, result.marks) == (Verdict.CONSISTENT, (), MARKS)
    assert np.array_equal(result.image, SAMPLES) and np.array_equal(result.labels, LABELS)
    assert npz.read_marks(place) == MARKS


def test_a_path_of_any_characters_is_one_line(tmp_path):
    (reason,) = npz.check_npz(tmp_path / "no\x1b[31m\nwhere.npz").reasons
    assert reason.isprintable() and reason.endswith("where.npz: No such file or directory")


@pytest.mark.parametrize("name, content", [("other.npy", b"hidden"), ("samples.npy", CONTENT)])
def test_there_is_room_for_nothing_else(place, name, content):
    place.write_bytes(CONTENT)
    with zipfile.ZipFile(place, "a") as archive, pytest.warns(UserWarning) if "samples" in name else io.StringIO():
        archive.writestr(name, content)
    assert npz.check_npz(place).verdict != Verdict.CONSISTENT


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[" * 9000, '{"kgan": {}, "xmp": {}}', json.dumps({"kgan": {"z": {"recipe": "draws"}}, "xmp": {}})],
)
def test_marks_that_are_none(place, text):
    np.savez(place, samples=SAMPLES, labels=LABELS, marks=text)
    assert npz.check_npz(place).verdict == Verdict.INCONSISTENT


def test_a_label_of_a_producer_that_cannot_be(place):
    place.write_bytes(written("Acme Labs"))
    text = str(np.load(place)["marks"]).replace("Acme\\\\u0020Labs", "\\\\u0020")
    np.savez(place, samples=SAMPLES, labels=LABELS, marks=text)
    assert npz.check_npz(place).verdict == Verdict.INCONSISTENT


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(place, position, difference):
    changed = bytearray(CONTENT)
    changed[position] ^= difference
    place.write_bytes(changed)
    assert npz.check_npz(place).verdict in (Verdict.INCONSISTENT, Verdict.CANNOT_TELL)


@fuzz(damaged(CONTENT, written("Acme Labs")))
def test_a_damaged_file_is_judged_all_the_same(place, content):
    place.write_bytes(content)
    result = npz.check_npz(place)
    assert all(reason.isprintable() for reason in result.reasons)
    assert result.verdict != Verdict.CONSISTENT or content in (CONTENT, written("Acme Labs"))


RECORD = json.loads(str(np.load(io.BytesIO(written("Acme Labs")))["marks"]))


@fuzz(changed(RECORD))
def test_marks_of_any_content_are_judged_all_the_same(place, record):
    np.savez(place, samples=SAMPLES, labels=LABELS, marks=json.dumps(record))
    assert (npz.check_npz(place).verdict == Verdict.CONSISTENT) == (record == RECORD)
