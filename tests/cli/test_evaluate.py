"""`kgan evaluate`: one number for the same samples wherever they lie, beside the floor, with its protocol."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kgan as package
from tests.conftest import draw_folder, kgan, refused

COUNT = 70  # more than the 64 principal components, less than half of the 144 training images


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory):
    """A cache of its own, and a terminal that is wide enough for the table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KGAN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("COLUMNS", "120")
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """160 unlabelled images, a short run on them, and its images of seeds 0 and 1 as files, twice."""
    from kgan.runs.generator import load
    from kgan.sampling.draw import SampleSettings
    from kgan.sampling.write import Writer

    root = tmp_path_factory.mktemp("evaluate")
    data = draw_folder(root / "images", 160, classes=0)
    settings = {"dataset": "folder", "image_size": 28, "channels": 1, "arch": "mlp", "batch_size": 16, "steps": 4}
    trained = load(package.train(**settings, data_dir=str(data), run_dir=root / "run"))
    for seed in (0, 1):
        (root / "npz").mkdir(exist_ok=True)
        Writer(trained, SampleSettings(seed), root / "npz", "").npz(COUNT)
    (root / "files").mkdir()
    Writer(trained, SampleSettings(0), root / "files", "").singles(COUNT, grid=True, caption=True)
    Writer(trained, SampleSettings(0), root / "files", "").interpolation(2, caption=True)
    return root


def evaluate(*arguments) -> tuple[dict, str]:
    """The report and the output of a command that must succeed."""
    done = kgan("evaluate", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    written = next(line for line in done.stdout.splitlines() if line.startswith("wrote "))
    return json.loads(Path(written.removeprefix("wrote ")).read_text()), done.stdout


def of_samples(place: Path, path: Path, *flags) -> tuple[dict, str]:
    return evaluate(f"--samples={path}", "--dataset=folder", f"--data_dir={place / 'images'}", *flags)


def test_a_folder_an_npz_and_a_run_give_the_same_number(place):
    files, output = of_samples(place, place / "files")
    assert "skipped seed00000000-grid.png: a grid" in output and "N = 70 (all the samples there are)" in output
    assert output.count("skipped") == 3  # also the strip and the animation
    assert (place / "files" / "evaluation.json").exists()
    first, _ = of_samples(place, place / "npz" / "seed00000000.npz")
    assert (place / "npz" / "seed00000000-evaluation.json").exists()
    second, _ = of_samples(place, place / "npz" / "seed00000001.npz", f"--out={place / 'new folder/second.json'}")
    assert second["protocol"]["samples"] == "all 70 images in seed00000001.npz"
    run, output = evaluate(place / "run", "--repeats=2", "--num_samples=70")
    assert files["scores"] == first["scores"] != second["scores"]
    assert files["floor"] == first["floor"] == second["floor"] == run["floor"]
    digests = [report["protocol"]["samples_sha256"] for report in (first, second)]
    assert files["protocol"]["samples_sha256"] == digests[0]
    assert run["protocol"]["samples_sha256"] == digests[0] + digests[1]
    for name, score in run["scores"].items():
        assert score == (first["scores"][name] + second["scores"][name]) / 2
    difference = abs(first["scores"]["frechet_distance"] - second["scores"]["frechet_distance"])
    assert run["spread"]["frechet_distance"] == pytest.approx(difference / np.sqrt(2))
    assert "mean of 2 seeds" in output and "sd over seeds" in output
    check_report(run, place)
    check_table(output)


def check_report(report: dict, place: Path) -> None:
    record = json.loads((place / "run" / "run.json").read_text())
    names = {"frechet_distance", "kernel_distance", "kernel_distance_std", "precision", "recall", "density", "coverage"}
    assert set(report["scores"]) == set(report["floor"]) == names
    assert report["scores"]["frechet_distance"] > report["floor"]["frechet_distance"] > 0
    assert "kernel_distance_std" not in report["spread"]
    how = report["protocol"]
    assert (how["features"], how["distance_name"], how["num_samples"], how["num_reference"]) == (
        "pca",
        "PCA FD",
        70,
        70,
    )
    assert how["reference"] == "train" and how["reference_images"] == 144 and how["num_heldout"] == 16
    assert how["data_sha256"] == record["dataset"]["sha256"] and how["run_id"] == record["id"]
    assert (how["step"], how["ema"], how["seeds"]) == (4, True, [0, 1])
    assert len(how["checkpoint_sha256"]) == len(how["features_sha256"]) == 64
    assert "not a standard error" in how["kernel_distance"]


def check_table(output: str) -> None:
    assert "N = 70 (--num_samples=70)" in output
    assert "the images have no colour, and the data set has no labels" in output
    row = next(line for line in output.splitlines() if line.startswith("PCA FD"))
    assert len(row.split()) == 6  # two words, the score, the baseline, the spread, "lower"
    assert "\nkernel distance " in output and "(sd): of kernel distance over" in output
    assert row.split()[-1] == "lower" and "higher, up to the baseline" in output


def test_mistakes_get_one_line(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mnist5k = "--dataset=mnist5k"
    samples = np.zeros((80, 28, 28, 1), np.uint8)
    np.savez(tmp_path / "floats.npz", samples=samples / 2)
    np.savez(tmp_path / "few.npz", samples=samples[:64])
    np.savez(tmp_path / "nameless.npz", pictures=samples)
    folder = ["--dataset=folder", f"--data_dir={place / 'images'}"]
    few = f"--samples={tmp_path / 'few.npz'}"
    for arguments, words in [
        ([], "name one run folder, or give --samples"),
        ([tmp_path], "not a run folder"),
        ([place / "run", mnist5k], "--dataset is for --samples"),
        ([place / "run", "--checkpoint=3"], "--checkpoint=3: must be best, last or one of the steps 4"),
        ([place / "run", "--features=classifier"], "--features=classifier needs a labelled data set"),
        ([place / "run", "--features=inception", "--inception_graph=nowhere"], "--inception_graph=nowhere"),
        ([place / "run", "--num_samples=50"], "50 images are too few for pca features"),
        ([place / "run", "--reference=test"], "folder has no test images"),
        ([few], "--samples needs --dataset or --train"),
        (["--samples=x.npz", mnist5k], "--samples=x.npz: there is no such file or folder"),
        ([few, *folder, "--seed=1"], "--seed is for a run"),
        ([few, *folder], "64 images are too few for pca features"),
        ([f"--samples={tmp_path / 'floats.npz'}", *folder], "samples is float64 (80, 28, 28, 1); it must be uint8"),
        (
            [f"--samples={tmp_path / 'nameless.npz'}", *folder],
            "it has no array called samples (arrays in it: pictures): the images must be a folder, an .npz with",
        ),
        (
            [f"--samples={place / 'files'}", *folder, f"--out={place / 'run/config.json/x.json'}"],
            "cannot be written there",
        ),
    ]:
        assert words in refused("evaluate", *arguments), arguments


def test_samples_of_another_size_are_refused_not_resized(place, tmp_path):
    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    Image.new("L", (32, 28)).save(tmp_path / "b.png")
    flags = ["--dataset=folder", f"--data_dir={place / 'images'}"]
    message = refused("evaluate", f"--samples={tmp_path}", *flags)
    assert "b.png: 28x32 pixels, and 28x28 are needed" in message
