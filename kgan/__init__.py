"""kgan trains small GANs with TensorFlow and Keras, scores them, looks for copies, and marks where images came from.

    import kgan
    run = kgan.train(dataset="mnist5k", epochs=10, run_dir="runs/first")
    images = kgan.load(run).generate(64, seed=1)        # uint8, (64, 28, 28, 1)

Importing kgan imports no TensorFlow; the first function that needs it does.
"""

from importlib import import_module

__version__ = "0.2.0"

_PUBLIC = {
    "TrainConfig": "kgan.config",
    "UserError": "kgan.errors",
    "audit": "kgan.auditing.audit",
    "evaluate": "kgan.evaluation.evaluate",
    "export": "kgan.exporting.export",
    "load": "kgan.runs.generator",
    "report": "kgan.reports.report",
    "sample": "kgan.sampling.sample",
    "sweep": "kgan.sweeping.sweep",
    "train": "kgan.training.train",
    "verify": "kgan.sampling.verify",
}
"""The public names and the modules that define them."""

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'kgan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
