"""The same training step in PyTorch, eager, where the package torch is installed; kgan does not depend on it."""

import contextlib
from collections.abc import Callable, Iterator

from keras import layers

from kgan.bench.keras_loops import networks
from kgan.config import TrainConfig
from kgan.models.architectures import Shapes


def loop(config: TrainConfig, shapes: Shapes, batches: Iterator) -> Callable[[], int]:
    """The step of `keras_loops.graph_loop` on networks of the same layers; bfloat16 through autocast."""
    import torch
    from torch.nn import functional

    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator, discriminator = (translated(model).to(device).train() for model in networks(config, shapes))
    g_adam = torch.optim.Adam(generator.parameters(), config.g_lr, (config.beta_1, config.beta_2))
    d_adam = torch.optim.Adam(discriminator.parameters(), config.d_lr, (config.beta_1, config.beta_2))
    cross_entropy = functional.binary_cross_entropy_with_logits
    half = torch.autocast(device, torch.bfloat16) if config.precision == "bfloat16" else contextlib.nullcontext()

    def handle() -> int:
        real = torch.from_numpy(next(batches).numpy()).permute(0, 3, 1, 2).to(device)
        z = torch.randn(config.batch_size, config.latent_dim, device=device)
        with half:
            fake = torch.tanh(generator(z))
            real_logits, fake_logits = discriminator(real).float(), discriminator(fake.detach()).float()
        d_loss = cross_entropy(real_logits, torch.ones_like(real_logits))
        d_loss = d_loss + cross_entropy(fake_logits, torch.zeros_like(fake_logits))
        d_adam.zero_grad()
        d_loss.backward()
        d_adam.step()
        with half:
            fake_logits = discriminator(fake).float()
        g_adam.zero_grad()
        cross_entropy(fake_logits, torch.ones_like(fake_logits)).backward()
        g_adam.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return config.batch_size

    return handle


def translated(model):
    """A chain of Keras layers as a torch.nn.Sequential with fresh weights. Their final activation is left out: the loop
    applies tanh."""
    import torch

    modules = [module for layer in model.layers for module in _module(layer)]
    return torch.nn.Sequential(*modules)


def _module(layer) -> list:
    """The torch modules of one Keras layer. Raises NotImplementedError for a layer that no plain network here has."""
    from torch import nn

    if isinstance(layer, layers.InputLayer | layers.Activation):
        return []
    if isinstance(layer, layers.Dense):
        return [nn.Linear(layer.input.shape[-1], layer.units, bias=layer.use_bias)]
    if isinstance(layer, layers.Conv2DTranspose):
        kernel, stride = layer.kernel_size[0], layer.strides[0]
        padding = max(0, -(-(kernel - stride) // 2))
        extra = stride - kernel + 2 * padding  # so that the side grows by exactly the stride
        channels = layer.input.shape[-1], layer.filters
        return [nn.ConvTranspose2d(*channels, kernel, stride, padding, extra, bias=layer.use_bias)]
    if isinstance(layer, layers.Conv2D):
        kernel, stride = layer.kernel_size[0], layer.strides[0]
        padding = -(-(kernel - stride) // 2)
        return [nn.Conv2d(layer.input.shape[-1], layer.filters, kernel, stride, padding, bias=layer.use_bias)]
    if isinstance(layer, layers.BatchNormalization):
        channels = layer.input.shape[-1]
        return [(nn.BatchNorm2d if len(layer.input.shape) == 4 else nn.BatchNorm1d)(channels)]
    if isinstance(layer, layers.Reshape):
        height, width, channels = layer.target_shape
        return [nn.Unflatten(1, (channels, height, width))]
    simple = {
        layers.LeakyReLU: lambda: nn.LeakyReLU(layer.negative_slope),
        layers.ReLU: nn.ReLU,
        layers.Dropout: lambda: nn.Dropout(layer.rate),
        layers.Flatten: nn.Flatten,
    }
    for kind, make in simple.items():
        if isinstance(layer, kind):
            return [make()]
    raise NotImplementedError(f"{type(layer).__name__} has no translation to PyTorch")
