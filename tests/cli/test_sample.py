"""`kgan sample`: what its files are called and hold, and that an image depends on seed and index alone."""

import base64
import hashlib
import io
import json
import shlex
import shutil
import subprocess
import xml.dom.minidom

import numpy as np
import pytest
from PIL import Image

import kgan as package
from kgan import images
from kgan.errors import UserError
from kgan.files import write_atomically
from kgan.latents import latents
from kgan.provenance.check import Verdict, check
from kgan.provenance.marks import COMPOSITE, GENERATED
from kgan.sampling import draw
from tests.conftest import kgan, refused

IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
TC260 = "http://www.tc260.org.cn/ns/AIGC/1.0/"
XMP = "http://ns.adobe.com/xap/1.0/"


def test_every_field_is_read_by_pillow_and_an_xml_parser(trained_run, tmp_path):
    flags = ["--num=3", "--seed=7", f"--out={tmp_path / 'out'}", "--producer=Acme Labs", "--truncation=0.7"]
    done = kgan("sample", trained_run, *flags, "--label=1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "wrote 4 files" in done.stdout and "next:     kgan verify" in done.stdout
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"seed00000007-{rest}.png" for rest in ("000000", "000001", "000002", "grid")]
    record = json.loads((trained_run / "run.json").read_text())
    with Image.open(tmp_path / "out" / names[2]) as picture:
        marks, packet, pixels = json.loads(picture.text["kgan"]), picture.text["XML:com.adobe.xmp"], np.array(picture)
    z = np.frombuffer(base64.b64decode(marks["z"]), "<f4")
    assert np.array_equal(z, latents(7, [2], 100, 0.7)[0])
    assert marks["run_id"] == record["id"] and marks["data_sha256"] == record["dataset"]["sha256"]
    assert marks["data_license"] == record["dataset"]["license"] == "CC0-1.0"
    assert (marks["seed"], marks["index"], marks["label"], marks["ema"], marks["truncation"]) == (7, 2, 1, True, 0.7)
    assert marks["pixels_sha256"] == hashlib.sha256(b"28x28x1\n" + pixels.tobytes()).hexdigest()
    assert set(marks["versions"]) >= {"kgan", "tensorflow", "keras"}
    assert str(tmp_path) not in json.dumps(marks) + packet and str(trained_run) not in json.dumps(marks) + packet
    xmp = xml.dom.minidom.parseString(packet)

    def field(namespace: str, name: str) -> str:
        (element,) = xmp.getElementsByTagNameNS(namespace, name)
        return element.firstChild.data

    source_type = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert field(IPTC, "DigitalSourceType") == source_type
    assert field(IPTC, "AISystemUsed") == f"kgan {record['id']}"
    assert field(IPTC, "AISystemVersionUsed") == marks["checkpoint_sha256"]
    assert field(XMP, "CreatorTool").startswith("kgan ")
    text = field(TC260, "AIGC")
    label = json.loads(text)
    assert text.isascii() and " " not in text
    assert label["Label"] == "1" and label["ContentProducer"] == label["ContentPropagator"] == "Acme Labs"
    assert label["ProduceID"] == label["PropagateID"] != "" and label["ReservedCode1"] == label["ReservedCode2"] == ""
    assert len(label) == 7


