"""Marked images, and PNG files taken apart and put together, for the tests of provenance."""

import io
import struct
import zlib

import numpy as np

from kgan.images import to_pillow
from kgan.latents import draws_recipe, latents
from kgan.provenance.marks import GENERATED, Origin, describe, pnginfo

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ORIGIN = Origin(
    run_id="00007-mnist-dcgan-ns",
    checkpoint_sha256="c" * 64,
    data_sha256="d" * 64,
    data_license="CC-BY-SA-3.0",
    ema=True,
    versions={"kgan": "0.1.0", "tensorflow": "2.21.0"},
)


def picture(index: int = 0, channels: int = 1, size: int = 12) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (size, size + 1, channels), np.uint8)


def png_bytes(image: np.ndarray, info=None) -> bytes:
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def sample_marks(image, index=3, seed=11, latent_dim=16, truncation=None, **more):
    z = latents(seed, [index], latent_dim, truncation)[0]
    return describe(ORIGIN, image, **{"seed": seed, "index": index, "z": z, "truncation": truncation, **more})


def sample_png(index=3, channels=1, source_type=GENERATED, producer="", **more) -> bytes:
    image = picture(index, channels)
    return png_bytes(image, pnginfo(sample_marks(image, index, **more), source_type, producer))


def sheet_png(channels=3) -> bytes:
    image = picture(99, channels, size=20)
    marks = describe(ORIGIN, image, seed=1, label=[0, 1, 2, 3], z=draws_recipe(4))
    return png_bytes(image, pnginfo(marks))


def ihdr(width, height, depth=8, colour=0, interlace=0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)


def split(content: bytes) -> list[tuple[bytes, bytes]]:
    """The (kind, data) of each chunk."""
    chunks, offset = [], len(SIGNATURE)
    while offset < len(content):
        length, kind = struct.unpack_from(">I4s", content, offset)
        chunks.append((kind, content[offset + 8 : offset + 8 + length]))
        offset += 12 + length
    return chunks


def join(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, with right checksums."""
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def text_chunk(keyword: str, text: bytes, compressed: bool = False) -> tuple[bytes, bytes]:
    flag = b"\1\0" if compressed else b"\0\0"
    return b"iTXt", keyword.encode("latin-1") + b"\0" + flag + b"\0\0" + (zlib.compress(text) if compressed else text)


def with_text(content: bytes, keyword: str, text: bytes, compressed: bool = False) -> bytes:
    """The PNG with the text under `keyword` replaced, or added where there was none."""
    new, start = text_chunk(keyword, text, compressed), keyword.encode("latin-1") + b"\0"
    chunks = [chunk for chunk in split(content) if not (chunk[0] == b"iTXt" and chunk[1].startswith(start))]
    return join([chunks[0], new, *chunks[1:]])


def text_in(content: bytes, keyword: str) -> str:
    start = keyword.encode("latin-1") + b"\0\0\0\0\0"
    return next(
        data[len(start) :] for kind, data in split(content) if kind == b"iTXt" and data.startswith(start)
    ).decode()
