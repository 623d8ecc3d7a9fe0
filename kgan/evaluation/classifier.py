"""The classifier features: a small CNN trained once on a labelled data set and cached.

Its penultimate layer stands in for Inception's where images are grey, small, or the Inception graph is out of reach.
Two scores can be compared if `features_sha256` is the same in both. Trained on other weights, the "classifier FD" has
another unit.
"""

import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np

from kgan.data.view import Images
from kgan.evaluation.cache import cached, sha256_of_arrays
from kgan.evaluation.features import CLASSIFIER_WIDTH, FeatureNetwork
from kgan.runs import environment

_BATCH = 128
_STEPS = 2000
_MOST_EPOCHS = 60  # small data sets take fewer steps
_PEAK_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 0.05
_SHIFT = 2  # pixels, each way
_SEED = 0
_INFERENCE_BATCH = 256
# Part of the cache's key: raise it when anything above, the network or its training changes.
_VERSION = 1


class ClassifierFeatures(FeatureNetwork):
    """The 128 averaged activations before the last layer, and its softmax over the data set's classes.

    `test_accuracy` is the share of unseen images that it gets right, None if there were none.
    """

    name = "classifier"
    distance_name = "classifier FD"
    width = CLASSIFIER_WIDTH
    batch_size = _INFERENCE_BATCH

    test_accuracy: float | None = None

    def __init__(self, weights: list[np.ndarray], image_shape: tuple[int, int, int], num_classes: int):
        self.num_classes = num_classes
        self.sha256 = sha256_of_arrays(*weights)
        model = _build(image_shape, num_classes)
        model.set_weights(weights)
        self._infer = _inference(model)

    def _outputs(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._infer(images)

    def protocol(self) -> dict[str, object]:
        return {**super().protocol(), "classifier_test_accuracy": self.test_accuracy}


def load_classifier(
    images: Images,
    labels: np.ndarray,
    num_classes: int,
    unseen: Callable[[], tuple[Images, np.ndarray] | None] = lambda: None,
    log: Callable[[str], None] = lambda line: None,
) -> ClassifierFeatures:
    """The classifier of these training images: from the cache, or trained now (minutes on two cores) and cached.

    `images` (n, h, w, c) uint8 and `labels` (n,) int64, 0 to num_classes - 1, are what it may see: leave held-out
    images out. The cache's key is their sha256, so another held-out choice is another classifier. The order of the
    batches, the first weights and the shifts are fixed; the last bits of the weights still depend on the machine's
    arithmetic, so copy the cache folder along where scores of several machines are to be compared. The images and
    labels that `unseen()` gives tell its accuracy, and are never trained on. `log` gets a line now and then while it
    trains.
    """
    key = {"version": _VERSION, "data_sha256": sha256_of_arrays(images, labels), "num_classes": num_classes}
    arrays = cached("classifier", key, lambda: _train(images, labels, num_classes, log))
    network = ClassifierFeatures([arrays[name] for name in sorted(arrays)], images.shape[1:], num_classes)
    test = unseen()
    if test and len(test[0]):
        test_images, test_labels = test
        key = {"classifier_sha256": network.sha256, "test_sha256": sha256_of_arrays(test_images, test_labels)}
        arrays = cached("accuracy", key, lambda: _accuracy(network, test_images, test_labels))
        network.test_accuracy = float(arrays["accuracy"])
        log(f"the classifier gets {network.test_accuracy:.2%} of {len(test_images)} unseen images right")
    return network


def _build(image_shape: tuple[int, int, int], num_classes: int):
    """A Keras model from images in [-1, 1] to (features (n, 128), logits (n, num_classes)).

    3x3 convolutions with batch norm: one of 32 channels, then two of 64, two of 128 (as often as needed) with the
    resolution halved before each pair until it is 8 or less, and an average over what is left. Layers are float32
    whatever Keras's global policy is, initialised from fixed seeds whatever its global seed, and named, so that no
    other model's automatic names depend on whether this one was built before it.
    """
    import keras

    numbers = itertools.count()

    def convolution(x, channels):
        number = next(numbers)
        x = keras.layers.Conv2D(
            channels,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.HeNormal(seed=_SEED + number),
            dtype="float32",
            name=f"classifier_conv{number}",
        )(x)
        x = keras.layers.BatchNormalization(
            momentum=0.95, epsilon=1e-5, dtype="float32", name=f"classifier_norm{number}"
        )(x)
        return keras.layers.ReLU(dtype="float32", name=f"classifier_relu{number}")(x)

    inputs = keras.Input(image_shape, dtype="float32", name="classifier_images")
    x = convolution(inputs, 32)
    resolution, channels = min(image_shape[:2]), 64
    while True:
        if resolution > 4:
            x = keras.layers.MaxPooling2D(2, dtype="float32", name=f"classifier_pool{resolution}")(x)
            resolution //= 2
        last = resolution <= 8
        x = convolution(x, channels)
        x = convolution(x, CLASSIFIER_WIDTH if last else channels)
        if last:
            break
        channels = CLASSIFIER_WIDTH
    features = keras.layers.GlobalAveragePooling2D(dtype="float32", name="classifier_features")(x)
    initializer = keras.initializers.GlorotUniform(seed=_SEED + next(numbers))
    logits = keras.layers.Dense(num_classes, kernel_initializer=initializer, dtype="float32", name="classifier_logits")(
        features
    )
    return keras.Model(inputs, [features, logits], name="classifier")


def _inference(model) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)])
    def outputs(images):
        features, logits = model(_scale(images), training=False)
        return features, tf.nn.softmax(logits)

    @environment.full_float32()
    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features, probabilities = outputs(images)
        return features.numpy(), probabilities.numpy()

    return run


