"""A folder of image files as a data set: first-level folders are classes, whatever lies below belongs to them."""

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from kgan.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
MAX_PIXELS = 50_000_000
MAX_BROKEN = 0.1  # of the files; a folder with more of them is probably not what the user meant


def list_images(root: Path) -> list[Path]:
    """Image files below `root`, ordered by their path relative to it; no hidden files, no links to folders."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(folder, name) for name in files if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def class_of(path: Path, root: Path) -> str | None:
    """The first-level folder that `path` lies in, or None for an image directly in `root`."""
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else None


def read_image(path: Path, size: int, channels: int) -> np.ndarray:
    """Decodes one file to (size, size, channels) uint8: centre crop, then Lanczos resampling; transparency over white.

    Raises UserError as `decode` does.
    """
    image = decode(path, channels, draft=2 * size)
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    resized = image.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    return np.asarray(resized, np.uint8).reshape(size, size, channels)


def decode(path: Path, channels: int, draft: int | None = None) -> Image.Image:
    """One file as a Pillow image of mode L or RGB in its own size; with `draft`, a JPEG may come smaller than that,
    but not below `draft` pixels a side. Of an animation, the first frame.

    Raises UserError naming the file when it is damaged or has more than 50 million pixels (it is not decoded then).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UserError(f"{path}: {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read")
                if draft:
                    image.draft("RGB" if channels == 3 else "L", (draft, draft))
                return _flatten(ImageOps.exif_transpose(image)).convert("L" if channels == 1 else "RGB")
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise UserError(f"{path}: not a readable image ({error})") from None


def read_folder(root: Path, size: int, channels: int) -> tuple[np.ndarray, np.ndarray | None, list[str], list[str]]:
    """Reads every image below `root`.

    Returns images (n, size, size, channels) uint8, labels (n,) int64 or None where some image lies outside
    every class folder, the class names, and one line for each file that could not be read.
    Raises UserError when there are no images, or more than a tenth of the files are broken.
    """
    if not root.is_dir():
        raise UserError(f"{root}: not a folder; --data_dir must be the parent of the class folders, or of the images")
    paths = list_images(root)
    if not paths:
        raise UserError(f"{root}: no images in it ({', '.join(sorted(SUFFIXES))})")
    images, kept, broken = np.empty((len(paths), size, size, channels), np.uint8), [], []
    for path in paths:
        try:
            images[len(kept)] = read_image(path, size, channels)
            kept.append(path)
        except UserError as error:
            broken.append(str(error))
    if len(broken) > MAX_BROKEN * len(paths):
        raise UserError(f"{len(broken)} of {len(paths)} images are broken, more than a tenth; the first: {broken[0]}")
    classes = [class_of(path, root) for path in kept]
    names = sorted({name for name in classes if name is not None})
    labels = None if None in classes else np.array([names.index(name) for name in classes], np.int64)
    return images[: len(kept)], labels, names if labels is not None else [], broken


def _flatten(image: Image.Image) -> Image.Image:
    """Deep greys to 8 bits, and transparency onto white."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.clip(levels / 257.0, 0, 255).round().astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image