def test_an_image_depends_on_seed_and_index_alone(writer, tmp_path):
    few, many = writer(tmp_path / "few"), writer(tmp_path / "many")
    few.singles(3, grid=True, caption=True)
    many.singles(130, grid=False, caption=False)
    for index in range(3):
        name = f"seed00000000-{index:06}.png"
        assert (tmp_path / "few" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()
    (path,) = writer(tmp_path / "few").npz(130)
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["samples"].shape == (130, 28, 28, 1) and arrays["samples"].dtype == np.uint8
        assert arrays["labels"].tolist() == [index % 2 for index in range(130)]
        for index in (0, 99, 100, 129):
            with Image.open(tmp_path / "many" / f"seed00000000-{index:06}.png") as picture:
                assert np.array_equal(np.array(picture), arrays["samples"][index, ..., 0])
        marks = json.loads(str(arrays["marks"]))
        assert marks["xmp"]["Iptc4xmpExt:DigitalSourceType"].endswith("trainedAlgorithmicMedia")
        digest = hashlib.sha256(b"130x28x28x1\n" + arrays["samples"].tobytes()).hexdigest()
        assert marks["kgan"]["pixels_sha256"] == digest
    content = path.read_bytes()
    assert writer(tmp_path / "few").npz(130)[0].read_bytes() == content


def test_labels_truncation_and_weights_change_the_image(writer, tmp_path):
    settings = [{}, {"label": 1}, {"truncation": 0.5}, {"seed": 1}, {"ema": False}]
    contents = set()
    for number, more in enumerate(settings):
        (path,) = writer(tmp_path / str(number), **more).singles(1, grid=False, caption=True)
        with Image.open(path) as picture:
            contents.add(np.array(picture).tobytes())
    assert len(contents) == len(settings)


def test_a_path_is_a_strip_and_an_animation_with_its_marks(writer, tmp_path):
    strip, animation, sidecar = writer(tmp_path / "a").interpolation(3, caption=False)
    (first,) = writer(tmp_path / "b", label=0).singles(1, grid=False, caption=False)
    with Image.open(strip) as picture, Image.open(first) as single:
        assert picture.size == (2 * (17 * 30 + 2), 2 * 32)  # 2 legs of 8 frames and the last, twice enlarged
        assert np.array_equal(np.array(picture)[4:60:2, 4:60:2], np.array(single))
    with Image.open(animation) as picture:
        assert 2 <= picture.n_frames <= 49 and picture.size == (112, 112)
    assert sidecar == animation.with_name(animation.name + ".json")
    record = json.loads(sidecar.read_text())
    assert record["file_sha256"] == hashlib.sha256(animation.read_bytes()).hexdigest()
    assert record["kgan"]["z"] == {"recipe": "slerp", "indices": [0, 1, 2, 0], "frames": 49}


def test_the_caption_stands_below_the_pictures():
    pictures = np.full((6, 28, 28, 3), 90, np.uint8)
    plain, captioned = images.captioned_grid(pictures, caption=False), images.captioned_grid(pictures)
    assert np.array_equal(captioned[: plain.shape[0], : plain.shape[1]], plain)
    band = captioned[plain.shape[0] :]
    assert band.min() == 0 and 0.02 < (band == 0).mean() < 0.4
    assert images.captioned(np.zeros((5, 5, 1), np.uint8)).shape[1] > 60


def test_a_grey_animation_keeps_its_pixels():
    frames = np.random.default_rng(0).integers(0, 256, (5, 40, 30, 1), np.uint8)
    assert np.array_equal(images.read_gif(images.gif(frames), 1, 10**6), frames)
    assert images.read_gif(images.gif(frames), 1, 10) is None
    assert images.read_gif(images.gif(frames)[:100], 1, 10**6) is None


def test_other_images_are_never_replaced(writer, tmp_path):
    writer(tmp_path / "a").singles(4, grid=True, caption=True)
    writer(tmp_path / "a").singles(6, grid=True, caption=False)
    for more in ({"ema": False}, {"truncation": 0.5}, {"label": 1}):
        with pytest.raises(UserError, match=r"000000.png is there already and holds something else: .* --out"):
            writer(tmp_path / "a", **more).singles(4, grid=True, caption=True)
    (tmp_path / "b").mkdir()
    Image.new("L", (28, 28)).save(tmp_path / "b" / "seed00000000-000003.png")
    with pytest.raises(UserError, match="000003.png is there already"):
        writer(tmp_path / "b").singles(4, grid=True, caption=True)
    assert len(list((tmp_path / "b").iterdir())) == 1
    (tmp_path / "b" / "seed00000000.npz").write_bytes(b"mine")
    with pytest.raises(UserError, match="npz is there already"):
        writer(tmp_path / "b").npz(4)
    writer(tmp_path / "c", producer="ACME").singles(2)
    writer(tmp_path / "c", producer="ACME").singles(2)
    with pytest.raises(UserError, match="000000.png is there already with a signature or a producer's label: give"):
        writer(tmp_path / "c").singles(2)


def test_no_path_or_array_of_another_class_or_length_is_replaced(writer, tmp_path):
    for more, num in (({"label": 1}, 3), ({}, 3)):
        folder = tmp_path / str(len(more))
        made = [*writer(folder, **more).interpolation(num), *writer(folder, **more).npz(num)]
        before = {path: path.read_bytes() for path in made}
        assert [*writer(folder, **more).interpolation(num), *writer(folder, **more).npz(num)] == made
        for other in (writer(folder, label=0).interpolation, writer(folder, label=0).npz) if more else ():
            with pytest.raises(UserError, match="holds something else"):
                other(num)
        for other in (writer(folder, **more).interpolation, writer(folder, **more).npz):
            with pytest.raises(UserError, match="holds something else"):
                other(num + 1)
        made[0].unlink()  # the GIF alone is in the way too
        with pytest.raises(UserError, match="gif is there already and holds something else"):
            writer(folder, **more).interpolation(num + 1)
        assert {path: path.read_bytes() for path in made[1:]} == {path: before[path] for path in made[1:]}


def test_a_strangers_json_beside_an_animation_is_something_else(writer, tmp_path):
    for content in ("[" * 100_000, "7", "{", "[]" + " " * 2**18):
        (tmp_path / "seed00000000-interpolation.gif").write_bytes(b"mine")
        (tmp_path / "seed00000000-interpolation.gif.json").write_text(content)
        with pytest.raises(UserError, match="gif is there already and holds something else"):
            writer(tmp_path).interpolation(2)


def test_a_crash_leaves_no_animation_without_its_marks(writer, tmp_path, monkeypatch):
    class Crash(Exception):
        pass

    def crash(path, content):
        if ".gif" in path.name and list(tmp_path.glob("*.gif*")):
            raise Crash
        write_atomically(path, content)

    monkeypatch.setattr("kgan.sampling.write.write_atomically", crash)
    with pytest.raises(Crash):
        writer(tmp_path).interpolation(2)
    assert list(tmp_path.glob("*.gif")) == []


def test_other_files_are_overwritten_on_request(trained_run, tmp_path):
    mine = tmp_path / "seed00000000-000001.png"
    mine.write_bytes(b"mine")
    assert "--overwrite" in refused("sample", trained_run, "--num=2", f"--out={tmp_path}")
    assert mine.read_bytes() == b"mine"
    assert kgan("sample", trained_run, "--num=2", f"--out={tmp_path}", "--overwrite").returncode == 0
    assert check(mine).verdict == Verdict.CONSISTENT


def test_samples_of_other_weights_settings_and_steps_leave_the_earlier_files(trained_run, tmp_path):
    run = tmp_path / "серый 28 px"
    shutil.copytree(trained_run, run, ignore=shutil.ignore_patterns("generated"))
    flags = [[], ["--noema"], ["--truncation=0.5"], ["--label=class1"], ["--label=0", "--truncation=0.5", "--noema"]]
    for more in flags:
        assert kgan("sample", run, "--num=2", *more).returncode == 0
    package.train(run_dir=run, resume=True, steps=6)
    done = kgan("sample", run, "--num=2")
    assert done.returncode == 0, done
    names = sorted(path.name for path in (run / "generated").iterdir())
    assert names == [
        "step-0000004",
        "step-0000004-label-0-truncation-0.5-noema",
        "step-0000004-label-1",
        "step-0000004-noema",
        "step-0000004-truncation-0.5",
        "step-0000006",
    ]
    files = {path.name for path in (run / "generated/step-0000004-label-1").iterdir()}
    assert files == {"seed00000000-000000.png", "seed00000000-000001.png", "seed00000000-grid.png"}
    before = {path: path.read_bytes() for path in (run / "generated").rglob("*.png")}
    assert kgan("sample", run, "--num=3").returncode == 0
    assert {path: path.read_bytes() for path in before if "step-0000006/seed00000000-grid" not in str(path)} == {
        path: content for path, content in before.items() if "step-0000006/seed00000000-grid" not in str(path)
    }
    next_command = shlex.split(done.stdout.partition("next:")[2])
    assert next_command[-3:] == ["verify", str(run / "generated/step-0000006"), f"--run={run}"]
    assert kgan("verify", run / "generated", f"--run={run}").returncode == 0


def test_the_next_command_can_be_typed(trained_run, tmp_path, monkeypatch):
    """It is run by a shell, as it is printed, in the same folder."""
    (tmp_path / "my run").symlink_to(trained_run)
    monkeypatch.chdir(tmp_path)
    done = kgan("sample", "my run", "--num=1", "--out=my images", new_process=True)
    line = done.stdout.partition("next:")[2].strip()
    typed = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=300)
    assert typed.returncode == 0, (line, typed)
    assert "2 images: 2 verified" in typed.stdout


