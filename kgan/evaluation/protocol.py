"""One protocol for every score: features, N reference images, N samples, and the real-data baseline.

The baseline (`floor` in the files) is what N other real images score against the same N reference images: no generator
should be expected to do better. Both sides have N rows, since several of the scores depend on their number.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kgan.errors import UserError
from kgan.evaluation import classifier, features, inception, quality
from kgan.evaluation.cache import cached
from kgan.evaluation.features import FeatureNetwork
from kgan.evaluation.reference import Reference
from kgan.files import cache_folder
from kgan.progress import Progress
from kgan.runs.results import score_name

_NEIGHBOURS = 5
_NEARLY = 0.8
# Part of the floor's key in the cache: raise it when the scores change.
_VERSION = 2

# Scores that are a spread, not a score: they stand beside another in a table.
SPREADS = {"kernel_distance_std": "kernel_distance", "inception_score_std": "inception_score"}

# What people call each score, in the order of a table; `title_of` knows which distances have names of their own.
TITLES = {
    "frechet_distance": "Frechet distance",
    "kernel_distance": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "inception_score": "Inception-score form",
    "inception_score_unsplit": "  the same, unsplit",
}
LOWER_IS_BETTER = ("frechet_distance", "kernel_distance")
# Real images are not perfect by these: no generator should be expected to be above the real-data baseline.
BEST_AT_BASELINE = ("precision", "recall", "density", "coverage")


def title_of(name: str, how: Mapping) -> str:
    """What people call the score that was measured by this protocol: FID and KID are of Inception's features only."""
    if name == "frechet_distance":
        return score_name(how)
    return "KID" if name == "kernel_distance" and how.get("features") == "inception" else TITLES[name]


def direction(name: str) -> str:
    """In which direction a score gets better, in words."""
    if name in LOWER_IS_BETTER:
        return "lower"
    return "higher, up to the baseline" if name in BEST_AT_BASELINE else "higher"


@dataclass(frozen=True)
class FeatureChoice:
    """A feature network before it is loaded: its name, the reason for it, and the Inception graph if there is one."""

    name: str
    reason: str
    graph: Path | None = None


def select_features(
    asked: str,
    reference: Reference,
    count: int,
    graph: str | os.PathLike | None = None,
    data_dir: str | None = None,
) -> FeatureChoice:
    """The feature network that --features=`asked` means for `count` of these images a side, without TensorFlow.

    auto passes over features that `count` images are too few for. The Inception graph is `graph` if given, else sought
    in `data_dir`, $KGAN_DATA_DIR and the cache folder. Raises UserError for features that cannot be used here.
    """
    path = inception.find_graph(graph, [data_dir, os.environ.get("KGAN_DATA_DIR"), cache_folder()])
    if asked == "classifier" and not reference.num_classes:
        raise UserError("--features=classifier needs a labelled data set: use --features=pca or --features=inception")
    if asked in features.NAMES:
        return FeatureChoice(asked, "as asked", path)
    if asked != "auto":
        raise UserError(f"--features={asked} is not known: use auto, {', '.join(features.NAMES)}")
    if reference.images.shape[-1] != 3:
        missing = "the images have no colour"
    elif path is None:
        missing = "the Inception graph is not present"
    elif count <= features.INCEPTION_WIDTH:
        missing = f"{count} images are too few for inception"
    else:
        return FeatureChoice("inception", f"the images have colour and {path.name} is present", path)
    if not reference.num_classes:
        return FeatureChoice("pca", f"{missing}, and the data set has no labels", path)
    if count <= features.CLASSIFIER_WIDTH:
        return FeatureChoice("pca", f"{missing}, and {count} images are too few for a classifier", path)
    return FeatureChoice("classifier", f"{missing}, and the data set has labels", path)


def check_count(choice: FeatureChoice, reference: Reference, count: int, way_out: str = "") -> None:
    """Raises UserError, with the way out, if the covariance of `count` images would lack rank (it takes more images
    than features) or they have too few neighbours. To be asked before features are fitted, which may take minutes."""
    width = {
        "inception": features.INCEPTION_WIDTH,
        "classifier": features.CLASSIFIER_WIDTH,
        "pca": min(features.PCA_COMPONENTS, int(np.prod(reference.image_shape))),
    }[choice.name]
    least = max(width, _NEIGHBOURS) + 1
    if count < least:
        way_out = way_out or "more images" + (", or --features=pca" if choice.name != "pca" else "")
        raise UserError(
            f"{count} images are too few for {choice.name} features: it takes at least {least} images a side "
            f"({way_out})"
        )


