"""`kgan.audit` on arrays and files of anyone: the record it returns, saves and draws."""

import json

import numpy as np
import pytest
from PIL import Image

import kgan
from kgan import plots
from kgan.auditing import exceedance_pvalue, neighbour_ratios
from kgan.errors import UserError
from kgan.provenance import png
from kgan.provenance.marks import COMPOSITE, read_marks
from tests.auditing.test_comparison import HELDOUT, HONEST, TRAIN, with_copies

COPIES = with_copies(HONEST[:150], TRAIN[:20])


@pytest.fixture(scope="module")
def copied():
    return kgan.audit(samples=COPIES, train=TRAIN, heldout=HELDOUT)


@pytest.fixture
def captions(monkeypatch) -> dict:
    """What is drawn when a result's pairs are: by block, (images, neighbours, captions); and the note."""
    drawn = {}
    monkeypatch.setattr(plots, "closest_pairs", lambda columns, other, note: drawn.update(columns, note=note))
    return drawn


def test_arrays_of_any_generator(copied):
    assert copied.verdict == "copies found"
    assert {entry["train_index"] for entry in copied.flagged} >= set(range(20))
    assert copied.protocol["num_train"] == 400 and copied.protocol["heldout"] == "as given"
    in_order = kgan.auditing.audit(COPIES[..., 0], TRAIN[..., 0], HELDOUT[..., 0])
    assert in_order.to_dict() == copied.to_dict()


def test_printed_it_says_the_verdict_why_and_the_copies_that_it_would_have_found(copied):
    first, verdict, *others = str(copied).splitlines()
    assert first == f"{len(COPIES)} samples, 400 training images, {len(HELDOUT)} held-out images"
    assert verdict == f"copies found: {copied.reason}."
    rows = [line.split() for line in others if line.startswith("exact ")]
    assert rows == [["exact", f"{copied.detection_limit['exact']:.2%}", "100%"]]


def test_a_file_is_its_array(copied, tmp_path):
    np.save(tmp_path / "samples.npy", COPIES)
    np.savez(tmp_path / "train.npz", TRAIN)
    found = kgan.audit(samples=tmp_path / "samples.npy", train=tmp_path / "train.npz", heldout=HELDOUT)
    assert found.flagged == copied.flagged and found.p_values == copied.p_values
    assert found.protocol["dataset"] == "train.npz" and "samples.npy" in found.protocol["samples"]


def test_a_memory_map_is_not_read_as_a_whole(copied, tmp_path):
    np.save(tmp_path / "train.npy", TRAIN)
    mapped = np.load(tmp_path / "train.npy", mmap_mode="r")
    assert kgan.audit(samples=COPIES, train=mapped, heldout=HELDOUT).to_dict() == copied.to_dict()


def test_the_record_is_saved_and_drawn(copied, tmp_path):
    copied.save(tmp_path / "audit.json")
    assert json.loads((tmp_path / "audit.json").read_text()) == copied.to_dict()
    files = copied.save_pictures(tmp_path)
    assert [path.name for path in files] == ["audit-pairs.png", "audit-ratios.png"]
    assert COMPOSITE in read_marks(png.read(files[0]))[1].values()
    with Image.open(files[1]) as picture:
        assert picture.width > 500


def test_the_picture_shows_a_training_image_once(captions):
    often = with_copies(HONEST[:150], np.repeat(TRAIN[7:8], 30, axis=0))
    result = kgan.audit(samples=often, train=TRAIN, heldout=HELDOUT)
    assert sum(entry["train_index"] == 7 for entry in result.flagged) == 30
    result.pairs()
    _, neighbours, lines = captions["AI-generated"]
    assert len({image.tobytes() for image in neighbours}) == len(neighbours) > 1
    assert lines[0].endswith("- 7: 0.00 flagged") and sum("- 7:" in line for line in lines) == 1