def test_classes_are_named_above_their_columns(writer, tmp_path):
    grid = writer(tmp_path / "titled").singles(64)[-1]
    with Image.open(grid) as picture:
        titled = np.array(picture)
    trained = writer(tmp_path / "plain").trained
    recipe, settings = draw.grid_recipe(trained, draw.SampleSettings(0))
    plain = draw.draw_grid(trained, recipe, settings, titles=False)[..., 0]
    band = titled[: len(titled) - len(plain)]
    assert np.array_equal(titled[len(band) :], plain)
    assert (band.min(axis=0) == 0).any() and band[:, :3].min() == 255
    columns = [band[:, 3 + 60 * place : 60 + 60 * place] for place in range(8)]
    assert np.array_equal(columns[0], columns[2]) and not np.array_equal(columns[0], columns[1])


def test_a_picture_is_projected(writer, trained_run, tmp_path):
    """Onto itself, where the run made it; the latent gives the nearest picture back."""
    target = writer(tmp_path / "made", seed=9).singles(2, grid=False)[1]
    target = target.rename(target.with_name(f"{'x' * 240}.png"))
    done = kgan("sample", trained_run, f"--project={target}", "--label=1", f"--out={tmp_path / 'out'}")
    assert (done.returncode, done.stderr) == (0, "") and "the nearest latent comes within" in done.stdout
    files = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files] == [f"projection-{'x' * 100}.{suffix}" for suffix in ("json", "png")]
    record = json.loads(files[0].read_text())
    assert record["label"] == 1 and record["checkpoint_sha256"] == package.load(trained_run).checkpoint_sha256
    other = writer(tmp_path / "made", seed=10).singles(2, grid=False)[1]
    with Image.open(target) as picture, Image.open(other) as unlike, Image.open(files[1]) as pair:
        wanted, unlike, pair = np.array(picture), np.array(unlike), np.array(pair)[..., None]
    nearest = package.load(trained_run).generate(z=np.array([record["z"]], "float32"), labels=1)[0, ..., 0]
    error = np.square((nearest - wanted.astype(float)) / 127.5).mean()
    assert record["mean_squared_error"] == pytest.approx(error, abs=1e-4)
    assert error < np.square((unlike - wanted.astype(float)) / 127.5).mean() / 4
    assert np.array_equal(
        pair, images.captioned_grid(np.stack([nearest, wanted])[..., None], 2, True, ("nearest", "given"))
    )
    checked = check(files[1])
    assert checked.verdict == Verdict.CONSISTENT and checked.source_type == COMPOSITE and checked.marks.z is None
    assert kgan("verify", files[1], f"--run={trained_run}").returncode == 2
    assert "--overwrite" in refused("sample", trained_run, f"--project={target}", f"--out={tmp_path / 'out'}")