def _scale(images):
    """uint8 to float32 in [-1, 1], as a tensor."""
    import tensorflow as tf

    return tf.cast(images, tf.float32) / 127.5 - 1.0


def _train(images: Images, labels: np.ndarray, num_classes: int, log: Callable[[str], None]) -> dict[str, np.ndarray]:
    """Weights by name, in the model's order: AdamW, one warm-up and cosine cycle, images shifted at random."""
    import keras
    import tensorflow as tf

    steps = min(_STEPS, _MOST_EPOCHS * -(-len(images) // _BATCH))
    log(f"training the {num_classes}-class classifier on {len(images)} images, once: {steps} steps")
    model = _build(images.shape[1:], num_classes)
    warmup = steps // 10
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=_PEAK_LEARNING_RATE, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=_WEIGHT_DECAY, name="classifier_adamw")
    optimizer.build(model.trainable_variables)

    @tf.function(input_signature=[tf.TensorSpec((None, *images.shape[1:]), tf.uint8), tf.TensorSpec((None,), tf.int64)])
    def step(batch, classes):
        with tf.GradientTape() as tape:
            _, logits = model(_scale(batch), training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    started = time.monotonic()
    for index, (batch, classes) in enumerate(_batches(images, labels, steps), start=1):
        loss = step(batch, classes)
        if index % 200 == 0 or index == steps:
            log(f"classifier: step {index} of {steps}, loss {float(loss):.4f}, {time.monotonic() - started:.0f} s")
    return {f"weight_{index:03d}": weight for index, weight in enumerate(model.get_weights())}


def _batches(images: Images, labels: np.ndarray, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`steps` batches from whole permutations of the images, one after another, each image shifted by itself."""
    rng = np.random.default_rng(_SEED)
    order = rng.permutation(len(images))
    for _ in range(steps):
        while len(order) < _BATCH:
            order = np.concatenate([order, rng.permutation(len(images))])
        rows, order = order[:_BATCH], order[_BATCH:]
        yield _shifted(images[rows], rng), labels[rows]


def _shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image moved by up to _SHIFT pixels down and across; its edge pixels are repeated."""
    count, height, width, _ = images.shape
    down, across = rng.integers(-_SHIFT, _SHIFT + 1, (2, count, 1))
    rows = np.clip(np.arange(height) + down, 0, height - 1)
    columns = np.clip(np.arange(width) + across, 0, width - 1)
    return images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _accuracy(network: ClassifierFeatures, images: Images, labels: np.ndarray) -> dict[str, np.ndarray]:
    probabilities = network.outputs(images)[1]
    assert probabilities is not None
    return {"accuracy": np.array(np.mean(probabilities.argmax(axis=1) == labels))}
