"""PNG files from anyone: chunks, texts and pixels, read with limits and without surprises.

Follows the Portable Network Graphics specification (W3C, third edition; ISO/IEC 15948). A reader that is asked
whether a picture is what it claims has to be stricter than a viewer: every CRC is checked, nothing may follow IEND,
and the compressed pixels must fill the image exactly. Nothing the size of the image is allocated before that holds.
"""

import io
import os
import re
import struct
import zlib
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image

from kgan.errors import UserError
from kgan.files import open_regular, read_rest
from kgan.text import one_line

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_BYTES = len(SIGNATURE) + 25  # and the IHDR chunk, which comes first
MAX_PIXELS = 2**26  # 67 million
MAX_FILE_BYTES = 2**28
MAX_CHUNKS = 2**15  # MAX_FILE_BYTES in libpng's pieces of 8 KiB
MAX_TEXT_BYTES = 2**18
# how each kind of text chunk begins: a keyword, and where there may be compression, that it is zlib's
_TEXT_STARTS = {
    b"tEXt": re.compile(rb"[^\0]{1,79}\0"),
    b"zTXt": re.compile(rb"[^\0]{1,79}\0\0"),
    b"iTXt": re.compile(rb"[^\0]{1,79}\0[\0\1]\0[^\0]*\0[^\0]*\0"),
}
TEXT_CHUNKS = frozenset(_TEXT_STARTS)
_CHANNELS = {0: 1, 2: 3}  # colour type -> channels, for the two that kgan writes


class BadMetadata(UserError):
    """The file can be read, but what is written in it is malformed, ambiguous or unsafe."""


@dataclass(frozen=True)
class Chunk:
    kind: bytes
    data: memoryview


@dataclass(frozen=True)
class Png:
    """A whole PNG file whose chunks and CRCs are in order; the pixels are still compressed."""

    width: int
    height: int
    bit_depth: int
    colour_type: int
    interlace: int
    chunks: tuple[Chunk, ...]

    @property
    def content(self) -> bytes:
        """The file itself: its chunks are views of it."""
        return cast(bytes, self.chunks[0].data.obj)

    @property
    def kinds(self) -> set[str]:
        return {chunk.kind.decode("ascii") for chunk in self.chunks}


def read(path: str | os.PathLike) -> Png:
    """Reads a PNG file; one with too many pixels is refused after its first 33 bytes. Raises UserError if it cannot be
    judged: not there, not a PNG, damaged, or larger than we read."""
    name = one_line(path)
    try:
        with open_regular(path) as stream:
            _header(stream.read(HEADER_BYTES), name)
            stream.seek(0)
            content = read_rest(stream, path, MAX_FILE_BYTES)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    return parse(content, name)


def parse(content: bytes, name: str) -> Png:
    """Takes a PNG apart and checks its structure. Raises UserError, in one line that starts with `name`."""
    width, height, bit_depth, colour_type, _, _, interlace = _header(content[:HEADER_BYTES], name)
    chunks = tuple(_chunks(content, name))
    kinds = [chunk.kind for chunk in chunks]
    pixels = [position for position, kind in enumerate(kinds) if kind == b"IDAT"]
    if kinds.count(b"IHDR") != 1 or not pixels or len(pixels) != pixels[-1] - pixels[0] + 1:
        raise UserError(f"{name}: damaged PNG (its pixel chunks are missing or not in one piece)")
    return Png(width, height, bit_depth, colour_type, interlace, chunks)


def _header(start: bytes, name: str) -> tuple[int, ...]:
    if start[: len(SIGNATURE)] != SIGNATURE:
        raise UserError(f"{name}: not a PNG file")
    if len(start) < HEADER_BYTES:
        raise UserError(f"{name}: truncated PNG (it ends in its header)")
    length, kind, fields, crc = struct.unpack(">I4s13sI", start[len(SIGNATURE) :])
    if (length, kind) != (13, b"IHDR") or zlib.crc32(kind + fields) != crc:
        raise UserError(f"{name}: damaged PNG (bad header)")
    header = struct.unpack(">IIBBBBB", fields)
    width, height = header[:2]
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        raise UserError(f"{name}: damaged PNG ({width} x {height} pixels)")
    if width * height > MAX_PIXELS:
        raise UserError(
            f"{name}: {width} x {height} is {width * height / 1e6:,.0f} megapixels; "
            f"kgan reads at most {MAX_PIXELS / 1e6:.0f}"
        )
    return header