def test_a_seed_is_one_that_a_file_name_and_the_command_have_room_for(trained_run, tmp_path):
    for seed in (-1, 2**31):
        with pytest.raises(UserError, match=f"--seed={seed}: must be 0 to 2,147,483,647"):
            package.sample(trained_run, seed=seed, out=tmp_path)


def test_progress_is_told(trained_run, tmp_path):
    told = []
    package.sample(
        trained_run, num=130, npz=True, out=tmp_path, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(100, 130), (130, 130)]


def test_a_wrong_label_or_producer_is_refused_before_anything_is_written(writer, tmp_path):
    with pytest.raises(UserError, match="a label must be one of 0 to 1"):
        writer(tmp_path / "a", label=2)
    with pytest.raises(UserError, match="--producer"):
        writer(tmp_path / "a", producer=" x")


def test_training_marks_its_pictures_and_not_the_real_ones(trained_run):
    record = json.loads((trained_run / "run.json").read_text())
    with Image.open(trained_run / "samples" / "step-0000004.png") as picture:
        assert json.loads(picture.text["kgan"])["run_id"] == record["id"]
    with Image.open(trained_run / "samples" / "reals.png") as picture:
        assert picture.text == {}
    sidecar = json.loads((trained_run / "training.gif.json").read_text())
    content = (trained_run / "training.gif").read_bytes()
    assert sidecar["file_sha256"] == hashlib.sha256(content).hexdigest()
    assert Image.open(io.BytesIO(content)).format == "GIF"


