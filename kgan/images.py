"""Images as arrays: [-1, 1] float <-> uint8, grids, captions, animations, and PNG files.

Everything in kgan that is called `images` is NHWC with 1 or 3 channels; this is the only place where
floats become the bytes that are saved.

Drawing is exact: the same images give the same pixels on every machine, so that `kgan verify` can draw a grid again.
Hence Pillow's bitmap font; how an outline font is rendered depends on the FreeType it was built with.
"""

import io
import math
import os
import re
import textwrap
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageSequence

from kgan.files import write_atomically

CAPTION = "AI-generated"
FRAME_MILLISECONDS = 80
FRAME_SIZE = 128
_GUTTER = 2  # between and around the images of a grid, before it is enlarged
_MARGIN = 4
_WIDE = 400  # grids from this width on get a caption of twice the size
_MAX_COLUMNS = 32
_TITLE_LINES = 2
_CHARACTER = (11, 6)  # height and width, of the font that titles are drawn with


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Rounds floats in [-1, 1] to the nearest of 256 levels; values outside are clipped."""
    return np.clip(np.rint((np.asarray(images, np.float32) + 1.0) * 127.5), 0, 255).astype(np.uint8)


def to_float(images: np.ndarray) -> np.ndarray:
    """Maps uint8 levels to float32 in [-1, 1], so that `to_uint8(to_float(x)) == x`."""
    return np.asarray(images, np.float32) / np.float32(127.5) - np.float32(1.0)


def grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Lays (n, h, w, c) uint8 images out row by row, nearly square unless `columns` is given.

    Returns one (H, W, c) uint8 image; cells without an image are white.
    """
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    shape = (rows * (height + _GUTTER) + _GUTTER, columns * (width + _GUTTER) + _GUTTER, channels)
    grid = np.full(shape, 255, np.uint8)
    for index, image in enumerate(images):
        top = _GUTTER + (index // columns) * (height + _GUTTER)
        left = _GUTTER + (index % columns) * (width + _GUTTER)
        grid[top : top + height, left : left + width] = image
    return grid


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Repeats every pixel of an (h, w, c) image `factor` times each way, so that small pictures can be looked at."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def to_pillow(image: np.ndarray) -> Image.Image:
    """A Pillow image (mode L or RGB) from an (h, w, 1) or (h, w, 3) uint8 array."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def png_bytes(image: np.ndarray, pnginfo=None) -> bytes:
    """An (h, w, c) uint8 image as PNG. `pnginfo` is Pillow's PngInfo with the marks to embed."""
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, "PNG", pnginfo=pnginfo)
    return buffer.getvalue()


def write_png(path: str | os.PathLike, image: np.ndarray, pnginfo=None) -> None:
    """Writes an (h, w, c) uint8 image as PNG, atomically; `pnginfo` as in `png_bytes`."""
    write_atomically(path, png_bytes(image, pnginfo))


