"""Pictures inside a page: as data URIs, small enough, and still saying where they come from."""

import base64
import contextlib
import io
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from kgan.errors import UserError
from kgan.files import read_bounded
from kgan.text import one_line

_QUALITY = 80
_MAX_SIDE = 1200
_MAX_PIXELS, _MAX_FILE_BYTES = 30_000_000, 1 << 27  # of a grid of 64 pictures of 512 x 512, and more
_XMP = "XML:com.adobe.xmp"


@dataclass(frozen=True)
class Picture:
    """`uri` holds the file; `width` and `height` are its pixels."""

    uri: Markup
    alt: str
    width: int
    height: int


def from_file(path: Path, alt: str, max_bytes: int) -> Picture | None:
    """The PNG at `path`, or None if there is none.

    A file above `max_bytes` is made a smaller WebP, which keeps the XMP that says who or what made the picture. Raises
    UserError if it is no picture.
    """
    if not path.exists():
        return None
    with _opened(path) as (content, image):
        if len(content) <= max_bytes:
            return Picture(_uri("png", content), alt, *image.size)
        return _smaller(image, alt)


def top_of(path: Path, alt: str, height: int) -> Picture:
    """The PNG at `path` down to the last white line within its upper `height` pixels, as a WebP without loss that keeps
    its XMP. Raises UserError if it is no picture."""
    with _opened(path) as (_, image):
        lines = np.asarray(image.convert("L"))[:height].min(axis=1)
        if len(white := np.flatnonzero(lines == 255)):
            height = int(white[-1]) + 1
        return _webp(image.crop((0, 0, image.width, min(height, image.height))), image, alt, lossless=True)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[bytes, Image.Image]]:
    """The bytes of a PNG and the picture, its header read. Raises UserError for whatever goes wrong in the block."""
    content = read_bounded(path, _MAX_FILE_BYTES)
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise UserError(f"{path}: {image.width} x {image.height} pixels, too many for a report")
            yield content, image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable PNG ({one_line(error)})") from None


def spread(items: list, count: int) -> list:
    """At most `count` of the items, evenly spread, with the first and the last."""
    if len(items) <= count:
        return items
    if count < 2:
        return items[-1:]
    return [items[round(place * (len(items) - 1) / (count - 1))] for place in range(count)]


def _smaller(image: Image.Image, alt: str) -> Picture:
    factor = max(1, math.ceil(max(image.size) / _MAX_SIDE))
    return _webp(image.reduce(factor) if factor > 1 else image, image, alt, quality=_QUALITY, method=4)


def _webp(image: Image.Image, origin: Image.Image, alt: str, **options) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", xmp=str(origin.info.get(_XMP, "")).encode(), **options)
    return Picture(_uri("webp", buffer.getvalue()), alt, *image.size)


def _uri(kind: str, content: bytes) -> Markup:
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}")