def load_network(
    choice: FeatureChoice, reference: Reference, log: Callable[[str], None] = lambda line: None
) -> FeatureNetwork:
    """The feature network: read, downloaded or fitted (on images that are not held out), and cached.

    `log` gets a line now and then while a classifier trains. Raises UserError if the Inception graph is out of reach.
    """
    if choice.name == "inception":
        return inception.InceptionFeatures(choice.graph or inception.fetch_graph(cache_folder()))
    if choice.name == "classifier":
        images, labels = reference.fit_images, reference.fit_labels
        assert labels is not None
        return classifier.load_classifier(images, labels, reference.num_classes, reference.unseen, log)
    return features.load_pca(reference.fit_images)


class Evaluator:
    """Scores sets of N samples against N reference images, more than the network has features; `floor` is what N other
    reference images score.

    `fooled` are the scores by which images of random pixels are nearly as good as real ones, with what they get: a few
    principal components see brightness and layout, and random pixels have the layout of the mean image. Networks
    that were trained are not put to this test. What was computed of the reference images is kept in the cache folder,
    and their pixels are not kept at all. `progress(done, 2 N)` counts the reference images whose features are computed.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        reference: Reference,
        count: int,
        progress: Progress | None = None,
    ):
        self.network, self.count = network, count
        self._about_reference = reference.protocol()

        def outputs(which: int) -> tuple[np.ndarray, np.ndarray | None]:
            report = progress and (lambda done, _: progress(which * count + done, 2 * count))

            def compute() -> dict[str, np.ndarray]:
                rows, classes = network.outputs(reference.half(which, count), report)
                return {"features": rows} if classes is None else {"features": rows, "classes": classes}

            images = {**reference.key(), "half": which, "count": count}
            key = {"version": 1, "network": network.name, "network_sha256": network.sha256, "images": images}
            arrays = cached("reference", key, compute)
            return arrays["features"], arrays.get("classes")

        def cached_scores(kind: str, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
            key = {"version": _VERSION, "network_sha256": network.sha256, **reference.key(), "count": count}
            arrays = cached(kind, key, lambda: {name: np.array(value) for name, value in compute().items()})
            return {name: float(value) for name, value in arrays.items()}

        self._real = outputs(0)[0]
        self.floor = cached_scores("floor", lambda: quality.scores(self._real, *outputs(1), k=_NEIGHBOURS))
        self.fooled: dict[str, float] = {}
        if network.name == "pca":
            noise = cached_scores("noise", lambda: self.scores(_random_pixels(count, reference.image_shape)))
            self.fooled = {
                name: noise[name] for name in TITLES if name in noise and _nearly_as_good(name, noise, self.floor)
            }

    def scores(self, images: np.ndarray, progress: Progress | None = None) -> dict[str, float]:
        """The scores of uint8 images (N, h, w, c), under the names that evaluation.json has.

        `progress(done, N)` counts the images whose features are computed.
        """
        return quality.scores(self._real, *self.network.outputs(images, progress), k=_NEIGHBOURS)

    def protocol(self) -> dict[str, object]:
        """How the scores and the floor were measured, as JSON values; what the samples are is the caller's to add."""
        subset = quality.subset_size(self.count)
        record = {
            **self.network.protocol(),
            **self._about_reference,
            "num_samples": self.count,
            "num_reference": self.count,
            "floor": f"{self.count} other images of the reference, as if they were the samples",
            "kernel_distance": f"mean over 100 subsets of {subset}; kernel_distance_std is their standard deviation, "
            "not a standard error",
            "prdc_neighbours": _NEIGHBOURS,
        }
        if self.fooled:
            gets = ", ".join(f"{TITLES[name]} {value:.3g}" for name, value in self.fooled.items())
            record["unreliable_scores"] = list(self.fooled)
            record["warning"] = f"by these features random pixels score nearly as well as real images: {gets}"
        if self.network.num_classes:
            record["inception_score"] = (
                f"by the {self.network.num_classes} classes of the {self.network.name} features; mean of 10 splits, "
                "inception_score_std their standard deviation; inception_score_unsplit of all samples at once"
            )
        return record


def _random_pixels(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


def _nearly_as_good(name: str, scores: dict[str, float], floor: dict[str, float]) -> bool:
    if name in LOWER_IS_BETTER:
        return scores[name] <= max(floor[name], floor[name] / _NEARLY)
    return scores[name] >= _NEARLY * floor[name]


def summarise(runs: list[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """The mean of each score over fresh sets of samples, and its standard deviation (n - 1; empty for one set)."""
    mean = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
    if len(runs) == 1:
        return mean, {}
    return mean, {name: float(np.std([run[name] for run in runs], ddof=1)) for name in mean if name not in SPREADS}


def common_count(reference: Reference, num_samples: int, available: int | None = None) -> tuple[int, str]:
    """The N of samples and reference images alike, and a sentence that says where it comes from.

    `available` is the number of samples there are, None if they are made as needed.
    """
    count = reference.largest_comparison(num_samples)
    reason = f"--num_samples={num_samples}"
    if count < num_samples:
        reason = f"half of the {len(reference.images):,} {reference.split} images"
    if available is not None and available < count:
        count, reason = available, "all the samples there are"
    return count, reason
