"""Does a picture's owner forbid mining it? `plus:DataMining` in the XMP of PNG, JPEG, WebP and GIF files.

The property and its vocabulary are PLUS LDF's; IPTC Photo Metadata 2023.1 took them over. Files come from anyone: they
are walked chunk by chunk, without decoding a pixel or loading more than their XMP. When in doubt (a value that is not
in the vocabulary, XMP that does not parse but says DMI-PROHIBITED, XMP that is too long or damaged to be read at all)
the answer is that mining is forbidden.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kgan.pictures.picture import Encoded, open_bytes
from kgan.provenance.png import SIGNATURE, BadMetadata, inflate
from kgan.provenance.xmp import MAX_BYTES, named, properties
from kgan.text import one_line

VOCABULARY = "http://ns.useplus.org/ldf/vocab/"
_PERMITTING = {"DMI-UNSPECIFIED", "DMI-ALLOWED"}
_MAX_SEGMENTS = 100_000
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_PNG_XMP = b"XML:com.adobe.xmp"
_PNG_RAW_PROFILE = b"Raw profile type xmp"  # ImageMagick's: three lines (blank, name, length), then hexadecimal
_MAX_KEYWORD = 79
_COMPRESSED = "the compressed XMP"
_GIF_XMP = b"XMP DataXMP"
# XMP stands in a GIF as it is; a reader that takes it for blocks of data lands somewhere in these bytes, each of which
# leads to the last (XMP part 3, 1.1.2)
_GIF_LANDING = bytes([1, *range(255, -1, -1)])


@dataclass(frozen=True)
class DataMining:
    """`values`: the terms found, without their vocabulary's address, such as "DMI-PROHIBITED-AIMLTRAINING".

    `problem` says in one line why metadata that is there could not be read, or is "".
    """

    values: tuple[str, ...]
    prohibited: bool
    problem: str = ""


def data_mining(picture: Path | Encoded) -> DataMining:
    """Reads the property from one picture. BMP has no XMP. Raises UserError if a file cannot be opened."""
    values: list[str] = []
    problem, prohibited = "", False
    with open_bytes(picture) as stream:
        try:
            for packet in packets(stream):
                try:
                    values += _terms(packet)
                except BadMetadata as error:
                    problem = str(error)
                    prohibited |= b"DMI-PROHIBITED" in packet.replace(b"\0", b"")  # UTF-16 too
        except BadMetadata as error:  # nobody knows what else stands there
            problem, prohibited = str(error), True
    prohibited |= any(value not in _PERMITTING for value in values)
    return DataMining(tuple(values), prohibited, problem)


def _terms(packet: bytes) -> list[str]:
    value = properties(packet).get(named("plus:DataMining"), "")
    texts = [value] if isinstance(value, str) else list(value) or ["(a structure)"]
    return [one_line(text.strip().removeprefix(VOCABULARY), 80) for text in texts if text.strip()]


def packets(stream: BinaryIO) -> Iterator[bytes]:
    """The XMP packets of a PNG, JPEG, WebP or GIF file. Raises BadMetadata for XMP that is damaged or too long."""
    start = stream.read(12)
    if start.startswith(SIGNATURE):
        stream.seek(len(SIGNATURE))
        yield from _png_packets(stream)
    elif start.startswith(b"\xff\xd8"):
        stream.seek(2)
        yield from _jpeg_packets(stream)
    elif start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        yield from _webp_packets(stream)
    elif start.startswith((b"GIF87a", b"GIF89a")):
        stream.seek(6)
        yield from _gif_packets(stream)


def _png_packets(stream: BinaryIO) -> Iterator[bytes]:
    for _ in range(_MAX_SEGMENTS):
        head = stream.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or kind == b"IEND":
            return
        if kind not in {b"iTXt", b"tEXt", b"zTXt"}:
            stream.seek(length + 4, os.SEEK_CUR)
            continue
        start = stream.read(min(length, _MAX_KEYWORD + 1))
        keyword, end, rest = start.partition(b"\0")
        keyword = keyword.strip().lower()
        if end and keyword in {_PNG_XMP.lower(), _PNG_RAW_PROFILE.lower()}:
            text = _png_text(kind, rest + _take(stream, length - len(start)))
            yield text if keyword == _PNG_XMP.lower() else _raw_profile(text)
            stream.seek(4, os.SEEK_CUR)
        else:
            stream.seek(length - len(start) + 4, os.SEEK_CUR)
    raise BadMetadata("too many chunks")


def _png_text(kind: bytes, rest: bytes) -> bytes:
    if kind == b"tEXt":
        return rest
    if kind == b"zTXt":
        return inflate(rest[1:], MAX_BYTES, _COMPRESSED)
    parts = rest[2:].split(b"\0", 2)
    if len(parts) != 3:
        raise BadMetadata("the iTXt chunk with XMP is malformed")
    return inflate(parts[2], MAX_BYTES, _COMPRESSED) if rest[:1] == b"\1" else parts[2]


def _raw_profile(text: bytes) -> bytes:
    try:
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except ValueError:
        raise BadMetadata("the raw XMP profile is malformed") from None


def _jpeg_packets(stream: BinaryIO) -> Iterator[bytes]:
    """Metadata stands in APP1 segments before the first scan (ISO/IEC 10918-1; extended XMP: XMP part 3, 1.1.3)."""
    extensions: dict[bytes, dict[int, bytes]] = defaultdict(dict)
    extended = 0
    for _ in range(_MAX_SEGMENTS):
        marker = stream.read(2)
        while marker == b"\xff\xff":  # fill bytes
            marker = b"\xff" + stream.read(1)
        if len(marker) < 2 or marker[0] != 0xFF or marker[1] in (0xDA, 0xD9):
            break
        if marker[1] == 0x01 or 0xD0 <= marker[1] <= 0xD7:
            continue
        length = int.from_bytes(stream.read(2), "big") - 2
        if length < 0:
            break
        if marker[1] != 0xE1:
            stream.seek(length, os.SEEK_CUR)
            continue
        segment = stream.read(length)
        if len(segment) < length and segment.startswith((_JPEG_XMP, _JPEG_EXTENSION)):
            raise BadMetadata("the XMP is cut off")
        if segment.startswith(_JPEG_XMP):
            yield segment[len(_JPEG_XMP) :]
        elif segment.startswith(_JPEG_EXTENSION):
            rest = segment[len(_JPEG_EXTENSION) :]  # a digest of 32 letters, the whole length, this part's offset
            extensions[rest[:36]][int.from_bytes(rest[36:40], "big")] = rest[40:]
            extended += len(rest)
            if extended > MAX_BYTES:
                raise BadMetadata("the extended XMP is too long")
    else:
        raise BadMetadata("too many segments")
    for head, parts in extensions.items():
        whole = b"".join(part for _, part in sorted(parts.items()))
        if len(whole) != int.from_bytes(head[32:], "big"):
            raise BadMetadata("a part of the extended XMP is missing")
        yield whole


def _webp_packets(stream: BinaryIO) -> Iterator[bytes]:
    for _ in range(_MAX_SEGMENTS):
        head = stream.read(8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"XMP ":
            yield _take(stream, length)
            stream.seek(length & 1, os.SEEK_CUR)
        else:
            stream.seek(length + (length & 1), os.SEEK_CUR)
    raise BadMetadata("too many chunks")


def _gif_packets(stream: BinaryIO) -> Iterator[bytes]:
    """XMP stands in application extensions, before or after any frame (GIF89a, 26)."""
    _skip_colours(stream, stream.read(7)[4:5])
    for _ in range(_MAX_SEGMENTS):
        kind = stream.read(1)
        if kind == b",":
            _skip_colours(stream, stream.read(9)[8:])
            stream.seek(1, os.SEEK_CUR)
        elif kind == b"!":
            label, name = stream.read(1), _gif_block(stream)
            if label == b"\xff" and name == _GIF_XMP:
                yield _gif_xmp(stream)
                continue
            if not name:
                continue
        else:
            return
        while _gif_block(stream):
            pass
    raise BadMetadata("too many blocks")


def _skip_colours(stream: BinaryIO, flags: bytes) -> None:
    """Skips the colour table that the flags of a screen or frame announce."""
    if flags and flags[0] & 0x80:
        stream.seek(3 << (flags[0] & 7) + 1, os.SEEK_CUR)


def _gif_block(stream: BinaryIO) -> bytes:
    """The content of the next block of data; b"" for the one that ends a row of them."""
    return stream.read(int.from_bytes(stream.read(1), "big"))


def _gif_xmp(stream: BinaryIO) -> bytes:
    """The packet at this place; the stream is moved behind its last block."""
    content = bytearray()
    while block := _gif_block(stream):
        content += bytes([len(block)]) + block
        if len(content) > MAX_BYTES:
            raise BadMetadata("the XMP is too long")
    if not content.endswith(_GIF_LANDING):
        raise BadMetadata("the XMP of the GIF has no end")
    return bytes(content[: -len(_GIF_LANDING)])


def _take(stream: BinaryIO, length: int) -> bytes:
    if length > MAX_BYTES:
        raise BadMetadata(f"a metadata chunk is longer than {MAX_BYTES >> 20} MiB")
    content = stream.read(length)
    if len(content) < length:
        raise BadMetadata("the file is cut off in its metadata")
    return content
