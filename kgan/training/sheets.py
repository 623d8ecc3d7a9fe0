"""Sheets and films of generated images, with a caption that people can see.

Drawing is exact: the same images give the same pixels on every machine, so that `kgan verify` can draw a sheet again.
Hence Pillow's bitmap font; how an outline font is rendered depends on the FreeType it was built with.
"""

import io
import math
import warnings

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageSequence

from kgan.images import enlarge, grid, to_pillow

CAPTION = "AI-generated"
FRAME_MILLISECONDS = 80
FRAME_SIZE = 128
_MARGIN = 4
_WIDE = 400  # sheets from this width on get a caption of twice the size
_MAX_COLUMNS = 32


def sheet(pictures: np.ndarray, columns: int | None = None, caption: bool = True) -> np.ndarray:
    """A grid of (n, h, w, c) uint8 images, small ones enlarged to about 64 pixels, as one (H, W, c) uint8 image."""
    drawn = enlarge(grid(pictures, columns), max(1, 64 // pictures.shape[1]))
    return captioned(drawn) if caption else drawn


def class_columns(num_classes: int) -> int | None:
    """The columns of a sheet whose labels are the classes in turn: each shows one class, unless they are too many."""
    return num_classes * max(1, 8 // num_classes) if 1 < num_classes <= _MAX_COLUMNS else None


def film(pictures: np.ndarray, caption: bool = True) -> np.ndarray:
    """The frames of a film of (n, h, w, c) uint8 images, enlarged to about 128 pixels, as (n, H, W, c) uint8."""
    factor = max(1, FRAME_SIZE // pictures.shape[1])
    frames = [enlarge(picture, factor) for picture in pictures]
    return np.stack([captioned(frame) if caption else frame for frame in frames])


def captioned(image: np.ndarray) -> np.ndarray:
    """The (h, w, c) uint8 image above a white band that says "AI-generated"; widened where it is narrower than that."""
    text = _caption(2 if image.shape[1] >= _WIDE else 1)
    height, width, channels = image.shape
    sheet = np.full((height + text.shape[0], max(width, text.shape[1]), channels), 255, np.uint8)
    sheet[:height, :width] = image
    sheet[height:, : text.shape[1]] = text
    return sheet


def _caption(size: int) -> np.ndarray:
    """The caption as (h, w, 1) uint8, black on white."""
    font = ImageFont.load_default_imagefont()
    left, top, right, bottom = font.getbbox(CAPTION)
    picture = Image.new("L", (right - left, bottom - top), 255)
    ImageDraw.Draw(picture).text((-left, -top), CAPTION, 0, font=font)
    margins = ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0))
    return enlarge(np.pad(np.asarray(picture)[..., None], margins, constant_values=255), size)


def gif(frames: np.ndarray, milliseconds: int | list[int] = FRAME_MILLISECONDS) -> bytes:
    """An endless GIF of (n, h, w, c) uint8 frames. Greys are kept exactly; colours are reduced to 256 a frame."""
    pictures = [to_pillow(frame) for frame in frames]
    if frames.shape[-1] == 3:
        pictures = [picture.quantize(256, Image.Quantize.MEDIANCUT) for picture in pictures]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
    return buffer.getvalue()


def frames_of(content: bytes, channels: int, max_bytes: int) -> np.ndarray | None:
    """Decodes a GIF to (n, h, w, channels) uint8; None if it is damaged or larger than `max_bytes`.

    Equal frames in a row are one frame in a GIF, and come back as one.
    """
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content), formats=["GIF"]) as picture:
            warnings.simplefilter("ignore")
            shape = (picture.height, picture.width, channels)
            if picture.n_frames * math.prod(shape) > max_bytes:
                return None
            mode = "L" if channels == 1 else "RGB"
            frames = [np.asarray(frame.convert(mode)).reshape(shape) for frame in ImageSequence.Iterator(picture)]
            return np.stack(frames)
    except Exception:  # Pillow's decoders raise nearly anything on damaged files
        return None
