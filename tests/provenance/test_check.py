"""The reader of untrusted PNGs and the check of a file against itself."""

import base64
import io
import json
import os
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from kgan.errors import UserError
from kgan.images import write_png
from kgan.latents import slerp_recipe
from kgan.provenance.check import Verdict, check, check_png
from kgan.provenance.marks import COMPOSITE, GENERATED, describe, pnginfo
from kgan.provenance.png import MAX_TEXT_BYTES, parse
from kgan.provenance.xmp import named, properties
from tests.fuzzing import fuzz
from tests.provenance.marked_pngs import (
    ORIGIN,
    SIGNATURE,
    ihdr,
    join,
    picture,
    png_bytes,
    sample_marks,
    sample_png,
    sheet_png,
    split,
    text_chunk,
    text_in,
    with_text,
)

XMP_KEYWORD = "XML:com.adobe.xmp"


def judge(content: bytes):
    """The verdict and the reasons, in one string each, of a file with this content."""
    try:
        found = check_png(parse(content, "x.png"), "x.png")
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith("x.png: ")
        return Verdict.CANNOT_TELL, str(error)
    assert all("\n" not in reason and len(reason) < 300 for reason in found.reasons)
    assert bool(found.reasons) == (found.verdict != Verdict.CONSISTENT)
    return found.verdict, "; ".join(found.reasons)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("source_type", [GENERATED, COMPOSITE])
@pytest.mark.parametrize("more", [{}, {"producer": "Acme Labs"}, {"truncation": 0.5, "label": 4}])
def test_what_kgan_writes_is_consistent(tmp_path, channels, source_type, more):
    (tmp_path / "a.png").write_bytes(sample_png(channels=channels, source_type=source_type, **more))
    found = check(tmp_path / "a.png")
    assert (found.verdict, found.reasons, found.source_type) == (Verdict.CONSISTENT, (), source_type)
    np.testing.assert_array_equal(found.image, picture(3, channels))
    assert found.marks.index == 3


def test_sheets_and_interpolations_are_consistent():
    assert judge(sheet_png())[0] == Verdict.CONSISTENT
    image = picture(1)
    marks = describe(ORIGIN, image, seed=3, z=slerp_recipe([1, 2], 5))
    assert judge(png_bytes(image, pnginfo(marks)))[0] == Verdict.CONSISTENT


def test_one_pixel_changed_by_one_is_noticed_wherever_it_is():
    content = sample_png(channels=3)
    info = pnginfo(sample_marks(picture(3, 3)))
    rng = np.random.default_rng(0)
    for _ in range(50):
        image = picture(3, 3)
        place = tuple(rng.integers(size) for size in image.shape)
        image[place] = image[place] + 1 if image[place] < 255 else 254
        assert judge(png_bytes(image, info)) == (Verdict.INCONSISTENT, "the pixels are not the ones that were marked")
    assert judge(content)[0] == Verdict.CONSISTENT