@pytest.mark.parametrize("heldout", [HELDOUT[:5], np.concatenate([HELDOUT, TRAIN[:150]])], ids=["few", "copies"])
def test_an_audit_that_cannot_tell_flags_nothing_in_its_picture(captions, heldout):
    result = kgan.audit(samples=COPIES, train=TRAIN, heldout=heldout)
    assert result.verdict == "cannot tell"
    result.pairs()
    assert not any("flagged" in line for block in ("AI-generated", "held-out (unseen)") for line in captions[block][2])
    assert "nothing is flagged" in captions["note"]


def test_works_that_it_was_not_trained_on_take_the_place_of_the_training_images():
    result = kgan.audit(samples=COPIES, train=HONEST[150:], heldout=HELDOUT, against=TRAIN)
    assert result.verdict == "copies found" and result.protocol["against"] == "an array"
    assert "swap" not in result.p_values["pixels"] and "close to a known work" in result.reason
    assert result.ratios().axes[-1].get_xlabel().startswith("distance to the nearest known work")
    alone = kgan.audit(samples=COPIES, heldout=HELDOUT, against=TRAIN)  # nobody knows what it was trained on
    assert alone.flagged == result.flagged and alone.p_values == result.p_values and "dataset" not in alone.protocol


def test_pictures_that_cannot_be_drawn_leave_the_old_ones(copied, tmp_path, monkeypatch):
    before = {path: path.read_bytes() for path in copied.save_pictures(tmp_path)}
    other = kgan.audit(samples=HONEST[:50], train=TRAIN, heldout=HELDOUT)
    monkeypatch.setattr(plots, "ratio_histograms", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        other.save_pictures(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_samples_that_are_not_square_are_refused_before_the_data_are_read(tmp_path):
    with pytest.raises(UserError, match="--samples=an array: images of 8x12; --dataset=folder has square ones"):
        kgan.audit(samples=COPIES[:, :8], dataset="folder", data_dir=str(tmp_path / "nowhere"))


def test_progress_ends_at_its_total():
    calls = []
    kgan.audit(samples=COPIES[:20], train=TRAIN, heldout=HELDOUT[:30], progress=lambda *done: calls.append(done))
    assert calls[-1][0] == calls[-1][1] and calls == sorted(calls)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": None}, "name one run folder, or give --samples"),
        ({"run": HONEST}, "name one run folder, or give --samples"),
        ({"run": "runs/x"}, "name one run folder, or give --samples"),
        ({"train": None}, "--dataset or --train, or known works"),
        ({"dataset": "mnist"}, "--dataset and --train both say"),
        ({"num_heldout": 3}, "--num_heldout divides --dataset"),
        ({"data_dir": "images"}, "--data_dir says where --dataset lies"),
        ({"samples": "nowhere.npz"}, "--samples=nowhere.npz: there is no such file or folder"),
        ({"samples": HONEST / 255}, "samples is float64"),
        ({"train": TRAIN[:, :8]}, "8x12x1"),
        ({"shifts": 3}, "--shifts=3: must be 0 to 2"),
        ({"samples": HONEST[:, :4], "train": TRAIN[:, :4], "heldout": HELDOUT[:, :4], "shifts": 2}, "4x12"),
        ({"alpha": 1.0}, "--alpha=1.0"),
        ({"num_samples": 0}, "--num_samples=0"),
        ({"seed": 1}, "--seed is for a run"),
        ({"recover": True}, "--recover is for a run"),
        ({"recover": True, "against": TRAIN}, "leave out --against"),
    ],
)
def test_misuse_is_a_user_error(change, message):
    with pytest.raises(UserError, match=message):
        kgan.audit(**{"samples": HONEST, "train": TRAIN, "heldout": HELDOUT, **change})


def test_the_building_blocks_are_public():
    ratios, indices, distances = neighbour_ratios(TRAIN[:3], TRAIN, k=5)
    assert ratios.tolist() == distances.tolist() == [0, 0, 0] and indices.tolist() == [0, 1, 2]
    assert exceedance_pvalue(10, 10, 0) == 1
