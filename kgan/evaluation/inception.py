"""The Inception features of FID: pool_3 of the frozen graph that Google published on 2015-12-05.

The published scores since Salimans et al. (2016) and Heusel et al. (2017) come from this one file; other Inception
weights (Keras's, torchvision's) give other numbers. The graph resizes to 299 x 299 itself, by TensorFlow 1's bilinear
rule (corner-based, no half-pixel centres, no antialiasing), as it did in the original scripts. So images go in as they
are, with their uint8 values.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kgan.data import downloads
from kgan.errors import UserError
from kgan.evaluation.features import FeatureNetwork
from kgan.files import read_bounded
from kgan.runs import environment

GRAPH_FILE = "classify_image_graph_def.pb"
GRAPH_SHA256 = "009d6814d1bc560d4e7b236e170e9b2d5ca6f4b57bd8037f6db05776204415c6"
GRAPH_BYTES = 95_673_916
ARCHIVE_URL = "https://storage.googleapis.com/download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz"
GRAPH_URL = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/classify_image_graph_def.pb"

_IMAGES = "ExpandDims:0"  # the graph's decoded JPEG, (1, height, width, 3) float32 in 0 to 255, before its resize
_POOL = "pool_3:0"
_LOGITS = "softmax/logits/MatMul"
_BATCH = 32


class InceptionFeatures(FeatureNetwork):
    """pool_3, 2048 wide, and the class probabilities of the Inception score, from a frozen graph file.

    Grey images are fed as three equal channels; images of every size are resized by the graph. The probabilities are
    the softmax of pool_3 times the last layer's weights, without its bias, over all 1008 outputs, as in the code that
    the Inception score was first published with.

    `sha256` is the file's. Raises UserError if it is not GRAPH_SHA256, or if the file is no such graph.
    """

    name = "inception"
    distance_name = "FID"
    batch_size = _BATCH

    def __init__(self, path: str | os.PathLike):
        content = read_bounded(path, 2 * GRAPH_BYTES)
        self.sha256 = hashlib.sha256(content).hexdigest()
        if self.sha256 != GRAPH_SHA256:
            raise UserError(
                f"{path} is not the Inception graph of FID: its sha256 is {self.sha256}, "
                f"and {GRAPH_FILE} of inception-2015-12-05.tgz has {GRAPH_SHA256}"
            )
        self._run, (self.width, self.num_classes) = _load(content, path)

    def _outputs(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._run(images)


def find_graph(path: str | os.PathLike | None, folders: Sequence[str | os.PathLike | None]) -> Path | None:
    """The graph's file: `path` if given (UserError if absent), else the first folder that has it, else None.

    In each folder (a data folder, the cache folder; None is passed over) it is sought under inception/, then directly.
    """
    if path is not None:
        if not Path(path).is_file():
            raise UserError(f"--inception_graph={path}: there is no such file")
        return Path(path)
    for folder in folders:
        for candidate in (Path(folder, "inception", GRAPH_FILE), Path(folder, GRAPH_FILE)) if folder else ():
            if candidate.is_file():
                return candidate
    return None


def fetch_graph(folder: str | os.PathLike) -> Path:
    """Downloads the graph to `folder`/inception/, checks its sha256, and returns where it is.

    Raises UserError, naming the file, where it can be had and where it goes, if that fails.
    """
    target = Path(folder, "inception", GRAPH_FILE)
    try:
        return downloads.fetch(GRAPH_URL, target, GRAPH_SHA256)
    except UserError as error:
        raise UserError(
            f"FID needs {GRAPH_FILE} (91 MiB, sha256 {GRAPH_SHA256[:12]}...), which could not be downloaded ({error}). "
            f"Unpack it from {ARCHIVE_URL} to {target}, or give --inception_graph=PATH, or use --features=classifier"
        ) from None


def _load(content: bytes, path: str | os.PathLike):
    """A function from uint8 images to (features, probabilities), and their widths, from a serialised GraphDef.

    A session of its own graph, not a wrapped function: the file's batch norm op was removed in GraphDef version 9, and
    a graph keeps the version of what is imported to it, while a function always runs at TensorFlow's own version,
    where that op's kernel refuses (seen with 2.21).
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    graph = tf.Graph()
    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(content)
        with graph.as_default():
            images = tf.compat.v1.placeholder(tf.uint8, (None, None, None, 3))
            # Our images in place of the decoded JPEG: the batch dimension, 1 in the file, may then be anything.
            pool, weights = tf.graph_util.import_graph_def(
                graph_def,
                input_map={_IMAGES: tf.cast(images, tf.float32)},
                return_elements=[_POOL, _weights_name(graph_def)],
                name="",
            )
            width, num_classes = weights.shape.as_list()
            features = tf.reshape(pool, (-1, width))
            outputs = features, tf.nn.softmax(features @ weights)
    except (DecodeError, TypeError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is not a frozen Inception graph: {reason}") from error
    session = tf.compat.v1.Session(graph=graph)

    @environment.full_float32()
    def run(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return session.run(outputs, {images: batch if batch.shape[-1] == 3 else batch.repeat(3, axis=-1)})

    return run, (width, num_classes)


def _weights_name(graph_def) -> str:
    """The name of the tensor that pool_3 is multiplied by to give the logits."""
    for node in graph_def.node:
        if node.name == _LOGITS and len(node.input) >= 2:
            return node.input[1] if ":" in node.input[1] else f"{node.input[1]}:0"
    raise ValueError(f"it has no node {_LOGITS}")
