"""What happens to images on their way to the discriminator. Every random number comes from a `RandomStream`."""

import pkgutil

import tensorflow as tf

from kgan.choices import AUGMENTATIONS, augmentations
from kgan.models.random import RandomStream


def prepare_real(images: tf.Tensor, stream: RandomStream, flip: bool, dequantize: bool) -> tf.Tensor:
    """uint8 (b, h, w, c) to float32 in [-1, 1].

    `flip` mirrors each image with probability 1/2. `dequantize` adds noise uniform over one grey level
    (Theis et al. 2016, arXiv:1511.01844), so that D cannot tell real images by their 256 levels.
    """
    images = tf.cast(images, tf.float32)
    if dequantize:
        images = (images + stream.fold("dequantize").uniform(images.shape)) * (255.0 / 256.0)
    if flip:
        mirrored = stream.fold("flip").uniform((images.shape[0], 1, 1, 1)) < 0.5
        images = tf.where(mirrored, tf.reverse(images, [2]), images)
    return images / 127.5 - 1.0


def augment(policy: str, images: tf.Tensor, stream: RandomStream) -> tf.Tensor:
    """What --augment asks for, differentiable in the images: float32 (b, h, w, c) to the same shape.

    All of it together is DiffAugment (Zhao et al. 2020, arXiv:2006.10738), with its ranges, rounded down.
    """
    for name in augmentations(policy):
        images = pkgutil.resolve_name(AUGMENTATIONS[name])(images, stream)
    return images


def recolour(images: tf.Tensor, stream: RandomStream) -> tf.Tensor:
    """Brightness +-0.5, saturation 0..2 and contrast 0.5..1.5, each image by its own."""
    one_each = (images.shape[0], 1, 1, 1)
    images += stream.fold("brightness").uniform(one_each, -0.5, 0.5)
    grey = tf.reduce_mean(images, axis=3, keepdims=True)
    images = grey + (images - grey) * stream.fold("saturation").uniform(one_each, 0.0, 2.0)
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    return mean + (images - mean) * stream.fold("contrast").uniform(one_each, 0.5, 1.5)


def translate(images: tf.Tensor, stream: RandomStream) -> tf.Tensor:
    """Shifts by up to an eighth of the side, with zeros coming in.

    Each axis is shifted by a product with a 0/1 matrix: fast, differentiable and deterministic everywhere.
    """
    batch, side, stream = images.shape[0], images.shape[1], stream.fold("translation")
    reach = side // 8
    shifts = [stream.fold(axis).integers((batch, 1), -reach, reach) for axis in ("y", "x")]
    rows, columns = (tf.one_hot(tf.range(side, dtype=tf.int64) + shift, side) for shift in shifts)
    return tf.einsum("byi,bijc,bxj->byxc", rows, images, columns)


def cutout(images: tf.Tensor, stream: RandomStream) -> tf.Tensor:
    """A square of half the side, part of which may lie outside, is set to zero."""
    batch, side, stream = images.shape[0], images.shape[1], stream.fold("cutout")
    hole, places = side // 2, tf.range(side, dtype=tf.int64)
    inside = []
    for axis in ("y", "x"):
        start = stream.fold(axis).integers((batch, 1), -(hole // 2), side - hole // 2)
        inside.append((places >= start) & (places < start + hole))
    covered = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return tf.where(covered, 0.0, images)
