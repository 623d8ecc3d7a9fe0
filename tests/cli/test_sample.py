"""`kgan sample`: what its files are called and hold, and that an image depends on seed and index alone."""

import base64
import hashlib
import io
import json
import xml.dom.minidom

import numpy as np
import pytest
from PIL import Image

from kgan import images
from kgan.errors import UserError
from kgan.latents import latents
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


def test_a_path_is_a_strip_and_a_film_with_its_marks(writer, tmp_path):
    strip, animation = writer(tmp_path / "a").interpolation(3, caption=False)
    (first,) = writer(tmp_path / "b", label=0).singles(1, grid=False, caption=False)
    with Image.open(strip) as picture, Image.open(first) as single:
        assert picture.size == (2 * (17 * 30 + 2), 2 * 32)  # 2 legs of 8 frames and the last, twice enlarged
        assert np.array_equal(np.array(picture)[4:60:2, 4:60:2], np.array(single))
    with Image.open(animation) as picture:
        assert 2 <= picture.n_frames <= 49 and picture.size == (112, 112)
    record = json.loads(animation.with_name(animation.name + ".json").read_text())
    assert record["file_sha256"] == hashlib.sha256(animation.read_bytes()).hexdigest()
    assert record["kgan"]["z"] == {"recipe": "slerp", "indices": [0, 1, 2, 0], "frames": 49}


def test_the_caption_stands_below_the_pictures():
    pictures = np.full((6, 28, 28, 3), 90, np.uint8)
    plain, captioned = images.captioned_grid(pictures, caption=False), images.captioned_grid(pictures)
    assert np.array_equal(captioned[: plain.shape[0], : plain.shape[1]], plain)
    band = captioned[plain.shape[0] :]
    assert band.min() == 0 and 0.02 < (band == 0).mean() < 0.4
    assert images.captioned(np.zeros((5, 5, 1), np.uint8)).shape[1] > 60


def test_a_grey_film_keeps_its_pixels():
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


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "name one run folder"),
        (["nowhere"], "nowhere: not a run folder"),
        (["RUN", "--num=0"], "--num=0: must be from 1 to 1,000,000"),
        (["RUN", "--num=1", "--interpolate"], "--num=1: must be from 2 to 32 with --interpolate"),
        (["RUN", "--npz", "--interpolate"], "--interpolate and --npz"),
        (["RUN", "--checkpoint=3"], "--checkpoint=3: must be best, last or one of the steps 4"),
        (["RUN", "--seed=-1"], "--seed"),
        (["RUN", "--truncation=0"], "--truncation"),
    ],
)
def test_mistakes_get_one_line(trained_run, tmp_path, arguments, words):
    arguments = [str(trained_run) if argument == "RUN" else argument for argument in arguments]
    assert words in refused("sample", *arguments, cwd=tmp_path)
