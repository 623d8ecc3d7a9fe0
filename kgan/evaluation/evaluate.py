"""`kgan.evaluate`: scores of a generator's images, beside what real images score against each other."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kgan.arguments import check_range, check_run_or_samples, refuse_changed
from kgan.errors import UserError
from kgan.evaluation import inputs, protocol
from kgan.evaluation.cache import sha256_of_arrays
from kgan.evaluation.summary import summary
from kgan.files import write_atomically
from kgan.latents import MAX_SEED
from kgan.progress import Counter, Progress
from kgan.runs import environment
from kgan.runs.rundir import RunDir
from kgan.sampling.read import Source, check_exists


@dataclass(frozen=True)
class Evaluation:
    """The record of an evaluation; all fields but `skipped` are keys of evaluation.json.

    `scores` are those of the samples, their mean if there are several sets; `floor` has the same keys: the real-data
    baseline, what as many real images score against the same reference images. `protocol` says how they were
    measured. `spread` has the standard deviations over sets of samples, or is None for one set, and is then left out of
    the file. `skipped` has a line for each file that was not an image to score.
    """

    scores: dict[str, float]
    floor: dict[str, float]
    protocol: dict[str, Any]
    spread: dict[str, float] | None = None
    skipped: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        """The scores in words, as `kgan evaluate` prints them."""
        return summary(self)

    def to_dict(self) -> dict[str, Any]:
        """The content of evaluation.json, as JSON values."""
        record: dict[str, Any] = {"scores": self.scores, "floor": self.floor, "protocol": self.protocol}
        return record if self.spread is None else record | {"spread": self.spread}

    def save(self, path: str | os.PathLike) -> None:
        """Writes evaluation.json, whole or not at all."""
        write_atomically(path, (json.dumps(self.to_dict(), indent=2) + "\n").encode())


def evaluate(
    run: str | os.PathLike | np.ndarray | None = None,
    *,
    samples: Source | None = None,
    dataset: str | None = None,
    train: Source | None = None,
    data_dir: str | None = None,
    num_heldout: int | None = None,
    features: str = "auto",
    inception_graph: str | os.PathLike | None = None,
    reference: str = "train",
    num_samples: int = 10_000,
    seed: int = 0,
    repeats: int = 1,
    checkpoint: str | int = "best",
    ema: bool = True,
    progress: Progress | None = None,
    log: Callable[[str], None] | None = None,
) -> Evaluation:
    """Scores generated images against real ones, beside what real images score against each other.

    The images are those of a `run` folder, or the `samples` of any generator together with real images: the name of a
    `dataset`, or `train`. Images are given as uint8 arrays (n, h, w, c), or (n, h, w) if grey, or as paths to a folder,
    an .npz or an .npy. N images are compared with N: at most half of the real images, since as many others give the
    baseline. Features of real images and trained classifiers are kept in $KGAN_CACHE_DIR, else ~/.cache/kgan.

    Args:
        run: a run folder. Its data set is read again; its samples are drawn anew.
        samples: the images to score, instead of a run's.
        dataset: the data set to hold `samples` against.
        train: the real images to hold `samples` against, instead of `dataset`.
        data_dir: where the data set lies. Default: where the run says, else $KGAN_DATA_DIR.
        num_heldout: with `dataset`, as in `kgan.TrainConfig`. Default: min(5000, a tenth).
        features: "inception" (FID), "classifier" (trained once on a labelled data set; takes minutes), "pca", or
            "auto": the first of these that colour, labels and N allow.
        inception_graph: classify_image_graph_def.pb of inception-2015-12-05.tgz. Default: sought in `data_dir`,
            $KGAN_DATA_DIR and the cache folder; with "inception" it is downloaded to the last, 91 MiB, if it is not
            there.
        reference: the split of the data set to compare with: "train" (what a run trains on), "test" or "heldout".
        num_samples: how many samples to score.
        seed: of the samples of a run, which are images 0 to N - 1 as `kgan sample` draws them.
        repeats: score this many sets of samples of a run, of seeds `seed`, `seed` + 1, ...
        checkpoint: of the run: "best" (if one was scored, else the last), "last" or a step.
        ema: draw with the averaged weights, if the run has them.
        progress: called with (done, total) now and then; counts images.
        log: called with a line of text now and then while a classifier trains.

    Raises:
        UserError: for arguments that do not fit together, files that cannot be read, too few images for the features,
            and images that do not match.
    """
    if isinstance(run, np.ndarray) and samples is None:
        run, samples = None, run
    check_run_or_samples(run, samples)
    for name, source in {"samples": samples, "train": train}.items():
        check_exists(source, name)
    check_range("num_samples", num_samples, 2, 10**9)
    check_range("seed", seed, 0, MAX_SEED)
    check_range("repeats", repeats, 1, 1000)
    if seed + repeats > MAX_SEED + 1:
        raise UserError(f"--repeats={repeats}: goes beyond the last seed, {MAX_SEED}")
    if samples is None:
        assert run is not None and not isinstance(run, np.ndarray)
        others = {"dataset": dataset, "num_heldout": num_heldout, "train": train}
        refuse_changed(evaluate, others, "--samples; a run has its own")
        opened = RunDir.open(run)
        data_dir = data_dir or opened.read_config().data_dir
        images = inputs.of_run(
            opened, reference=reference, data_dir=data_dir, seeds=range(seed, seed + repeats), checkpoint=checkpoint,
            ema=ema,
        )  # fmt: skip
    else:
        others = {"checkpoint": checkpoint, "ema": ema, "seed": seed, "repeats": repeats}
        refuse_changed(evaluate, others, "a run; the images of --samples are what they are")
        images = inputs.of_samples(
            samples, dataset=dataset, train=train, reference=reference, data_dir=data_dir, num_heldout=num_heldout,
            num_samples=num_samples,
        )  # fmt: skip
    return _scored(images, num_samples, features, inception_graph, data_dir, progress, log)


def _scored(
    images: inputs.EvaluationImages,
    num_samples: int,
    features: str,
    graph: str | os.PathLike | None,
    data_dir: str | None,
    progress: Progress | None,
    log: Callable[[str], None] | None,
) -> Evaluation:
    real, draws = images.reference, images.available is None
    count, reason = protocol.common_count(real, num_samples, images.available)
    choice = protocol.select_features(features, real, count, graph, data_dir)
    protocol.check_count(choice, real, count)
    if draws or choice.name != "pca":
        environment.import_tensorflow()
    network = protocol.load_network(choice, real, log or (lambda line: None))
    counter = Counter(progress, (2 + images.num_sets * (2 if draws else 1)) * count)
    evaluator = protocol.Evaluator(network, real, count, counter.stage(2 * count))
    about, sets = images.draw(count, counter)
    digests, results = [], []
    for drawn in sets:
        digests.append(sha256_of_arrays(drawn))
        results.append(evaluator.scores(drawn, counter.stage(count)))
        del drawn  # before the next are drawn: they may take gigabytes
    scores, spread = protocol.summarise(results)
    about = {"features_reason": choice.reason, "num_samples_reason": reason, **about, "samples_sha256": digests}
    if spread:
        about["spread"] = f"standard deviation (n - 1) over {len(results)} sample seeds"
    return Evaluation(scores, evaluator.floor, evaluator.protocol() | about, spread or None, images.skipped)
