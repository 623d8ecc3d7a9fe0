"""What is written into a PNG, as other programs read it."""

import base64
import hashlib
import json
import re
import uuid
import xml.dom.minidom
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kgan.errors import UserError
from kgan.images import write_png
from kgan.latents import latents, slerp_recipe
from kgan.provenance.marks import COMPOSITE, Marks, describe, pixels_sha256, pnginfo, sidecar
from kgan.provenance.png import BadMetadata
from tests.provenance.marked_pngs import ORIGIN, picture, png_bytes, sample_marks, sample_png, sheet_png, split, text_in

ANCESTOR = {"run_id": "0a", "checkpoint_sha256": "a" * 64, "data_sha256": "", "data_license": "MIT"}
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
XMP = "http://ns.adobe.com/xap/1.0/"
TC260 = "http://www.tc260.org.cn/ns/AIGC/1.0/"


def xmp_value(packet: str, namespace: str, name: str) -> str | None:
    found = xml.dom.minidom.parseString(packet.encode()).getElementsByTagNameNS(namespace, name)
    assert len(found) <= 1
    return found[0].firstChild.data if found else None


def test_pillow_and_another_xml_parser_read_every_field_by_its_exact_name(tmp_path):
    image = picture(3, channels=3)
    write_png(tmp_path / "a.png", image, pnginfo(sample_marks(image, label=7, truncation=0.8), producer="ACME"))
    with Image.open(tmp_path / "a.png") as opened:
        packet, mark = opened.info["XML:com.adobe.xmp"], json.loads(opened.info["kgan"])  # before the pixels are loaded
        np.testing.assert_array_equal(np.asarray(opened), image)
    assert xmp_value(packet, IPTC, "DigitalSourceType") == (
        "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    )
    assert xmp_value(packet, IPTC, "AISystemUsed") == "kgan 00007-mnist-dcgan-ns"
    assert xmp_value(packet, IPTC, "AISystemVersionUsed") == "c" * 64
    assert xmp_value(packet, XMP, "CreatorTool") == "kgan 0.1.0"
    z = latents(11, [3], 16, truncation=0.8)[0]
    assert mark == {
        "run_id": "00007-mnist-dcgan-ns",
        "checkpoint_sha256": "c" * 64,
        "data_sha256": "d" * 64,
        "data_license": "CC-BY-SA-3.0",
        "seed": 11,
        "index": 3,
        "label": 7,
        "ema": True,
        "truncation": 0.8,
        "z": base64.b64encode(z.astype("<f4").tobytes()).decode(),
        "pixels_sha256": hashlib.sha256(b"12x13x3\n" + image.tobytes()).hexdigest(),
        "versions": {"kgan": "0.1.0", "tensorflow": "2.21.0"},
    }


def test_the_prefixes_are_the_usual_ones_and_the_packet_is_read_only():
    packet = text_in(sample_png(producer="ACME"), "XML:com.adobe.xmp")
    for name in ("Iptc4xmpExt:DigitalSourceType", "Iptc4xmpExt:AISystemUsed", "xmp:CreatorTool", "TC260:AIGC"):
        assert packet.count(f"<{name}>") == 1
    assert packet.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    assert packet.endswith('<?xpacket end="r"?>')


def test_marks_stand_uncompressed_before_the_pixels():
    kinds = [kind for kind, _ in split(sample_png())]
    assert kinds == [b"IHDR", b"iTXt", b"iTXt", b"IDAT", b"IEND"]
    assert [data.split(b"\0")[0] for kind, data in split(sample_png()) if kind == b"iTXt"] == [
        b"XML:com.adobe.xmp",
        b"kgan",
    ]


@pytest.mark.parametrize("producer", ["ACME", "Acme Labs & Söhne <i>", "示例公司", '"quoted"\\'])
def test_the_implicit_label_is_seven_ascii_strings_without_spaces(producer):
    text = xmp_value(text_in(sample_png(producer=producer), "XML:com.adobe.xmp"), TC260, "AIGC")
    assert text.isascii() and not re.search(r"\s", text)
    label = json.loads(text)
    assert list(label) == [
        *("Label", "ContentProducer", "ProduceID", "ReservedCode1"),
        *("ContentPropagator", "PropagateID", "ReservedCode2"),
    ]
    assert label["Label"] == "1" and label["ReservedCode1"] == label["ReservedCode2"] == ""
    assert label["ContentProducer"] == label["ContentPropagator"] == producer
    assert label["ProduceID"] == label["PropagateID"]
    identifier = uuid.UUID(label["ProduceID"])
    assert identifier.version == 8 and identifier.variant == uuid.RFC_4122


def test_each_image_has_an_id_of_its_own_and_the_same_image_always_the_same():
    labels = [xmp_value(text_in(sample_png(i, producer="A"), "XML:com.adobe.xmp"), TC260, "AIGC") for i in (0, 1, 0)]
    assert labels[0] == labels[2] != labels[1]


def test_without_a_producer_there_is_no_implicit_label():
    assert "TC260" not in text_in(sample_png(), "XML:com.adobe.xmp")


@pytest.mark.parametrize("producer", [" ", "a\nb", " a", "x" * 201, "a\u202eb"])
def test_a_producer_that_cannot_stand_in_the_label_is_a_user_error(producer):
    with pytest.raises(UserError, match="--producer"):
        sample_png(producer=producer)


def test_a_mixed_picture_is_a_composite():
    image = picture(5)
    origin = ORIGIN.__class__("", "", "", "", False, {"kgan": "0.1.0"})
    content = png_bytes(image, pnginfo(describe(origin, image), COMPOSITE))
    packet = text_in(content, "XML:com.adobe.xmp")
    assert xmp_value(packet, IPTC, "DigitalSourceType").endswith("/compositeWithTrainedAlgorithmicMedia")
    assert xmp_value(packet, IPTC, "AISystemUsed") is None and xmp_value(packet, IPTC, "AISystemVersionUsed") is None


def test_a_sheet_and_an_interpolation_carry_their_recipe():
    assert json.loads(text_in(sheet_png(), "kgan"))["z"] == {"recipe": "draws", "first": 0, "count": 4}
    image = picture(8)
    marks = describe(ORIGIN, image, seed=4, z=slerp_recipe([1, 2], 9))
    assert Marks.from_json(marks.to_json()) == marks


def test_a_gif_gets_the_same_marks_as_json_beside_it():
    frames = np.stack([picture(i) for i in range(3)])
    marks = describe(ORIGIN, frames, seed=0, z=slerp_recipe([0, 1], 3))
    record = json.loads(sidecar(marks, "walk.gif", b"GIF89a", producer="ACME"))
    assert record["file"] == "walk.gif" and record["file_sha256"] == hashlib.sha256(b"GIF89a").hexdigest()
    assert record["xmp"]["Iptc4xmpExt:DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert record["kgan"]["z"] == {"recipe": "slerp", "indices": [0, 1], "frames": 3}
    assert record["kgan"]["pixels_sha256"] == pixels_sha256(frames)


def test_the_pixel_hash_knows_the_shape_and_not_the_memory_layout():
    image = picture(0, channels=3)
    assert pixels_sha256(image) == pixels_sha256(np.asfortranarray(image))
    assert len({pixels_sha256(part) for part in (image, image.reshape(13, 12, 3), image[..., :1], image[:-1])}) == 4


def test_numpy_numbers_are_written_as_plain_json():
    marks = sample_marks(
        picture(), seed=np.int64(11), index=np.uint64(3), label=np.int32(1), truncation=np.float32(0.5)
    )
    assert json.loads(marks.to_json())["truncation"] == 0.5
    assert Marks.from_json(marks.to_json()) == marks


def test_ancestors_are_named_where_there_are_any():
    marks = replace(sample_marks(picture()), ancestors=[ANCESTOR])
    assert json.loads(marks.to_json())["ancestors"] == [ANCESTOR]
    assert Marks.from_json(marks.to_json()) == marks
    plain = sample_marks(picture()).to_json()
    assert "ancestors" not in plain
    with pytest.raises(BadMetadata, match="rewritten"):
        Marks.from_json('{"ancestors":[],' + plain[1:])


def test_the_latent_comes_back_bit_for_bit():
    marks = Marks.from_json(sample_marks(picture()).to_json())
    np.testing.assert_array_equal(marks.latent(), latents(11, [3], 16)[0])
    assert marks.latent().dtype == np.float32


@pytest.mark.parametrize(
    "field, value",
    [
        ("run_id", "/home/ann/runs/1"),
        ("run_id", "a\nb"),
        ("run_id", ""),
        ("checkpoint_sha256", "C" * 64),
        ("checkpoint_sha256", ""),
        ("data_sha256", "d" * 63),
        ("data_license", "\x1b[31m"),
        ("ema", 1),
        ("ancestors", [{}]),
        ("ancestors", {"run_id": "a"}),
        ("ancestors", [ANCESTOR | {"run_id": ""}]),
        ("ancestors", [ANCESTOR | {"run_id": "/home/ann/runs/1"}]),
        ("ancestors", [ANCESTOR | {"data_license": "\n"}]),
        ("ancestors", [ANCESTOR | {"path": "x"}]),
        ("versions", {}),
        ("versions", {"tensorflow": "2"}),
        ("versions", {"kgan": 1}),
        ("seed", -1),
        ("seed", None),
        ("index", None),
        ("index", 2**64),
        ("index", True),
        ("label", -1),
        ("label", "3"),
        ("label", [[1]]),
        ("truncation", 0.0),
        ("truncation", 1),
        ("z", None),
        ("z", "AAAA"),
        ("z", "AAAAAA="),
        ("z", "AAAAAB=="),
        ("z", {"recipe": "none"}),
        ("z", {"recipe": "draws", "first": 0, "count": 4}),
        ("pixels_sha256", ""),
    ],
)
def test_values_of_the_wrong_kind_are_neither_written_nor_read(field, value):
    content = json.loads(sample_marks(picture()).to_json()) | {field: value}
    with pytest.raises((ValueError, UserError)):
        Marks(**content)
    with pytest.raises(BadMetadata) as error:
        Marks.from_json(json.dumps(content, sort_keys=True, separators=(",", ":")))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",", ", "),
        lambda text: text + "\n",
        lambda text: text.replace('"index":3', '"index":3,"index":3'),
        lambda text: text.replace('"index":3', '"index":3,"extra":3'),
        lambda text: text.replace('"index":3,', ""),
        lambda text: text.replace('"truncation":null', '"truncation":NaN'),
        lambda text: text.replace('"truncation":null', '"truncation":1e999'),
        lambda text: text.replace('"index":3', '"index":' + "9" * 5000),
        lambda text: "[" * 100_000,
        lambda text: '{"z":' * 50_000,
        lambda text: "3",
        lambda text: "",
    ],
)
def test_only_the_very_bytes_that_kgan_writes_are_read(change):
    with pytest.raises(BadMetadata) as error:
        Marks.from_json(change(sample_marks(picture()).to_json()))
    assert "\n" not in str(error.value) and len(str(error.value)) < 200