def test_real_images_stand_beside_generated_ones_of_their_class(trained_run):
    with Image.open(trained_run / "comparison.png") as picture:
        pixels, text = np.asarray(picture), picture.text
    assert COMPOSITE in text["XML:com.adobe.xmp"] and GENERATED not in text["XML:com.adobe.xmp"]
    with Image.open(trained_run / "samples" / "step-0000004.png") as picture:
        generated = np.asarray(picture)
    assert np.array_equal(pixels[:, -generated.shape[1] :], generated)
    images = {
        label: [np.asarray(Image.open(path)) for path in (trained_run.parent / "images" / name).glob("*.png")]
        for label, name in enumerate(("class0", "class1"))
    }
    top = 13 + 4  # below the titles and a gutter; every pixel is drawn twice each way
    for column in range(8):
        left = 4 + column * 60
        shown = pixels[top : top + 56 : 2, left : left + 56 : 2]
        assert any(np.array_equal(shown, image) for image in images[column % 2])


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "name one run folder"),
        (["nowhere"], "nowhere: not a run folder"),
        (["RUN", "--num=0"], "--num=0: must be from 1 to 1,000,000"),
        (["RUN", "--num=1", "--interpolate"], "--num=1: must be from 2 to 32 with --interpolate"),
        (["RUN", "--npz", "--interpolate"], "--interpolate, --npz and --project are different"),
        (["RUN", "--checkpoint=3"], "--checkpoint=3: must be best, last or one of the steps 4"),
        (["RUN", "--seed=-1"], "--seed"),
        (["RUN", "--project=x.png", "--seed=1"], "--seed is for images that are drawn: leave it out, or --project"),
        (["RUN", "--project=x.png", "--num=3"], "--num is for images that are drawn"),
        (["RUN", "--project=x.png", "--truncation=0.5"], "--truncation is for images that are drawn"),
        (["RUN", "--project=x.png", "--nogrid"], "--grid is for single images"),
        (["RUN", "--interpolate", "--nogrid"], "--grid is for single images"),
        (["RUN", "--npz", "--nocaption"], "--caption is for pictures of several images"),
        (["RUN", "--truncation=0"], "--truncation"),
        (["RUN", "--project=nowhere.png"], "nowhere.png: No such file"),
        (["RUN", "--c2pa_cert=", "--c2pa_key="], "--c2pa_cert"),
        (["RUN", "--project=x.png", "--npz"], "--interpolate, --npz and --project are different"),
        (["RUN", "--label=class7"], "--label=class7: a label must be one of 0 to 1, or of class0, class1"),
    ],
)
def test_mistakes_get_one_line(trained_run, tmp_path, arguments, words):
    arguments = [str(trained_run) if argument == "RUN" else argument for argument in arguments]
    assert words in refused("sample", *arguments, cwd=tmp_path)
