"""Large images as shorter vectors that never lengthen a distance: sums over blocks of pixels.

Blocks of p x p pixels tile the inner part of an image. The indicators of the blocks, divided by p, are orthonormal, so
that sums divided by p are coordinates, and with the length of what they leave out a distance is bounded on both sides.
A moved window has the same blocks elsewhere: the sums of all moves are read from one array of sums at every pixel.
"""

import numpy as np

from kgan.data.view import Images
from kgan.searching.vectors import Move

COARSE_BLOCK = 16  # images that are made coarse at a time: what is in between stays in the cache
_BLOCKS = 30  # blocks along the shorter side, or a few more


class Coarse:
    """The coarse vectors of images (n, h, w, c), whose inner parts lie `margin` pixels in from every edge.

    `size` is the number of coordinates; they are less those of `mean`, the inner parts' mean.
    """

    def __init__(self, shape: tuple[int, ...], margin: int, mean: np.ndarray):
        height, width, channels = shape
        inner = (height - 2 * margin, width - 2 * margin, channels)
        self.margin, self.side = margin, _block_side(shape, margin)
        self.tiles = inner[0] // self.side, inner[1] // self.side
        self.size = self.tiles[0] * self.tiles[1] * channels
        self.mean = self._tiled(_block_sums(mean.reshape(1, *inner).astype(np.float64), self.side), 0, 0)[0] / self.side

    @staticmethod
    def shortens(shape: tuple[int, ...], margin: int) -> bool:
        """Whether images of this shape are large enough for blocks of more than a pixel."""
        return _block_side(shape, margin) > 1

    def vectors(self, images: np.ndarray, moves: list[Move], mirror: bool = False) -> np.ndarray:
        """(n, h, w, c) images -> (W, n, size + 1) float32: coordinates, and the length of what is left out.

        W is the number of moves; with `mirror`, those of the mirror images follow.
        """
        values = _exact(images)
        sums, squares = _block_sums(values, self.side), _pixel_squares(values)
        height, width = images.shape[1] - 2 * self.margin, images.shape[2] - 2 * self.margin
        result = np.empty((2 if mirror else 1, len(moves), len(images), self.size + 1), np.float32)
        for version in result:
            for vectors, (dy, dx) in zip(version, moves, strict=True):
                top, left = self.margin + dy, self.margin + dx
                own = self._tiled(sums, top, left)
                wholes = squares[:, top : top + height, left : left + width].sum(axis=(1, 2), dtype=np.float64)
                lengths = np.einsum("nd,nd->n", own, own, dtype=np.float64) / self.side**2
                np.subtract(own / self.side, self.mean, out=vectors[:, :-1], casting="same_kind")
                vectors[:, -1] = np.sqrt(np.maximum(wholes - lengths, 0))
            sums, squares = sums[:, :, ::-1], squares[:, :, ::-1]  # as they are for the mirror images
        return result.reshape(-1, len(images), self.size + 1)

    def _tiled(self, sums: np.ndarray, top: int, left: int) -> np.ndarray:
        """(n, size): the sums of the blocks of the window that begins there."""
        rows, columns = self.tiles
        return sums[:, top :: self.side, left :: self.side][:, :rows, :columns].reshape(len(sums), -1)


class CoarseVectors:
    """The coarse vectors (n, size + 1) of images that may lie in a file, made when they are asked for."""

    def __init__(self, images: Images, coarse: Coarse):
        self.images, self.coarse = images, coarse
        self.shape = len(images), coarse.size + 1

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows) -> np.ndarray:
        return self.coarse.vectors(self.images[rows], [(0, 0)])[0]


def _block_side(shape: tuple[int, ...], margin: int) -> int:
    return max(1, (min(shape[:2]) - 2 * margin) // _BLOCKS)


def _exact(images: np.ndarray) -> np.ndarray:
    """As floats whose sums have no error to speak of: what is left out is a small difference of large sums."""
    return images.astype(np.float32 if images.dtype == np.uint8 else np.float64)


def _block_sums(values: np.ndarray, side: int) -> np.ndarray:
    """(n, h, w, c) -> (n, h - side + 1, w - side + 1, c): the sum of the block whose top left pixel is here."""
    height, width = values.shape[1] - side + 1, values.shape[2] - side + 1
    columns = values[:, :height].copy()
    for below in range(1, side):
        columns += values[:, below : below + height]
    blocks = columns[:, :, :width].copy()
    for beside in range(1, side):
        blocks += columns[:, :, beside : beside + width]
    return blocks


def _pixel_squares(values: np.ndarray) -> np.ndarray:
    """(n, h, w, c) -> (n, h, w): the squared length of each pixel."""
    squares = np.square(values[..., 0])
    for channel in range(1, values.shape[3]):
        squares += np.square(values[..., channel])
    return squares
