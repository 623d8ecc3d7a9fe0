"""Part of a data set's images, without a copy of them."""

import numpy as np


class ImageView:
    """`images[rows]`, read when it is asked for: images (n, h, w, c) of an array that may be mapped from a file.

    Indexing gives arrays, as of an array with these rows.
    """

    def __init__(self, images: np.ndarray, rows: np.ndarray):
        self.images, self.rows = images, rows
        self.shape = (len(rows), *images.shape[1:])
        self.dtype, self.ndim = images.dtype, images.ndim

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key) -> np.ndarray:
        return self.images[self.rows[key]]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


Images = np.ndarray | ImageView


def view_of(images: Images, rows: np.ndarray) -> ImageView:
    """Some rows of images, or of a view of some."""
    return ImageView(images.images, images.rows[rows]) if isinstance(images, ImageView) else ImageView(images, rows)
