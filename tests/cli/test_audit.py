"""`kgan audit`: verdicts and exit codes on images whose copies are known, the evidence it leaves, and misuse."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kgan import plots, train
from kgan.data import sources
from kgan.provenance import png
from kgan.provenance.marks import COMPOSITE, read_marks
from kgan.runs.generator import load
from tests.conftest import draw_folder, kgan, refused
from tests.making import smooth_images


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """train.npz (300), heldout.npz (200), honest.npz (150), copies.npz (the same with 20 training images)."""
    root = tmp_path_factory.mktemp("audit")
    train, heldout, honest = (smooth_images(count, seed, 16) for seed, count in enumerate((300, 200, 150)))
    copies = np.concatenate([honest[:130], train[7:147:7]])
    for name, images in {"train": train, "heldout": heldout, "honest": honest, "copies": copies}.items():
        np.savez(root / f"{name}.npz", samples=images)
    return root


def audit(place: Path, name: str, *flags, code: int) -> tuple[dict, str]:
    out = place / f"out-{name}-{len(list(place.iterdir()))}"
    train = (
        [] if any(flag.startswith(("--train", "--dataset")) for flag in flags) else [f"--train={place / 'train.npz'}"]
    )
    done = kgan("audit", f"--samples={place / name}", *train, f"--out={out}", *flags)
    assert (done.returncode, done.stderr) == (code, "")
    return json.loads((out / "audit.json").read_text()), done.stdout


def test_honest_samples_are_acquitted_with_the_sensitivity(place):
    report, output = audit(place, "honest.npz", f"--heldout={place / 'heldout.npz'}", code=0)
    assert report["verdict"] == "no copying detected" and report["num_flagged"] == len(report["flagged"])
    assert set(report["p_values"]["pixels"]) == set(report["p_values"]["pca"]) == {"count", "exceedance", "swap"}
    assert report["protocol"]["heldout"] == "as given" and report["num_samples"] == 150
    assert 0 < report["detection_limit"]["exact"] < 0.2
    assert "no copying detected" in output and "at this sensitivity" in output and "infring" not in output
    assert "150 samples, 300 training images, 200 held-out images" in output


def test_copies_are_found_listed_and_shown(place):
    report, output = audit(place, "copies.npz", f"--heldout={place / 'heldout.npz'}", code=1)
    assert report["verdict"] == "copies found" and "copies found" in output
    pairs = {entry["sample"]: entry["train_index"] for entry in report["flagged"] if entry["ratio"] < 0.01}
    assert pairs == {130 + i: 7 + 7 * i for i in range(20)}
    out = Path(next(line for line in output.splitlines() if line.startswith("wrote ")).split(" to ")[-1])
    marks, xmp = read_marks(png.read(out / "audit-pairs.png"))
    assert COMPOSITE in xmp.values() and marks.run_id == "" and marks.z is None
    with Image.open(out / "audit-pairs.png") as picture:
        assert picture.width > 500 and len(np.unique(np.asarray(picture))) > 50
    assert (out / "audit-ratios.png").exists()


def test_a_folder_and_an_npz_give_the_same_record(place):
    files = place / "files"
    for name in ("copies", "train", "heldout"):
        (files / name).mkdir(parents=True)
        with np.load(place / f"{name}.npz") as archive:
            for number, image in enumerate(archive["samples"]):
                Image.fromarray(image.squeeze()).save(files / name / f"{number:04}.png")
    by_file, _ = audit(place, "files/copies", f"--train={files / 'train'}", f"--heldout={files / 'heldout'}", code=1)
    by_array, _ = audit(place, "copies.npz", f"--heldout={place / 'heldout.npz'}", code=1)
    for report in (by_file, by_array):
        del report["protocol"]["samples"], report["protocol"]["dataset"]
    assert all(entry.pop("file") == f"{entry['sample']:04}.png" for entry in by_file["flagged"])
    assert by_file == by_array


def test_of_an_array_sorted_by_kind_all_kinds_are_looked_at(place):
    with np.load(place / "honest.npz") as honest, np.load(place / "copies.npz") as copies:
        np.savez(place / "late.npz", samples=np.concatenate([honest["samples"], copies["samples"]]))
    report, _ = audit(place, "late.npz", f"--heldout={place / 'heldout.npz'}", "--num_samples=200", code=1)
    assert report["protocol"]["samples"] == "200 of the 300 images in late.npz, at random"
    pairs = {entry["sample"]: entry["train_index"] for entry in report["flagged"] if entry["ratio"] < 0.01}
    assert len(pairs) > 5 and all(train == 7 + 7 * (sample - 280) for sample, train in pairs.items())


def test_without_heldout_images_it_cannot_tell(place):
    report, output = audit(place, "copies.npz", code=2)
    assert report["verdict"] == "cannot tell" and report["protocol"]["heldout"] == "none named"
    assert "--heldout=DIR" in output
    assert report["p_values"] == {} and report["measured_false_positive_rate"] is None


@pytest.mark.slow
def test_a_named_data_set_is_divided_only_if_told_so(place):
    np.savez(place / "digits.npz", samples=sources.load("mnist5k").images[::20])
    flags = ("--dataset=mnist5k",)
    report, output = audit(place, "digits.npz", *flags, code=2)
    assert report["verdict"] == "cannot tell" and report["protocol"]["num_train"] == 5000
    assert "--num_heldout=500\n" in output
    report, _ = audit(place, "digits.npz", *flags, "--num_heldout=500", code=1)
    assert report["duplicates"]["heldout_sampled"] == 33 and report["protocol"]["num_heldout"] == 500 - 33
    assert report["protocol"]["dataset"] == "mnist5k"


def test_known_works_that_were_not_trained_on(place):
    draw_folder(place / "works", 30, size=40, seed=0)
    with np.load(place / "honest.npz") as archive:
        honest = archive["samples"]
    works = [np.asarray(Image.open(path).resize((16, 16), Image.Resampling.LANCZOS))
             for path in sorted((place / "works").rglob("*.png"))[:8]]  # fmt: skip
    np.savez(place / "traced.npz", samples=np.concatenate([honest[:142], np.stack(works)[..., None]]))
    against = (f"--heldout={place / 'heldout.npz'}", f"--against={place / 'works'}")
    report, output = audit(place, "traced.npz", *against, code=1)
    assert "30 known works" in output and report["protocol"]["against"] == "works"
    assert "swap" not in report["p_values"]["pixels"]
    assert {entry["sample"] for entry in report["flagged"]} >= set(range(142, 150))
    report, _ = audit(place, "honest.npz", *against, code=0)
    assert report["verdict"] == "no copying detected"


def test_known_works_do_not_take_the_place_of_the_audit_of_the_training_images(place):
    shutil.copy(place / "honest.npz", place / "mine.npz")
    sources = [f"--samples={place / 'mine.npz'}", f"--train={place / 'train.npz'}"]
    for works in ("", "heldout", "train"):
        against = [f"--against={place / works}.npz"] if works else []
        assert kgan("audit", *sources, *against).returncode == 2  # no held-out images: it cannot tell
    found = {name: json.loads((place / "mine-audit" / name / "audit.json").read_text())["protocol"].get("against")
             for name in ("", "against-heldout.npz", "against-train.npz")}  # fmt: skip
    assert found == {"": None, "against-heldout.npz": "heldout.npz", "against-train.npz": "train.npz"}


def test_a_verdict_is_not_written_before_its_pictures(place, monkeypatch):
    sources = [f"--train={place / 'train.npz'}", f"--out={place / 'same'}"]
    kgan("audit", f"--samples={place / 'honest.npz'}", *sources)
    before = {path: path.read_bytes() for path in (place / "same").iterdir()}
    monkeypatch.setattr(plots, "closest_pairs", lambda *arguments: 1 / 0)
    assert kgan("audit", f"--samples={place / 'copies.npz'}", *sources).returncode == 3  # an unexpected error
    assert len(before) == 3 and {path: path.read_bytes() for path in (place / "same").iterdir()} == before


def test_a_run_with_its_own_heldout_images_and_with_more(trained_run, tmp_path):
    trained_run = shutil.copytree(trained_run, tmp_path / "run")
    done = kgan("audit", trained_run, "--num_samples=60")
    assert done.returncode == 2 and "4 held-out images are too few" in done.stdout
    more = draw_folder(tmp_path / "more", 60, seed=9)
    done = kgan("audit", trained_run, "--num_samples=60", f"--heldout={more}", f"--out={tmp_path}")
    assert (done.returncode, done.stderr) == (0, "")
    found = load(trained_run)
    for folder in (trained_run, tmp_path):
        report = json.loads((folder / "audit.json").read_text())
        assert report["protocol"]["checkpoint_sha256"] == found.checkpoint_sha256
        assert report["passes_per_image"] == pytest.approx(4 * 8 / 44)
        marks, _ = read_marks(png.read(folder / "audit-pairs.png"))
        assert marks.run_id == found.record["id"] and marks.data_sha256 == found.record["dataset"]["sha256"]
    np.savez(tmp_path / "same.npz", samples=found.generate(60))
    with np.load(tmp_path / "same.npz") as archive:
        assert report["protocol"]["sha256"]["samples"] == _digest(archive["samples"])


def test_images_that_an_ancestor_was_trained_on_do_not_calibrate(tmp_path):
    images = draw_folder(tmp_path / "images", 80)
    others = draw_folder(tmp_path / "others", 80, seed=1)
    settings = {"dataset": "folder", "image_size": 28, "channels": 1, "arch": "mlp", "width": 0.1, "batch_size": 8}

    def run(name: str, data: Path, num_heldout: int, init_from: str = "") -> Path:
        start = {"init_from": str(tmp_path / init_from)} if init_from else {}
        return train(
            **settings, **start, steps=1, data_dir=str(data), num_heldout=num_heldout, run_dir=tmp_path / name
        ).path

    def audited(path: Path, *flags) -> tuple[dict, str]:
        done = kgan("audit", path, "--num_samples=30", *flags)
        assert done.stderr == ""
        return json.loads((path / "audit.json").read_text()), done.stdout

    run("all", images, 0)
    report, output = audited(run("none_left", images, 30, "all"))
    assert report["verdict"] == "cannot tell" and report["protocol"]["num_heldout"] == 0
    assert "Of the 30 images that this run keeps back, 30 cannot calibrate: the weights that it started" in output
    assert "--recover compares" in refused("audit", tmp_path / "none_left", "--recover")
    report, output = audited(tmp_path / "none_left", f"--heldout={others}")
    assert report["protocol"]["num_heldout"] == 80 and "cannot calibrate" not in output
    run("some", images, 25)
    report, output = audited(run("some_left", images, 30, "some"))
    assert report["protocol"]["num_heldout"] == 25 and "keeps back, 5 cannot calibrate" in output
    report, output = audited(run("other", others, 30, "some"))
    assert report["protocol"]["num_heldout"] == 30 and "cannot calibrate" not in output
    assert "on images): these were not searched" in report["reason"]
    assert report["protocol"]["heldout"] == "the run's own, never trained on, as far as its own data tell"
    report, output = audited(tmp_path / "some")
    assert report["protocol"]["heldout"] == "the run's own, never trained on" and "started from" not in output


def _digest(images: np.ndarray) -> str:
    import hashlib

    return hashlib.sha256(images.tobytes()).hexdigest()


def test_latent_recovery_needs_heldout_images(trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "run")
    settings = json.loads((trained_run / "config.json").read_text()) | {"num_heldout": 0}
    (tmp_path / "run" / "config.json").write_text(json.dumps(settings))
    assert "this run has none" in refused("audit", tmp_path / "run", "--recover")


def test_latent_recovery_joins_the_record(trained_run, tmp_path):
    done = kgan("audit", trained_run, "--num_samples=30", "--recover", f"--out={tmp_path}")
    assert done.returncode == 2 and "Latent recovery: the generator" in done.stdout
    recovery = json.loads((tmp_path / "audit.json").read_text())["latent_recovery"]
    assert (recovery["num_train"], recovery["num_heldout"]) == (44, 4)
    assert 0 < recovery["p_value"] <= 1 and recovery["median_error_train"] > 0


def test_mistakes_get_one_line(place, trained_run, tmp_path):
    copies, train = f"--samples={place / 'copies.npz'}", f"--train={place / 'train.npz'}"
    np.savez(tmp_path / "wide.npz", samples=np.zeros((30, 20, 16, 1), np.uint8))
    np.savez(tmp_path / "floats.npz", samples=np.zeros((30, 16, 16, 1)))
    draw_folder(place / "elsewhere", 4)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 nothing")
    for arguments, words in [
        ([], "name one run folder, or give --samples"),
        ([tmp_path], "not a run folder"),
        ([trained_run, train], "--train is for --samples"),
        ([trained_run, "--checkpoint=3"], "--checkpoint=3: must be best, last or one of the steps 4"),
        ([trained_run, f"--data_dir={place / 'elsewhere'}"], "was trained on other images than images holds now"),
        ([copies], "--samples needs the images that its generator was trained on, --dataset or --train"),
        ([copies, train, "--dataset=mnist5k"], "--dataset and --train both say"),
        ([copies, train, "--num_heldout=5"], "--num_heldout divides --dataset"),
        ([copies, train, f"--data_dir={place}"], "--data_dir says where --dataset lies"),
        ([copies, train, "--recover"], "--recover is for a run"),
        ([copies, train, "--alpha=0"], "--alpha"),
        ([copies, train, "--shifts=3"], "shifts"),
        ([copies, f"--train={tmp_path / 'none'}"], "there is no such file or folder"),
        ([copies, f"--train={tmp_path / 'wide.npz'}"], "20x16x1"),
        ([copies, f"--train={tmp_path / 'floats.npz'}"], "samples is float64"),
        ([copies, f"--train={tmp_path / 'broken.npz'}"], "broken.npz: not a readable .npz"),
        ([copies, "--dataset=mnist5k"], "16x16x1, and 28x28x1 are needed"),
        ([copies, train, f"--out={place / 'train.npz' / 'x'}"], "name a folder with --out"),
    ]:
        assert words in refused("audit", *arguments)
    assert not (place / "copies-audit").exists()
