"""A GIF and the JSON beside it, both of any content."""

import json

import numpy as np

from kgan.images import gif
from kgan.latents import slerp_recipe
from kgan.provenance.check import Verdict
from kgan.provenance.marks import describe, sidecar
from kgan.provenance.sidecars import check_animation, sidecar_path
from tests.fuzzing import changed, damaged, fuzz
from tests.provenance.marked_pngs import ORIGIN, picture

FRAMES = np.stack([picture(index) for index in range(3)])
GIF = gif(FRAMES)
MARKS = describe(ORIGIN, FRAMES, seed=1, z=slerp_recipe([0, 1], 3))
TEXT = sidecar(MARKS, "x.gif", GIF, producer="Acme Labs").encode()


def check(folder, content: bytes, text: bytes) -> None:
    """Whatever they are, they are judged; consistent are those that say what kgan wrote, under any file name."""
    (folder / "x.gif").write_bytes(content)
    sidecar_path(folder / "x.gif").write_bytes(text)
    result = check_animation(folder / "x.gif")
    assert all(reason.isprintable() for reason in result.reasons)
    if result.verdict == Verdict.CONSISTENT:
        assert content == GIF and json.loads(text) | {"file": ""} == json.loads(TEXT) | {"file": ""}


def test_what_kgan_writes_is_consistent(tmp_path):
    (tmp_path / "x.gif").write_bytes(GIF)
    sidecar_path(tmp_path / "x.gif").write_bytes(TEXT)
    assert check_animation(tmp_path / "x.gif").verdict == Verdict.CONSISTENT


@fuzz(damaged(GIF), damaged(TEXT, b"[" * 5000))
def test_damaged_files_are_judged_all_the_same(tmp_path_factory, content, text):
    check(tmp_path_factory.getbasetemp(), content, text)


@fuzz(changed(json.loads(TEXT)))
def test_marks_of_any_content_are_judged_all_the_same(tmp_path_factory, record):
    check(tmp_path_factory.getbasetemp(), GIF, (json.dumps(record, indent=1) + "\n").encode())
