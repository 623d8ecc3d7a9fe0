import io
import struct
import zlib

import pytest
from PIL import Image

from kgan.data.licensing.optout import data_mining
from kgan.images import to_pillow
from tests.fuzzing import damaged, fuzz
from tests.provenance.marked_pngs import join, picture, png_bytes, sample_png, split, text_chunk

PLUS = "http://ns.useplus.org/ldf/xmp/1.0/"
VOCABULARY = "http://ns.useplus.org/ldf/vocab/"
KINDS = ["PNG", "JPEG", "WEBP", "GIF"]
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


def packet(value: str, form: str = "element") -> bytes:
    attribute = f'plus:DataMining="{value}"' if form == "attribute" else ""
    inner = {
        "element": f"<plus:DataMining>{value}</plus:DataMining>",
        "resource": f'<plus:DataMining rdf:resource="{value}"/>',
        "bag": f"<plus:DataMining><rdf:Bag><rdf:li>{value}</rdf:li></rdf:Bag></plus:DataMining>",
        "attribute": "",
    }[form]
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" '
        f'xmlns:plus="{PLUS}" {attribute}>{inner}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def saved(kind: str, xmp: bytes | None) -> bytes:
    if kind == "PNG":
        start, *rest = split(png_bytes(picture()))
        return join([start, *([text_chunk("XML:com.adobe.xmp", xmp)] if xmp else []), *rest])
    buffer = io.BytesIO()
    if kind == "GIF":
        frames = [to_pillow(picture(channels=3)), to_pillow(255 - picture(channels=3))]
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], comment=b"two frames")
        return buffer.getvalue()[:-1] + (gif_xmp(xmp) if xmp else b"") + b";"
    to_pillow(picture(channels=3)).save(buffer, kind, **({"xmp": xmp} if xmp else {}))
    return buffer.getvalue()


def gif_xmp(xmp: bytes) -> bytes:
    return b"!\xff\x0bXMP DataXMP" + xmp + bytes([1, *range(255, -1, -1), 0])


def look(tmp_path, content: bytes):
    (tmp_path / "image").write_bytes(content)
    return data_mining(tmp_path / "image")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["element", "attribute", "resource", "bag"])
def test_a_prohibition_is_found_in_every_format_and_form(tmp_path, kind, form):
    found = look(tmp_path, saved(kind, packet(f"{VOCABULARY}DMI-PROHIBITED-AIMLTRAINING", form)))
    assert (found.values, found.prohibited, found.problem) == (("DMI-PROHIBITED-AIMLTRAINING",), True, "")


@pytest.mark.parametrize(
    "term, prohibited",
    [
        ("DMI-UNSPECIFIED", False),
        ("DMI-ALLOWED", False),
        ("DMI-PROHIBITED", True),
        ("DMI-PROHIBITED-GENAIMLTRAINING", True),
        ("DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING", True),
        ("DMI-PROHIBITED-SEECONSTRAINT", True),
        ("DMI-SOMETHING-NEW", True),
        ("no, thanks", True),
    ],
)
def test_only_what_plainly_permits_permits(tmp_path, term, prohibited):
    for value in (VOCABULARY + term, term, f"\n {VOCABULARY}{term} "):
        found = look(tmp_path, saved("JPEG", packet(value)))
        assert (found.values, found.prohibited) == ((term,), prohibited)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_images_without_the_property_say_nothing(tmp_path, kind):
    found = look(tmp_path, saved(kind, None))
    assert (found.values, found.prohibited, found.problem) == ((), False, "")
    assert look(tmp_path, sample_png()).prohibited is False


def test_pngs_by_other_programs_are_read(tmp_path):
    start, *rest = split(png_bytes(picture()))
    xmp = packet("DMI-PROHIBITED")
    raw = b"\nxmp\n" + str(len(xmp)).encode() + b"\n" + xmp.hex().encode() + b"\n"
    for chunk in [
        text_chunk("XML:com.adobe.xmp", xmp, compressed=True),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0en\0XMP\0" + xmp),
        (b"tEXt", b"XML:com.adobe.xmp\0" + xmp),
        (b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(raw)),
        (b"tEXt", b"Raw profile type xmp\0" + raw),
    ]:
        assert look(tmp_path, join([start, chunk, *rest])).prohibited
        assert look(tmp_path, join([start, *rest[:-1], chunk, rest[-1]])).prohibited  # after the pixels


def test_extended_xmp_of_a_jpeg_is_put_together(tmp_path):
    content = saved("JPEG", None)
    xmp = packet("DMI-PROHIBITED")
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + struct.pack(">I", len(xmp))
    parts = [(100, xmp[100:]), (0, xmp[:100])]
    segments = [head + struct.pack(">I", offset) + part for offset, part in parts]
    joined = b"".join(b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment for segment in segments)
    extended = content[:2] + joined + content[2:]
    Image.open(io.BytesIO(extended)).load()
    assert look(tmp_path, extended).prohibited
    allowed = packet("DMI-ALLOWED").ljust(len(xmp))
    for kept, prohibited in ((2, False), (1, True)):  # nobody knows what the missing part said
        segments = [head + struct.pack(">I", offset) + allowed[offset:end] for offset, end in ((0, 100), (100, None))]
        joined = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in segments[:kept])
        assert look(tmp_path, content[:2] + joined + content[2:]).prohibited == prohibited


