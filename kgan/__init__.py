"""kgan trains DCGANs with TensorFlow and Keras, measures them, and says where every image came from.

    import kgan
    run = kgan.train(kgan.TrainConfig(dataset="mnist5k", epochs=10), run_dir="runs/first")
    images = kgan.load(run).generate(64, seed=1)        # uint8, (64, 28, 28, 1)

Importing kgan imports no TensorFlow; the first `train` or `load` does.
"""

from importlib import import_module

__version__ = "0.1.0"

_PUBLIC = {"TrainConfig": "kgan.config", "train": "kgan.training.loop", "load": "kgan.runs.generator"}
__all__ = ["TrainConfig", "__version__", "load", "train"]


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'kgan' has no attribute {name!r}")
