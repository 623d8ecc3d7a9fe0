"""`kgan data`, and what `kgan train --dataset=folder` makes of the record it writes."""

import json

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from kgan import TrainConfig
from kgan.data.licensing import permission
from kgan.data.licensing.inspection import inspect
from kgan.errors import UserError
from kgan.runs.rundir import RunDir
from kgan.training import plan
from tests.conftest import draw_folder, kgan, refused
from tests.making import FORBIDDEN


def forbid(path) -> None:
    """Saves an image again with XMP that forbids training on it."""
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", FORBIDDEN)
    with Image.open(path) as picture:
        picture.save(path, pnginfo=info)


@pytest.fixture
def bare(folder):
    """48 images in two classes without a dataset.json."""
    (folder / "dataset.json").unlink()
    return folder


def settings(folder, **more) -> TrainConfig:
    return TrainConfig(
        dataset="folder", data_dir=str(folder), image_size=28, channels=1, arch="mlp", batch_size=8, **more
    )


def test_list_names_the_built_in_sources_with_their_licences(tmp_path, monkeypatch):
    monkeypatch.setenv("KGAN_CACHE_DIR", str(tmp_path))
    done = kgan("data", "list")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "CC-BY-SA-3.0" in rows["mnist"] and " MIT " in rows["fashion_mnist"] and "none stated" in rows["cifar10"]
    assert "60,000 + 10,000" in rows["mnist"] and "yann.lecun.com" in rows["mnist"]


def test_inspect_counts_and_writes_the_card(bare):
    (bare / "class0" / "copy.png").write_bytes((bare / "class0" / "0000.png").read_bytes())
    (bare / "class1" / "broken.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(bare / "class1" / "wide.png")
    forbid(bare / "class0" / "0002.png")
    facts = [
        "--license=cc-by-4.0",
        "--source=my garden",
        "--holder=Ann",
        "--nocontains_people",
        "--consent=none needed",
    ]
    done = kgan("data", "inspect", bare, *facts)
    assert (done.returncode, done.stderr) == (0, "")
    card = json.loads((bare / "dataset.json").read_text())
    assert card["license"] == "CC-BY-4.0" and card["origin"] == "my garden" and card["holder"] == "Ann"
    assert card["contains_people"] is False and card["consent"] == "none needed" and card["name"] == "images"
    assert (card["num_images"], card["duplicates"], card["unreadable"], card["datamining_prohibited"]) == (50, 1, 1, 1)
    assert card["classes"] == {"class0": 25, "class1": 25} and card["sizes"] == {"28x28": 49, "30x20": 1}
    assert len(card["files_sha256"]) == 64 and card["sha256"] == ""
    assert "broken.png: not a readable image" in done.stdout and "0002.png: DMI-PROHIBITED-AIMLTRAINING" in done.stdout
    assert "--ignore_datamining" in done.stdout.splitlines()[-1]
    again = kgan("data", "inspect", bare, "--holder=Bea")
    assert again.returncode == 0
    assert json.loads((bare / "dataset.json").read_text()) == card | {"holder": "Bea"}


def test_inspect_names_other_formats_and_gives_sizes_as_a_range(tmp_path):
    for side in range(10, 30):
        Image.new("L", (side, side)).save(tmp_path / f"{side}.png")
    (tmp_path / "photo.heic").write_bytes(b"")
    shown = " ".join(kgan("data", "inspect", tmp_path, "--license=MIT").stdout.split())
    assert "sizes 10x10 to 29x29, median 19x19" in shown
    assert "pictures of formats that are not read: 1 .heic; convert them to PNG or JPEG" in shown
    card = json.loads((tmp_path / "dataset.json").read_text())
    assert card["sizes"] == {} and card["size_range"] == ["10x10", "19x19", "29x29"]
    trained_on = plan.make_plan(settings(tmp_path)).card
    assert trained_on["other_formats"] == {".heic": 1}
    assert any("1 .heic" in line for line in permission.warnings(trained_on))


def test_the_data_folder_is_stored_absolute_and_names_the_run(folder, tmp_path, monkeypatch):
    named = folder.rename(tmp_path / "cats & dogs, серые")
    monkeypatch.chdir(tmp_path)
    config = plan.make_plan(settings(named.name)).config
    assert config.data_dir == str(named)
    run = RunDir.create(None, config)
    run.unlock()
    assert run.path.name == "00000-cats-dogs-серые-mlp-rpgan"
    assert run.read_config().data_dir == str(named)


def test_without_data_dir_a_folder_is_sought_in_a_folder_of_its_own_then_in_all(folder, tmp_path, monkeypatch):
    config = settings(None).replace(data_dir=None)
    monkeypatch.setenv("KGAN_DATA_DIR", str(folder))
    assert plan.make_plan(config).card["num_images"] == 48
    monkeypatch.setenv("KGAN_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match="has no licence on record"):  # the whole of it
        plan.make_plan(config)
    folder.rename(tmp_path / "folder")
    assert plan.make_plan(config).card["num_images"] == 48


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "say `kgan data list`"),
        (["inspect"], "say `kgan data list`"),
        (["inspect", ""], "say `kgan data list`"),
        (["inspect", "nowhere"], "nowhere: not a folder"),
        (["inspect", "."], ".: no images in it"),
        (["inspect", ".", "--license=MITT"], "'MITT' is no SPDX licence: did you mean"),
    ],
)
def test_mistakes_get_one_line(tmp_path, arguments, words):
    assert words in refused("data", *arguments, cwd=tmp_path)