def test_broken_xmp_in_utf_16_prohibits_when_it_says_so(tmp_path):
    broken = packet("DMI-PROHIBITED").decode().replace("</", "<", 1).encode("utf-16")
    found = look(tmp_path, saved("JPEG", broken))
    assert found.prohibited and found.problem


@pytest.mark.parametrize("kind", KINDS)
def test_unsafe_or_broken_xmp_is_a_problem_and_prohibits_when_it_says_so(tmp_path, kind):
    hostile = b'<!DOCTYPE a [<!ENTITY e "DMI-ALLOWED">]>' + packet("&e;")
    found = look(tmp_path, saved(kind, hostile))
    assert "document type" in found.problem and not found.prohibited
    found = look(tmp_path, saved(kind, packet("DMI-PROHIBITED")[:-20]))
    assert "malformed" in found.problem and found.prohibited


@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_gives_a_traceback(tmp_path, kind):
    content = saved(kind, packet("DMI-PROHIBITED"))
    for length in range(0, len(content), 7):
        look(tmp_path, content[:length])
    for place in range(0, len(content), 3):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        found = look(tmp_path, bytes(changed))
        assert found.problem.isprintable() and all(value.isprintable() for value in found.values)


def test_xmp_that_is_not_read_to_its_end_prohibits(tmp_path):
    start, *rest = split(png_bytes(picture()))
    bomb = text_chunk("XML:com.adobe.xmp", b" " * 50_000_000, compressed=True)
    long = text_chunk("XML:com.adobe.xmp", packet("DMI-ALLOWED") + b" " * 2**22)
    huge = b"RIFF\0\0\0\0WEBPXMP " + struct.pack("<I", 2**32 - 1)
    endless = saved("GIF", None)[:-1] + gif_xmp(packet("DMI-ALLOWED") + b" " * 2**23)
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + bytes(8)
    segment = b"\xff\xe1" + struct.pack(">H", len(head) + 60_002) + head + bytes(60_000)
    for content, words in [
        (join([start, bomb, *rest]), "compressed XMP is longer"),
        (join([start, long, *rest]), "longer"),
        (huge, "longer"),
        (endless, "too long"),
        (saved("GIF", packet("DMI-ALLOWED"))[:-200], "no end"),
        (saved("JPEG", packet("DMI-ALLOWED"))[:150], "cut off"),
        (b"\xff\xd8" + 100 * segment, "too long"),
        (b"\xff\xd8" + 100_001 * b"\xff\xe0\0\2", "too many"),
        (b"GIF89a" + bytes(7) + 100_001 * b"!\xfe\0", "too many"),
    ]:
        found = look(tmp_path, content)
        assert found.prohibited and words in found.problem, words


def test_long_texts_before_the_xmp_do_not_hide_it(tmp_path):
    start, *rest = split(png_bytes(picture()))
    texts = [(b"tEXt", b"workflow\0" + b" " * 2**23), (b"tEXt", b" " * 2**23)]
    for value, prohibited in (("DMI-PROHIBITED", True), ("DMI-ALLOWED", False)):
        found = look(tmp_path, join([start, *texts, text_chunk("XML:com.adobe.xmp", packet(value)), *rest]))
        assert (found.prohibited, found.problem) == (prohibited, "")


def test_xmp_stands_before_or_after_the_frames_of_a_gif(tmp_path):
    content = saved("GIF", None)
    place = 13 + (3 << (content[10] & 7) + 1) * (content[10] >> 7)
    for xmp in (packet("DMI-PROHIBITED"), packet("DMI-PROHIBITED") + b"\n" * 300):
        early = content[:place] + gif_xmp(xmp) + content[place:]
        for changed in (early, content[:-1] + gif_xmp(xmp) + b";"):
            Image.open(io.BytesIO(changed)).load()
            assert look(tmp_path, changed).prohibited
    assert not look(tmp_path, content[:place] + gif_xmp(packet("DMI-ALLOWED")) + content[place:]).prohibited


WHOLE = [saved(kind, packet("DMI-PROHIBITED", form)) for kind in KINDS for form in ("element", "bag")]


@fuzz(damaged(*WHOLE, packet("DMI-ALLOWED")))
def test_damaged_metadata_never_stop_an_inspection(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "damaged-metadata"
    path.write_bytes(content)
    found = data_mining(path)
    assert found.problem.isprintable() and all(value.isprintable() for value in found.values)
    if content in WHOLE:
        assert found.prohibited
