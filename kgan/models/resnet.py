"""The residual networks of Miyato et al. 2018 (arXiv:1802.05957), appendix B.4.

At 32 pixels they are those of table 4, at 48 of table 5 and at 128 of table 6; at other sizes the widths of the latter
two go on, 64 channels at the full side and twice as many at each half, up to 1,024. Where the tables are silent they
are the authors' program: a discriminator's block is as wide inside as the maps it is given, the first one as those it
returns, and halving comes before the 1x1 convolution of a shortcut, as doubling comes after it, which is the same and
cheaper.
"""

from keras import layers

from kgan.models.architectures import Architecture, LayerFactory, Shapes, doublings
from kgan.models.layers import GlobalSumPooling2D


def _generator(make: LayerFactory, x, shapes: Shapes):
    """A conditional one has the class in all of its batch norms but the last, and nowhere else."""
    start, blocks = doublings(shapes.image_size, 4)
    counts = [256] * 4 if shapes.image_size == 32 else _widths(blocks + 1)[::-1]
    first, *widths = map(make.channels, counts)
    x = layers.Reshape((start, start, first), name="reshape")(make.dense(start * start * first, name="dense")(x))
    for i, width in enumerate(widths, 1):
        x = _doubling_block(make, x, width, f"block_{i}")
    x = layers.ReLU(name="relu")(make.batch_norm("bn")(x))
    return make.conv(shapes.channels, 3, "conv")(x)


def _discriminator(make: LayerFactory, x):
    _, halvings = doublings(x.shape[1], 3)
    counts, halvings = ([128] * 4, 2) if x.shape[1] == 32 else (_widths(halvings + 1), halvings)
    for i, width in enumerate(map(make.channels, counts), 1):
        x = _block(make, x, width, f"block_{i}", is_first=i == 1, halves=i <= halvings)
    return GlobalSumPooling2D(name="features", dtype="float32")(layers.ReLU(name="relu")(x))


def _doubling_block(make: LayerFactory, x, width: int, name: str):
    hidden = layers.ReLU(name=f"{name}_relu_1")(make.class_batch_norm(x, f"{name}_bn_1"))
    hidden = make.conv(width, 3, f"{name}_conv_1")(layers.UpSampling2D(name=f"{name}_up")(hidden))
    hidden = layers.ReLU(name=f"{name}_relu_2")(make.class_batch_norm(hidden, f"{name}_bn_2"))
    hidden = make.conv(width, 3, f"{name}_conv_2")(hidden)
    shortcut = layers.UpSampling2D(name=f"{name}_shortcut_up")(make.conv(width, 1, f"{name}_shortcut")(x))
    return layers.Add(name=name)([hidden, shortcut])


def _block(make: LayerFactory, x, width: int, name: str, is_first: bool, halves: bool):
    """The first one sees images, which need no ReLU."""
    hidden = x if is_first else layers.ReLU(name=f"{name}_relu_1")(x)
    hidden = make.d_conv(width if is_first else x.shape[-1], 3, 1, f"{name}_conv_1")(hidden)
    hidden = make.d_conv(width, 3, 1, f"{name}_conv_2")(layers.ReLU(name=f"{name}_relu_2")(hidden))
    shortcut = x
    if halves:
        hidden = layers.AveragePooling2D(2, name=f"{name}_down")(hidden)
        shortcut = layers.AveragePooling2D(2, name=f"{name}_shortcut_down")(shortcut)
    if halves or x.shape[-1] != width:
        shortcut = make.d_conv(width, 1, 1, f"{name}_shortcut")(shortcut)
    return layers.Add(name=name)([hidden, shortcut])


def _widths(count: int) -> list[int]:
    return [min(1024, 64 * 2**i) for i in range(count)]


RESNET = Architecture(_generator, _discriminator, spectral_norm=True, class_in_norm=True)
