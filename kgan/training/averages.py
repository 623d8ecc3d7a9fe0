"""Batch-norm statistics that belong to the averaged weights."""

import keras
import numpy as np
import tensorflow as tf

from kgan.latents import latents
from kgan.models.architectures import inputs_of
from kgan.models.random import RandomStream, dropout_from
from kgan.runs import environment
from kgan.runs.generator import BATCH, TrainedGenerator

_BATCHES = 5
_FIRST_INDEX = 2**63  # of latents that no sample has


def estimate_statistics(trained: TrainedGenerator) -> dict[str, np.ndarray]:
    """Gives the generator the batch-norm statistics of its own weights, and returns them: path -> (channels,) float32.

    Those that training leaves are of the live weights. These are means over 500 images in 5 batches, as Izmailov et
    al. 2018 (arXiv:1803.05407) estimate those of averaged weights. They depend on nothing but the weights and the
    run's seed, so that a resumed run has the same ones.
    """
    network, dim = trained.generator, trained.config.latent_dim
    layers = network._flatten_layers(include_self=False, recursive=True)
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return {}
    all_labels = _labels(trained)
    for number in range(_BATCHES):
        start = _FIRST_INDEX + number * BATCH
        z, labels = latents(trained.config.seed, range(start, start + BATCH), dim), all_labels[number]
        for norm in norms:
            norm.momentum = number / (number + 1)  # each batch counts for as much as those before
        stream = RandomStream.at(trained.config.seed, tf.constant(number))
        with environment.full_float32(), dropout_from(stream):
            network(inputs_of(network, z, labels), training=True)
    return {variable.path: np.asarray(variable) for norm in norms for variable in norm.non_trainable_variables}


def _labels(trained: TrainedGenerator) -> np.ndarray:
    """Classes in the data set's proportions, int64 (batches, 100); of more than there are images some, at even
    distances."""
    count = _BATCHES * BATCH
    spread = max(1.0, trained.num_classes / count)
    labels = trained.labels_in_proportion(max(count, trained.num_classes))
    places = (np.arange(count) * spread).astype(np.int64)
    return (np.zeros(count, np.int64) if labels is None else labels[places]).reshape(_BATCHES, BATCH)
