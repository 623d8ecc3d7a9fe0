"""What several tests make or measure: pictures, the folder of a run, memory."""

import re
from pathlib import Path

import numpy as np

from kgan import TrainConfig
from kgan.images import write_png
from kgan.runs.rundir import RunDir
from kgan.training.plan import resolve

FORBIDDEN = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/">'
    "<plus:DataMining>http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING</plus:DataMining>"
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)
"""XMP that forbids training on a picture."""

CARD = {"name": "digits", "license": "CC-BY-SA-3.0", "num_images": 5000, "num_train": 4500, "num_heldout": 500}
CARD |= {"image_shape": [28, 28, 1], "classes": {"0": 2500, "1": 2500}, "sha256": "d" * 64, "holder": "somebody"}
EVALUATION = {
    "scores": {"frechet_distance": 4.25, "kernel_distance": 0.02, "kernel_distance_std": 0.003, "precision": 0.7},
    "floor": {"frechet_distance": 0.04, "precision": 0.9},
    "protocol": {"distance_name": "classifier FD", "features": "classifier", "num_samples": 2250},
}
AUDIT = {
    "verdict": "no copying detected",
    "reason": "at this sensitivity nothing stood out",
    "alpha": 0.001,
    "measured_false_positive_rate": 0.002,
    "num_samples": 1000,
    "num_flagged": 1,
    "flagged": [{"sample": 17, "train_index": 4321, "ratio": 0.25, "space": "pixels"}],
    "p_values": {"pixels": {"count": 0.5, "swap": 0.25}},
    "detection_limit": {"exact": 0.0125, "mirrored": None},
    "planted_flagged": {"exact": 1.0},
    "calibration": {"pixels": {"threshold": 0.25}},
    "histograms": {"pixels": {"top": 1.0, "samples": [0.0, 0.25, 0.75], "heldout": [0.0, 0.0, 1.0]}},
    "latent_recovery": {"p_value": 0.5},
    "protocol": {"correction": "Holm"},
}


def to_bytes(images) -> np.ndarray:
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def smooth_images(count, seed=0, size=12, channels=1, coarse=5, noise=0.0, patterns=None, spread=1.0) -> np.ndarray:
    """Random uint8 images with most of their variance in a few directions, as photographs have it.

    They are drawn between `coarse` random values a side, with `noise` grey levels on top; around `patterns`
    ((p, coarse, coarse, channels) in 0 .. 1, taken in turn) if given.
    """
    random = np.random.default_rng(seed)
    grid = random.uniform(0, 1, (count, coarse, coarse, channels))
    if patterns is not None:
        grid = patterns[np.arange(count) % len(patterns)] + spread * (grid - 0.5)
    weights = np.maximum(0, 1 - np.abs(np.linspace(0, coarse - 1, size)[:, None] - np.arange(coarse)))
    images = 255 * np.einsum("yi,xj,nijc->nyxc", weights, weights, grid)
    return to_bytes(images + random.normal(0, noise, images.shape))


def make_run(path, lines=3, frames=3, card=None, **settings) -> RunDir:
    """What a short training would have left, less the weights."""
    card = CARD | (card or {})
    run = RunDir.create(path, resolve(TrainConfig(dataset="mnist5k", epochs=2, **settings), card)[0])
    run.update_record(status="finished", step=280, total_steps=280, dataset=card, git_revision="abc123+")
    names = ("d_loss", "g_loss", "d_real", "d_fake", "d_grad_norm", "g_grad_norm")
    for step in range(10, 10 * lines + 10, 10):
        run.append_metrics({"step": step, "images_per_second": 100.0, "data_wait": 0.1, **dict.fromkeys(names, 1.0)})
    for step in range(100, 100 * frames + 100, 100):
        write_png(run.sample_file(step), np.full((8, 8, 1), step % 256, np.uint8))
    write_png(run.samples / "reals.png", np.zeros((8, 8, 1), np.uint8))
    run.unlock()
    return run


def peak() -> int:
    """The most bytes that this process has had in memory. A child's ru_maxrss begins with its parent's."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
