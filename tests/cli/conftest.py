"""A small conditional run, trained once, and what is drawn from it; in this process, to import TensorFlow once."""

from pathlib import Path

import pytest

import kgan as package
from tests.conftest import draw_folder


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory) -> Path:
    """4 steps of a conditional mlp with averaged weights on 48 grey 28x28 images in two classes."""
    root = tmp_path_factory.mktemp("trained")
    settings = {"dataset": "folder", "image_size": 28, "channels": 1, "arch": "mlp", "batch_size": 8, "steps": 4}
    config = package.TrainConfig(**settings, data_dir=str(draw_folder(root / "images")), conditional=True, g_lr=0.01)
    return package.train(config, run_dir=root / "run").path


@pytest.fixture(scope="session")
def writer(trained_run):
    """Makes a Writer of `kgan sample` for the run: writer(folder, seed=.., label=.., truncation=.., ema=..)."""
    from kgan.runs.generator import load
    from kgan.sampling.draw import SampleSettings
    from kgan.sampling.write import Writer

    loaded = {ema: load(trained_run, ema=ema) for ema in (True, False)}

    def make(folder: Path, producer: str = "", ema: bool = True, seed: int = 0, **settings) -> Writer:
        return Writer(loaded[ema], SampleSettings(seed, **settings), folder, producer)

    return make