def captioned_grid(
    pictures: np.ndarray, columns: int | None = None, caption: bool = True, titles: Sequence[str] = ()
) -> np.ndarray:
    """A grid of (n, h, w, c) uint8 images, small ones enlarged to about 64 pixels, as one (H, W, c) uint8 image.

    `titles`, one for each column, stand above the columns, in two lines where one of them is wider than its column.
    """
    factor = max(1, 64 // pictures.shape[1])
    drawn = enlarge(grid(pictures, columns), factor)
    if titles:
        drawn = np.concatenate([_column_titles(titles, pictures.shape[2] * factor, _GUTTER * factor, drawn), drawn])
    return captioned(drawn) if caption else drawn


def grid_rows_height(image_size: int, rows: int, titles: Sequence[str] = ()) -> int:
    """The height of the first rows of a captioned grid, in its pixels, the gutters and the titles above included."""
    factor = max(1, 64 // image_size)
    return (rows * (image_size + _GUTTER) + _GUTTER) * factor + _band_height(titles, image_size * factor)


def class_columns(num_classes: int) -> int | None:
    """The columns of a grid whose labels are the classes in turn: each shows one class, unless they are too many."""
    return num_classes * max(1, 8 // num_classes) if 1 < num_classes <= _MAX_COLUMNS else None


def column_titles(class_names: Sequence[str], columns: int) -> list[str]:
    """The names of the classes in turn, a column each, or their labels where a grid's font has not all characters."""
    names = [name if _can_show(name) else str(label) for label, name in enumerate(class_names)]
    return names * (columns // len(names))


def animation_frames(pictures: np.ndarray, caption: bool = True) -> np.ndarray:
    """The frames of an animation of (n, h, w, c) uint8 images, enlarged to about 128 pixels, as (n, H, W, c) uint8."""
    factor = max(1, FRAME_SIZE // pictures.shape[1])
    frames = [enlarge(picture, factor) for picture in pictures]
    return np.stack([captioned(frame) if caption else frame for frame in frames])


def captioned(image: np.ndarray, caption: str = CAPTION) -> np.ndarray:
    """The (h, w, c) uint8 image above a white band with the caption; widened where it is narrower than that."""
    text = _drawn(caption, 2 if image.shape[1] >= _WIDE else 1)
    height, width, channels = image.shape
    grid = np.full((height + text.shape[0], max(width, text.shape[1]), channels), 255, np.uint8)
    grid[:height, :width] = image
    grid[height:, : text.shape[1]] = text
    return grid


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two (h, w, c) uint8 images with white between them, and below the shorter one."""
    height = max(len(left), len(right))
    gap = np.full((height, 4 * _MARGIN, left.shape[-1]), 255, np.uint8)
    tall = [np.pad(image, ((0, height - len(image)), (0, 0), (0, 0)), constant_values=255) for image in (left, right)]
    return np.concatenate([tall[0], gap, tall[1]], axis=1)


def with_step(captioned_image: np.ndarray, step: int) -> np.ndarray:
    """A (h, w, c) uint8 image that `captioned` gave, with the step at the right of its caption."""
    text = _drawn(f"step {step:,}", 2 if captioned_image.shape[1] >= _WIDE else 1)
    height, width, _ = captioned_image.shape
    marked = captioned_image.copy()
    marked[height - text.shape[0] :, max(0, width - text.shape[1]) :] = text[:, -width:]
    return marked


def _drawn(text: str, size: int) -> np.ndarray:
    """A line of text with margins as (h, w, 1) uint8, black on white."""
    margins = ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0))
    return enlarge(np.pad(_text(text), margins, constant_values=255), size)


def _column_titles(titles: Sequence[str], width: int, gap: int, below: np.ndarray) -> np.ndarray:
    """A white band as wide as the (H, W, c) image `below`, with the titles over columns `width` wide, `gap` apart.

    Some letters of the font begin a pixel before their place, which is in the gap for the first of a line.
    """
    height, character = _CHARACTER
    band = np.full((_band_height(titles, width), *below.shape[1:]), 255, np.uint8)
    for column, title in enumerate(titles):
        left = gap + column * (width + gap)
        for number, line in enumerate(_title_lines(title, width)):
            text, top = _text(" " + line)[:, character - 1 :], 1 + number * height
            band[top : top + height, left - 1 : left - 1 + text.shape[1]] = text
    return band


def _band_height(titles: Sequence[str], width: int) -> int:
    """That of the lines that the titles take, and a pixel above and below; 0 without titles."""
    lines = max((len(_title_lines(title, width)) for title in titles), default=0)
    return lines and lines * _CHARACTER[0] + 2


class _TitleWrapper(textwrap.TextWrapper):
    """Breaks at spaces, and behind hyphens and slashes."""

    wordsep_re = re.compile(r"(\s+|\S*?[/-])")


def _title_lines(title: str, width: int) -> list[str]:
    return _TitleWrapper(width // _CHARACTER[1]).wrap(title)[:_TITLE_LINES]


def _can_show(text: str) -> bool:
    """Whether the font of captions and titles has the characters of `text`: printable ones of Latin-1."""
    return text.isprintable() and all(ord(character) < 256 for character in text)


def _text(text: str) -> np.ndarray:
    """One line as (h, w, 1) uint8, black on white."""
    font = ImageFont.load_default_imagefont()
    shown = text.encode("latin-1", "replace")
    left, top, right, bottom = (int(edge) for edge in font.getbbox(shown))
    picture = Image.new("L", (right - left, bottom - top), 255)
    ImageDraw.Draw(picture).text((-left, -top), shown, 0, font=font)
    return np.asarray(picture)[..., None]


def gif(frames: np.ndarray, milliseconds: int | list[int] = FRAME_MILLISECONDS) -> bytes:
    """An endless GIF of (n, h, w, c) uint8 frames. Greys are kept exactly; colours are reduced to 256 a frame."""
    pictures = [_of_256_levels(to_pillow(frame)) for frame in frames]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
    return buffer.getvalue()


def _of_256_levels(picture: Image.Image) -> Image.Image:
    return picture if picture.mode == "L" else picture.quantize(256, Image.Quantize.MEDIANCUT)


def read_gif(content: bytes, channels: int, max_bytes: int) -> np.ndarray | None:
    """Decodes a GIF to (n, h, w, channels) uint8; None if it is damaged or larger than `max_bytes`.

    Equal frames in a row are one frame in a GIF, and come back as one.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content), formats=["GIF"]) as picture:
            shape = (picture.height, picture.width, channels)
            if getattr(picture, "n_frames", 1) * math.prod(shape) > max_bytes:
                return None
            mode = "L" if channels == 1 else "RGB"
            frames = [np.asarray(frame.convert(mode)).reshape(shape) for frame in ImageSequence.Iterator(picture)]
            return np.stack(frames)
    except Exception:  # Pillow's decoders raise nearly anything on damaged files
        return None