def test_any_one_bit_of_z_is_noticed():
    content = sample_png()
    text = text_in(content, "kgan")
    z = base64.b64decode(json.loads(text)["z"])
    for bit in range(len(z) * 8):
        changed = bytearray(z)
        changed[bit // 8] ^= 1 << bit % 8
        new = text.replace(base64.b64encode(z).decode(), base64.b64encode(changed).decode())
        assert new != text
        verdict, reasons = judge(with_text(content, "kgan", new.encode()))
        assert verdict == Verdict.INCONSISTENT and "z is not the draw of its seed and index" in reasons


def test_z_is_noticed_even_when_all_marks_are_made_anew():
    image = picture(3)
    forged = sample_marks(image, z=sample_marks(image, index=4).latent())
    assert judge(png_bytes(image, pnginfo(forged))) == (
        Verdict.INCONSISTENT,
        "z is not the draw of its seed and index",
    )


def test_marks_copied_onto_another_image_are_noticed():
    info = pnginfo(sample_marks(picture(3)))
    assert judge(png_bytes(picture(4), info))[0] == Verdict.INCONSISTENT
    turned = np.ascontiguousarray(picture(3).transpose(1, 0, 2))
    assert judge(png_bytes(turned, info))[0] == Verdict.INCONSISTENT


@pytest.mark.parametrize(
    "old, new",
    [
        ('"run_id":"00007', '"run_id":"00008'),
        ('"checkpoint_sha256":"c', '"checkpoint_sha256":"a'),
        ('"data_sha256":"d', '"data_sha256":"a'),
        ("CC-BY-SA-3.0", "MIT"),
        ('"ema":true', '"ema":false'),
        ('"label":null', '"label":1'),
        ('"tensorflow":"2.21.0"', '"tensorflow":"2.22.0"'),
    ],
)
def test_a_change_of_any_other_mark_makes_the_two_copies_disagree(old, new):
    content = sample_png()
    text = text_in(content, "kgan")
    assert old in text
    verdict, reasons = judge(with_text(content, "kgan", text.replace(old, new).encode()))
    assert verdict == Verdict.INCONSISTENT and "disagree" in reasons


@pytest.mark.parametrize(
    "old, new",
    [
        ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"),
        ("trainedAlgorithmicMedia", "digitalCapture"),
        ("c" * 64, "e" * 64),
        ("AISystemVersionUsed", "AISystemVersion"),
        ("kgan 0.1.0", "GIMP"),
        ('"Label":"1"', '"Label":"2"'),
        ('"ContentProducer":"ACME"', '"ContentProducer":"EMCA"'),
        ("ProduceID", "ProducerID"),
        ("<TC260:AIGC>", "<TC260:AIGC>["),
        ("TC260:AIGC>", "TC260:AIGX>"),
        ("http://www.tc260.org.cn/ns/AIGC/1.0/", "http://www.tc260.org.cn/ns/AIGC/2.0/"),
        ("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "http://iptc.org/std/Iptc4xmpExt/"),
        ("<rdf:RDF", "<rdf:rdf"),
        ("</x:xmpmeta>", ""),
    ],
)
def test_a_change_of_the_xmp_is_noticed(old, new):
    content = sample_png(producer="ACME")
    text = text_in(content, XMP_KEYWORD)
    assert old in text
    assert judge(with_text(content, XMP_KEYWORD, text.replace(old, new).encode()))[0] == Verdict.INCONSISTENT


def test_what_others_may_add_is_let_be():
    content = sample_png(producer="ACME")
    text = text_in(content, XMP_KEYWORD)
    passed_on = text.replace('"ContentPropagator":"ACME"', '"ContentPropagator":"SITE"')
    titled = text.replace("<xmp:CreatorTool>", "<xmp:Rating>5</xmp:Rating><xmp:CreatorTool>")
    assert passed_on != text != titled
    for new in (passed_on, titled):
        assert judge(with_text(content, XMP_KEYWORD, new.encode()))[0] == Verdict.CONSISTENT
    chunks = split(content)
    assert judge(join([*chunks[:-1], (b"tEXt", b"Comment\0hello"), chunks[-1]]))[0] == Verdict.CONSISTENT


def test_missing_marks_say_which():
    plain = png_bytes(picture(3))
    assert judge(plain) == (Verdict.INCONSISTENT, "it has no kgan marks")
    assert judge(with_text(plain, XMP_KEYWORD, text_in(sample_png(), XMP_KEYWORD).encode()))[0] == Verdict.INCONSISTENT
    only_kgan = with_text(plain, "kgan", text_in(sample_png(), "kgan").encode())
    assert judge(only_kgan) == (Verdict.INCONSISTENT, "its XMP is missing")


@pytest.mark.parametrize("keyword", ["kgan", XMP_KEYWORD])
def test_two_texts_under_one_keyword_are_ambiguous(keyword):
    content = sample_png()
    text = text_in(content, keyword).encode()
    start, *rest = split(content)
    twins = [text_chunk(keyword, text), text_chunk(keyword.upper(), text), (b"tEXt", keyword.encode() + b"\0x")]
    twins += [text_chunk(" " + keyword, text), (b"zTXt", keyword.encode() + b"\0\0" + zlib.compress(text))]
    for twin in twins:
        verdict, reason = judge(join([start, twin, *rest]))
        assert verdict == Verdict.INCONSISTENT and "ambiguous" in reason
    raw = (b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(text))
    assert "ambiguous" in judge(join([start, raw, *rest]))[1]


def test_a_lone_text_of_another_kind_is_not_a_mark():
    content = sample_png()
    text = text_in(content, "kgan").encode()
    others = [chunk for chunk in split(content) if not chunk[1].startswith(b"kgan\0")]
    for chunk in ((b"tEXt", b"kgan\0" + text), text_chunk("KGAN", text)):
        assert judge(join([others[0], chunk, *others[1:]]))[0] == Verdict.INCONSISTENT


@pytest.mark.parametrize(
    "chunk",
    [
        (b"acTL", struct.pack(">II", 2, 0)),
        (b"tRNS", b"\0\5"),
        (b"gAMA", struct.pack(">I", 10)),
        (b"eXIf", b"MM\0*"),
        (b"iCCP", b"x\0\0" + zlib.compress(b"profile")),
        (b"zzZz", b""),
    ],
)
def test_chunks_that_change_how_the_same_pixels_look_are_noticed(chunk):
    start, *rest = split(sample_png())
    verdict, reasons = judge(join([start, chunk, *rest]))
    assert verdict == Verdict.INCONSISTENT and chunk[0].decode() in reasons


def test_ways_to_turn_the_same_pixels_are_noticed():
    start, *rest = split(sample_png())
    orientation = b"\nexif\n      20\n" + b"4d4d002a"
    for keyword in (b"Raw profile type exif", b"raw profile type exif", b"RawProfileType icc"):
        for chunk in (
            (b"zTXt", keyword + b"\0\0" + zlib.compress(orientation)),
            (b"tEXt", keyword + b"\0" + orientation),
        ):
            verdict, reasons = judge(join([start, chunk, *rest]))
            assert verdict == Verdict.INCONSISTENT and "turn or recolour it" in reasons
    turned = [
        (
            kind,
            data.replace(
                b"<rdf:Description ",
                b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3" ',
                1,
            ),
        )
        for kind, data in rest
    ]
    assert turned != rest
    verdict, reasons = judge(join([start, *turned]))
    assert verdict == Verdict.INCONSISTENT and "turn or recolour it" in reasons
    assert judge(join([start, (b"tEXt", b"Comment\0raw profile type"), *rest]))[0] == Verdict.CONSISTENT


def test_pixels_stored_in_another_form_are_noticed():
    marks = pnginfo(sample_marks(picture(3)))
    grey = Image.fromarray(picture(3)[..., 0])
    for mode in ("P", "LA", "RGBA", "I;16", "1", "RGB"):
        buffer = io.BytesIO()
        grey.convert(mode).save(buffer, "PNG", pnginfo=marks)
        assert judge(buffer.getvalue())[0] == Verdict.INCONSISTENT


# --- damage ---------------------------------------------------------------------------------------------------------


def test_every_truncation_cannot_tell():
    content = sample_png(producer="ACME")
    for length in range(len(content)):
        assert judge(content[:length])[0] == Verdict.CANNOT_TELL


def test_every_wrong_checksum_cannot_tell():
    content = sample_png()
    for place in range(len(SIGNATURE), len(content)):
        changed = bytearray(content)
        changed[place] ^= 0x40
        assert judge(bytes(changed))[0] == Verdict.CANNOT_TELL


def test_bytes_after_the_end_cannot_tell():
    assert "follow the end" in judge(sample_png() + b"PK\3\4")[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda chunks: chunks[:1] + chunks,
        lambda chunks: chunks[1:],
        lambda chunks: [chunk for chunk in chunks if chunk[0] != b"IDAT"],
        lambda chunks: [*chunks[:-1], chunks[1], (b"IDAT", b""), chunks[-1]],
        lambda chunks: [*chunks[:-1], (b"IEND", b"x")],
        lambda chunks: [chunks[0], (b"NEWx", b""), *chunks[1:]],
        lambda chunks: [chunks[0], (b"iTXt", b"kgan"), *chunks[1:]],
        lambda chunks: [chunks[0], (b"iTXt", b"kgan\0\2\0\0\0"), *chunks[1:]],
        lambda chunks: [chunks[0], (b"iTXt", b"kgan\0\1\7\0\0"), *chunks[1:]],
        lambda chunks: [chunks[0], (b"tEXt", b"k" * 80 + b"\0"), *chunks[1:]],
        lambda chunks: [chunks[0], (b"zTXt", b"Comment\0\7"), *chunks[1:]],
        lambda chunks: [ihdr(0, 12), *chunks[1:]],
        lambda chunks: [ihdr(13, 11), *chunks[1:]],
        lambda chunks: [ihdr(13, 13), *chunks[1:]],
        lambda chunks: [(b"IHDR", chunks[0][1] + b"\0"), *chunks[1:]],
        lambda chunks: [*chunks[:-1], (b"IDAT", b"tail"), chunks[-1]],
        lambda chunks: [*chunks[:-2], (b"IDAT", zlib.compress(b"\7" * 12 * 14)), chunks[-1]],  # no such filter
        lambda chunks: [*chunks[:-2], (b"IDAT", b"not zlib"), chunks[-1]],
        lambda chunks: [*chunks[:-2], (b"IDAT", chunks[-2][1][:-4] + b"oops"), chunks[-1]],  # Adler-32
    ],
)
def test_a_broken_structure_cannot_tell(change):
    assert judge(join(change(split(sample_png()))))[0] == Verdict.CANNOT_TELL


def test_files_that_cannot_be_read_cannot_tell(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text\n\x1b[31m.png").write_text("hello")
    for path in ["missing.png", ".", "pipe", "empty.png", "text\n\x1b[31m.png", "nul\0.png", "x" * 300]:
        found = check(f"{tmp_path}/{path}")
        assert found.verdict == Verdict.CANNOT_TELL and found.reasons[0].isprintable()


# --- bombs ----------------------------------------------------------------------------------------------------------


def judge_in_little_memory(content: bytes):
    tracemalloc.start()
    result = judge(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6 + 3 * len(content)
    return result


def test_a_hundred_megapixels_are_refused_from_the_header(tmp_path):
    content = join([ihdr(10_000, 10_000), *split(sample_png())[1:]])
    verdict, reason = judge_in_little_memory(content)
    assert verdict == Verdict.CANNOT_TELL and "100 megapixels" in reason
    with (tmp_path / "huge.png").open("wb") as stream:  # the rest, a sparse gigabyte, must not be read
        stream.write(content)
        stream.truncate(2**30)
    found = check(tmp_path / "huge.png")
    assert found.verdict == Verdict.CANNOT_TELL and "100 megapixels" in found.reasons[0]


def test_a_file_too_large_is_refused_unread(tmp_path):
    with (tmp_path / "huge.png").open("wb") as stream:
        stream.write(sample_png())
        stream.truncate(2**40)
    assert "MiB" in check(tmp_path / "huge.png").reasons[0]


def test_a_large_header_over_few_pixels_allocates_nothing():
    content = join([ihdr(8000, 8000, colour=2), *split(sample_png())[1:]])
    verdict, reason = judge_in_little_memory(content)
    assert verdict == Verdict.CANNOT_TELL and "truncated" in reason


def test_a_bomb_of_pixels_is_cut_off():
    bomb = zlib.compress(b"\0" * 100_000_000, 1)
    chunks = [chunk for chunk in split(sample_png()) if chunk[0] != b"IDAT"]
    verdict, reason = judge_in_little_memory(join([*chunks[:-1], (b"IDAT", bomb), chunks[-1]]))
    assert verdict == Verdict.CANNOT_TELL and "more compressed data" in reason


@pytest.mark.parametrize("keyword", ["kgan", XMP_KEYWORD])
def test_a_bomb_of_text_is_refused(keyword):
    for text, compressed in ((b" " * 50_000_000, True), (b" " * (MAX_TEXT_BYTES + 1), False)):
        verdict, reason = judge_in_little_memory(with_text(sample_png(), keyword, text, compressed))
        assert verdict == Verdict.INCONSISTENT and "longer" in reason


def test_compressed_text_is_read_and_damaged_text_is_not():
    content = sample_png()
    text = text_in(content, "kgan").encode()
    assert judge(with_text(content, "kgan", text, compressed=True))[0] == Verdict.CONSISTENT
    for data in (
        b"kgan\0\1\0\0\0" + zlib.compress(text)[:-5],
        b"kgan\0\1\0\0\0junk",
        b"kgan\0\0\0en\0\0" + text,
    ):
        chunks = [chunk for chunk in split(content) if not chunk[1].startswith(b"kgan\0")]
        assert judge(join([chunks[0], (b"iTXt", data), *chunks[1:]]))[0] == Verdict.INCONSISTENT


def test_too_many_chunks_are_refused():
    start, *rest = split(sample_png())
    content = join([start, *[(b"tEXt", b"a\0")] * 40_000, *rest])
    assert "chunks" in judge(content)[1]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc says how much memory was taken")
def test_the_process_stays_small(tmp_path):
    """The same with the memory of the whole process limited, Pillow's C code included."""
    (tmp_path / "a.png").write_bytes(join([ihdr(8000, 8000, colour=2), *split(sample_png())[1:]]))
    (tmp_path / "b.png").write_bytes(join([ihdr(10_000, 10_000, colour=2), *split(sample_png())[1:]]))
    code = (
        "import sys; from kgan.provenance.check import check; from tests.making import peak\n"
        "before = peak()\n"
        "print([check(path).verdict.exit_code for path in sys.argv[1:]])\n"
        "print(peak() - before)"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    verdicts, grown = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()
    assert verdicts == "[2, 2]"
    assert int(grown) < 96e6  # half of the pixels


# --- fuzz -----------------------------------------------------------------------------------------------------------


def told(content: bytes):
    """Pixels and marks as Pillow and the XMP reader see them, to hold a verdict of `consistent` against."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()  # texts may stand after the pixels
        fields = properties(image.info[XMP_KEYWORD])
        label = json.loads(fields.get(named("TC260:AIGC"), "{}"))
        for key in ("ContentPropagator", "PropagateID", "ReservedCode2"):  # these may change
            label.pop(key, None)
        names = ("DigitalSourceType", "AISystemUsed", "AISystemVersionUsed")
        shown = [fields.get(named(f"Iptc4xmpExt:{name}")) for name in names] + [fields.get(named("xmp:CreatorTool"))]
        return np.asarray(image).tobytes(), image.size, image.mode, image.info["kgan"], str(shown), str(label)


def mutate_bytes(rng: random.Random, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place : place + rng.randrange(1, 40)] = b""
        elif kind == 2:
            data[place:place] = rng.randbytes(rng.randrange(1, 40))
        else:
            data[place : place + 4] = rng.choice(
                [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"IDAT", b"iTXt"]
            )
        data = data or bytearray(b"x")
    return bytes(data)


def mutate_chunks(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """Changes that keep the checksums right, so that they reach the readers behind them."""
    chunks = split(content)
    for _ in range(rng.choice([1, 1, 2])):
        place = rng.randrange(len(chunks))
        kind, data = chunks[place]
        what = rng.randrange(6)
        if what == 0:
            chunks[place] = (kind, mutate_bytes(rng, data or b"x"))
        elif what == 1:
            chunks.insert(rng.randrange(len(chunks)), chunks[place])
        elif what == 2 and len(chunks) > 1:
            del chunks[place]
        elif what == 3:
            chunks[place] = rng.choice(split(other))
        elif what == 4:
            chunks.insert(rng.randrange(len(chunks)), rng.choice(split(other)))
        else:
            chunks[place] = (rng.choice([b"IDAT", b"iTXt", b"tEXt", b"zTXt", b"PLTE", b"tRNS", b"abCd"]), data)
    return join(chunks)


def mutate_text(rng: random.Random, content: bytes) -> bytes:
    keyword = rng.choice(["kgan", XMP_KEYWORD])
    text = text_in(content, keyword)
    place = rng.randrange(len(text))
    spliced = [
        "<!DOCTYPE a>",
        "<!ENTITY a 'b'>",
        "&a;",
        "&#0;",
        "]]>",
        "<a>" * 50,
        '"',
        "{",
        "0",
        "\0",
        "\ud7ff",
        "-",
        "1e9",
    ]
    cut = text[place + rng.choice([0, 1, 1, 5]) :]
    text = text[:place] + rng.choice([*spliced, rng.choice("abcdef0123456789"), ""]) + cut
    return with_text(content, keyword, text.encode())


BASES = [sample_png(i, channels, producer=p) for i, channels, p in [(0, 1, ""), (1, 3, "ACME"), (2, 1, "A & B")]]
BASES.append(sheet_png())
TRUTHS = {told(base) for base in BASES}


@fuzz(st.integers(0, 2**64))
def test_mutations_give_neither_a_traceback_nor_a_wrong_consistent(tmp_path_factory, seed):
    rng, path = random.Random(seed), tmp_path_factory.getbasetemp() / "mutated.png"
    for mutate in (mutate_bytes, mutate_text, lambda rng, base: mutate_chunks(rng, base, rng.choice(BASES))):
        mutated = mutate(rng, rng.choice(BASES))
        path.write_bytes(mutated)
        found = check(path)
        assert all(reason.isprintable() for reason in found.reasons)
        assert found.verdict in (Verdict.CONSISTENT, Verdict.INCONSISTENT, Verdict.CANNOT_TELL)
        if found.verdict == Verdict.CONSISTENT:
            assert told(mutated) in TRUTHS


def test_writing_and_checking_two_hundred_images(tmp_path):
    for i in range(200):
        image = picture(i, channels=1 + 2 * (i % 2))
        write_png(tmp_path / "a.png", image, pnginfo(sample_marks(image, index=i, truncation=[None, 0.7][i % 2])))
        assert check(tmp_path / "a.png").verdict == Verdict.CONSISTENT