def _chunks(content: bytes, name: str):
    view, offset, count = memoryview(content), len(SIGNATURE), 0
    while True:
        if offset + 12 > len(view):
            raise UserError(f"{name}: truncated PNG (no end chunk)")
        length, kind = struct.unpack_from(">I4s", view, offset)
        end = offset + 12 + length
        if not re.fullmatch(rb"[A-Za-z]{4}", kind):
            raise UserError(f"{name}: damaged PNG (bytes that are no chunk at offset {offset})")
        if length >= 2**31 or end > len(view):
            raise UserError(f"{name}: truncated PNG (in its {kind.decode()} chunk)")
        if zlib.crc32(view[offset + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise UserError(f"{name}: damaged PNG (the checksum of its {kind.decode()} chunk is wrong)")
        if kind[:1].isupper() and kind not in {b"IHDR", b"PLTE", b"IDAT", b"IEND"}:
            raise UserError(f"{name}: the PNG needs {kind.decode()}, which kgan does not know")
        if kind in _TEXT_STARTS and not _TEXT_STARTS[kind].match(view[offset + 8 : end - 4]):
            raise UserError(f"{name}: damaged PNG (its {kind.decode()} chunk is not one)")
        count += 1
        if count > MAX_CHUNKS:
            raise UserError(f"{name}: more than {MAX_CHUNKS} chunks")
        yield Chunk(kind, view[offset + 8 : end - 4])
        offset = end
        if kind == b"IEND":
            break
    if length or offset != len(view):
        raise UserError(f"{name}: {len(view) - offset + length} bytes follow the end of the PNG")


def text_of(png: Png, keyword: str, aliases: tuple[str, ...] = ()) -> str | None:
    """The text of the one iTXt chunk with this keyword, or None if there is no such text.

    Keywords are compared without case and outer spaces, and in tEXt and zTXt too, because readers differ in what they
    make of look-alikes: with two texts under one keyword, or one under `aliases`, two programs could read two things.
    Raises BadMetadata for those, for text that is not UTF-8, and for more than MAX_TEXT_BYTES, inflated or not.
    """
    names = {keyword.lower(), *(alias.lower() for alias in aliases)}
    found = [chunk for chunk in png.chunks if chunk.kind in _TEXT_STARTS and _keyword(chunk).strip().lower() in names]
    if not found:
        return None
    if len(found) > 1:
        raise BadMetadata(f"ambiguous: {len(found)} text chunks under the keyword {keyword}")
    if found[0].kind != b"iTXt" or _keyword(found[0]) != keyword:
        raise BadMetadata(f"the text under {keyword} is not an iTXt chunk of that exact keyword")
    return _international_text(found[0], keyword)


def _keyword(chunk: Chunk) -> str:
    return bytes(chunk.data[:81]).partition(b"\0")[0].decode("latin-1")  # a keyword has at most 79 bytes


def _international_text(chunk: Chunk, keyword: str) -> str:
    """The text itself. Compression flag, method, language and translated keyword must be zero or empty, but for the
    flag of a compressed text: some readers drop a chunk for what stands there, so it could hide marks from them."""
    _, _, rest = bytes(chunk.data[: MAX_TEXT_BYTES + 512]).partition(b"\0")
    head, text = rest[:4], rest[4:]
    if head not in (b"\0\0\0\0", b"\1\0\0\0"):
        raise BadMetadata(f"the iTXt chunk {keyword} is malformed")
    if head[:1] == b"\1":
        text = inflate(text, MAX_TEXT_BYTES, f"the compressed iTXt chunk {keyword}")
    if len(text) > MAX_TEXT_BYTES or len(chunk.data) > MAX_TEXT_BYTES + 512:
        raise BadMetadata(f"the iTXt chunk {keyword} is longer than {MAX_TEXT_BYTES} bytes")
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise BadMetadata(f"the iTXt chunk {keyword} is not UTF-8") from None


def inflate(data: bytes, most: int, what: str) -> bytes:
    """The text of up to `most` bytes in a zlib stream. Raises BadMetadata, saying `what` is damaged or too long."""
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(data, most + 1)
    except zlib.error:
        raise BadMetadata(f"{what} is damaged") from None
    if len(text) > most:
        raise BadMetadata(f"{what} is longer than {most} bytes")
    if not stream.eof:
        raise BadMetadata(f"{what} is cut off")
    return text


def plain_layout(png: Png) -> bool:
    """Whether the pixels are stored as kgan stores them: 8 bits a channel, grey or RGB, not interlaced."""
    return png.bit_depth == 8 and png.colour_type in _CHANNELS and png.interlace == 0


def pixels(png: Png, name: str) -> np.ndarray:
    """Decodes a PNG of plain layout to (height, width, channels) uint8. Raises UserError.

    Pillow is shown the header and the pixel chunks alone, so that no other chunk has a say in what the pixels are.
    """
    channels = _CHANNELS[png.colour_type]
    _check_fill(png, png.height * (1 + png.width * channels), name)
    parts: list[bytes | memoryview] = [SIGNATURE]
    for chunk in png.chunks:
        if chunk.kind in {b"IHDR", b"IDAT", b"IEND"}:
            parts += [struct.pack(">I", len(chunk.data)), chunk.kind, chunk.data]
            parts.append(zlib.crc32(chunk.data, zlib.crc32(chunk.kind)).to_bytes(4, "big"))
    try:
        with Image.open(io.BytesIO(b"".join(parts)), formats=["PNG"]) as image:
            return np.array(image).reshape(png.height, png.width, channels)
    except (OSError, ValueError, SyntaxError, zlib.error, struct.error, Image.DecompressionBombError):
        raise UserError(f"{name}: damaged PNG (the pixels do not decode)") from None


def _check_fill(png: Png, expected: int, name: str) -> None:
    """Inflates the pixels piece by piece, keeping none, to see that they are exactly `expected` bytes."""
    stream, count = zlib.decompressobj(), 0
    try:
        for chunk in png.chunks:
            data = chunk.data if chunk.kind == b"IDAT" else b""
            while len(data) and not stream.eof and count <= expected:
                count += len(stream.decompress(data, 2**20))
                data = stream.unconsumed_tail
            if len(data) or stream.unused_data:
                break
        else:
            count += len(stream.flush())
    except zlib.error:
        raise UserError(f"{name}: damaged PNG (the pixels do not decompress)") from None
    if count < expected:
        raise UserError(f"{name}: truncated PNG ({count} of {expected} bytes of pixels)")
    if count > expected or not stream.eof or stream.unused_data or len(data):
        raise UserError(f"{name}: damaged PNG (more compressed data than pixels)")