def test_a_folder_without_a_licence_does_not_train(bare, folder_flags, tmp_path):
    words = refused("train", *folder_flags, f"--run_dir={tmp_path / 'run'}")
    assert f"images has no licence on record: write one with `kgan data inspect {bare} --license" in words
    assert "--accept_unknown_license" in words
    assert not (tmp_path / "run").exists()


def test_overrides_are_on_record(bare):
    for name in ("class0/0000.png", "class1/0001.png"):
        forbid(bare / name)
    with pytest.raises(UserError, match="no licence on record"):
        plan.make_plan(settings(bare, ignore_datamining=True))
    with pytest.raises(UserError, match="2 images of images forbid data mining .* --ignore_datamining"):
        plan.make_plan(settings(bare, accept_unknown_license=True))
    card = plan.make_plan(settings(bare, accept_unknown_license=True, ignore_datamining=True)).card
    assert card["overrides"] == ["accept_unknown_license", "ignore_datamining"]
    assert card["license"] == "" and card["datamining_prohibited"] == 2
    lines = permission.warnings(card)
    assert any("--accept_unknown_license is set" in line for line in lines)
    (bare / "dataset.json").write_text(inspect(bare, license="MIT").card.to_json())
    assert plan.make_plan(settings(bare, accept_unknown_license=True, ignore_datamining=True)).card["overrides"] == [
        "ignore_datamining"
    ]
    says_nothing = {"name": "x", "license": "MIT", "files_sha256": inspect(bare).card.files_sha256}
    (bare / "dataset.json").write_text(json.dumps(says_nothing))
    with pytest.raises(UserError, match="2 images of x forbid data mining"):
        plan.make_plan(settings(bare))


def test_a_card_speaks_for_the_files_it_was_written_for(folder):
    first = plan.make_plan(settings(folder)).card
    assert first["license"] == "CC0-1.0" and first["overrides"] == [] and first["num_train"] == 44
    assert first["files_sha256"] == json.loads((folder / "dataset.json").read_text())["files_sha256"]
    other = plan.make_plan(settings(folder).replace(image_size=32)).card
    assert other["files_sha256"] == first["files_sha256"] and other["sha256"] != first["sha256"]
    content = (folder / "class0" / "0000.png").read_bytes()
    forbid(folder / "class0" / "0000.png")
    with pytest.raises(UserError, match=r"changed since dataset.json was written: run `kgan data inspect .*` again"):
        plan.make_plan(settings(folder))
    (folder / "class0" / "0000.png").write_bytes(content)
    (folder / "class0" / "0000.png").rename(folder / "class1" / "0000.png")
    with pytest.raises(UserError, match="changed since"):
        plan.make_plan(settings(folder))
    (folder / "dataset.json").write_text('{"name": "x", "license": "MIT"}')
    with pytest.raises(UserError, match=r"dataset.json names no files: write it with `kgan data inspect"):
        plan.make_plan(settings(folder))
    (folder / "dataset.json").write_text("{")
    with pytest.raises(UserError, match="dataset.json: .* not JSON"):
        plan.make_plan(settings(folder))


def test_a_named_set_without_a_licence_only_warns():
    card = draw_card("cifar10", "")
    assert permission.permitted("cifar10") is None
    assert permission.warnings(card) == [
        "warning: cifar10 states no licence: find out what you may do with what is trained on it"
    ]
    assert permission.warnings(draw_card("mnist", "CC-BY-SA-3.0")) == []


def draw_card(name: str, license: str) -> dict:
    return {"name": name, "license": license, "overrides": []}


def test_a_resumed_run_may_switch_a_check_off(tmp_path):
    saved = settings(draw_folder(tmp_path / "x"))
    resumed = plan.resume_config(saved, {"accept_unknown_license": True})
    assert resumed.accept_unknown_license and not saved.accept_unknown_license


def test_inspect_says_what_comes_next(bare):
    lines = kgan("data", "inspect", bare).stdout.splitlines()
    assert lines[-2].startswith("No licence is on record")
    assert lines[-1] == f"Next: kgan data inspect {bare} --license=SPDX-ID --source=..."
    lines = kgan("data", "inspect", bare, "--license=MIT").stdout.splitlines()
    assert lines[-1] == f"Next: kgan train --dataset=folder --data_dir={bare}"
