"""Feature networks: what turns images into the rows that `kgan.evaluation.quality` compares.

    inception    pool_3 of the 2015 Inception graph: the only features whose Frechet distance is called FID
    classifier   a small CNN that kgan trains once on a labelled data set
    pca          64 principal components of the pixels, where there are no labels

All are used through `FeatureNetwork`. Distances of different networks, or of one network with different weights, cannot
be compared: a result carries `FeatureNetwork.protocol()`. TensorFlow is imported only when a network that needs it is
made.
"""

import abc
import hashlib
import json

import numpy as np
import scipy.linalg

from kgan.data.view import Images
from kgan.errors import UserError
from kgan.evaluation.cache import cached, sha256_of_arrays
from kgan.progress import Progress

NAMES = ("inception", "classifier", "pca")

INCEPTION_WIDTH, CLASSIFIER_WIDTH, PCA_COMPONENTS = 2048, 128, 64
# Above this many pixel values an image, the components are found among as many images, not as many pixels.
_PCA_LARGEST_MATRIX = 4096
_PCA_BATCH = 1024


class FeatureNetwork(abc.ABC):
    """A fixed function from images to feature rows, and to class probabilities where it has classes.

    Attributes: `name` (one of NAMES), `distance_name` (what its Frechet distance may be called), `sha256` (over its
    weights, or what they follow from, in hexadecimal), `width` (columns of the features), `num_classes` (0 without
    probabilities), `batch_size`.
    """

    name: str
    distance_name: str
    sha256: str
    width: int
    num_classes: int = 0
    batch_size: int

    def outputs(self, images: Images, progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Features (n, width) and class probabilities (n, num_classes) or None, float32, of uint8 NHWC images.

        They have the shape that the network was fitted on. `progress(done, n)` is called after each batch.
        """
        batches = []
        for start in range(0, len(images), self.batch_size):
            batches.append(self._outputs(images[start : start + self.batch_size]))
            if progress:
                progress(min(start + self.batch_size, len(images)), len(images))
        features, probabilities = zip(*batches, strict=True)
        return np.concatenate(features), np.concatenate(probabilities) if self.num_classes else None

    @abc.abstractmethod
    def _outputs(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """`outputs` of one batch."""

    def protocol(self) -> dict[str, object]:
        """What a score made with these features has to carry, as JSON values."""
        return {
            "features": self.name,
            "distance_name": self.distance_name,
            "features_sha256": self.sha256,
            "features_width": self.width,
        }


class PcaFeatures(FeatureNetwork):
    """Pixels in [-1, 1], less their mean, projected on orthonormal components (pixels, width).

    Sees what a linear map of the pixels sees: brightness, contrast and coarse layout, not whether an image is sharp.
    """

    name = "pca"
    distance_name = "PCA FD"

    def __init__(self, mean: np.ndarray, components: np.ndarray, sha256: str):
        """`sha256` is that of what the components were found from: their last bits differ from machine to machine."""
        self.mean, self.components, self.sha256 = mean, components, sha256
        self.batch_size = _rows(len(mean))
        self.width = components.shape[1]

    def _outputs(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        return (_centred(images, self.mean) @ self.components).astype(np.float32), None


def load_pca(images: Images, components: int = PCA_COMPONENTS) -> PcaFeatures:
    """The first principal components of the training images (n, h, w, c), uint8.

    At most min(components, n - 1, pixels) of them, by decreasing variance, each with its largest entry positive. Found
    from the covariance of the pixels; for images of more than 4096 pixel values, from the inner products of at most
    4096 images evenly spaced in their order. Cached under the images' sha256. Raises UserError for fewer than 2 images.
    """
    if len(images) < 2:
        raise UserError("principal components need at least 2 training images")
    key = {"version": 1, "images_sha256": sha256_of_arrays(images), "components": components}
    arrays = cached("pca", key, lambda: _fit_pca(images, components))
    found_from = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return PcaFeatures(arrays["mean"], arrays["components"], found_from)


def _rows(pixels: int) -> int:
    """How many images of so many pixel values are taken at once: 128 MiB of them in float64."""
    return max(1, min(_PCA_BATCH, 2**24 // pixels))


def _pixels(images: np.ndarray) -> np.ndarray:
    """(n, pixels) float64 in [-1, 1]."""
    pixels = images.reshape(len(images), -1) / 127.5
    pixels -= 1.0
    return pixels


def _centred(images: np.ndarray, mean: np.ndarray) -> np.ndarray:
    pixels = _pixels(images)
    pixels -= mean
    return pixels


def _fit_pca(images: Images, components: int) -> dict[str, np.ndarray]:
    pixels = int(np.prod(images.shape[1:]))
    if pixels > _PCA_LARGEST_MATRIX and len(images) > _PCA_LARGEST_MATRIX:
        images = images[np.linspace(0, len(images) - 1, _PCA_LARGEST_MATRIX).astype(int)]
    count = min(components, len(images) - 1, pixels)
    batches = [slice(start, start + _rows(pixels)) for start in range(0, len(images), _rows(pixels))]
    mean = sum(_pixels(images[rows]).sum(axis=0) for rows in batches) / len(images)
    if pixels <= _PCA_LARGEST_MATRIX:
        scatter = np.zeros((pixels, pixels))
        for rows in batches:
            centred = _centred(images[rows], mean)
            scatter += centred.T @ centred
        vectors = _leading_eigenvectors(scatter, count)
    else:
        # The right singular vectors from the left ones; QR keeps them orthonormal where a singular value is 0.
        flat = images[:].reshape(len(images), -1)
        parts = [slice(start, start + _PCA_LARGEST_MATRIX) for start in range(0, pixels, _PCA_LARGEST_MATRIX)]
        products = sum((part := _centred(flat[:, some], mean[some])) @ part.T for some in parts)
        left = _leading_eigenvectors(products, count)
        vectors = np.linalg.qr(np.concatenate([_centred(flat[:, some], mean[some]).T @ left for some in parts]))[0]
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(count)]
    return {"mean": mean, "components": vectors * np.where(largest < 0, -1.0, 1.0)}


def _leading_eigenvectors(matrix: np.ndarray, count: int) -> np.ndarray:
    """The (n, count) eigenvectors of a symmetric matrix with the largest eigenvalues, largest first."""
    size = len(matrix)
    return scipy.linalg.eigh(matrix, subset_by_index=[size - count, size - 1])[1][:, ::-1]
