"""Scores while training: what `kgan evaluate` would say of the averaged generator, every so many epochs.

A scored step is always logged and saved, in that order, and then entered in best.json if it is the best so far: of a
run that is killed in between, the log line tells on resuming what best.json should have said.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kgan.errors import UserError
from kgan.evaluation import protocol
from kgan.evaluation.inception import GRAPH_FILE
from kgan.evaluation.reference import Reference, load_reference
from kgan.files import cache_folder
from kgan.runs import checkpoint
from kgan.runs.generator import TrainedGenerator
from kgan.runs.rundir import RunDir
from kgan.training.plan import Plan

SCORES = ("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class Preparation:
    """What is resolved before TensorFlow starts: the real images, the kind of features, and N."""

    reference: Reference
    choice: protocol.FeatureChoice
    count: int


def prepare(plan: Plan, earlier: Mapping | None = None) -> Preparation | None:
    """None without --eval_every. A run that goes on is scored in the features that it was scored in before: `earlier`
    is what `Scorer.record` gave then. Raises UserError if this run cannot be scored."""
    config = plan.config
    if not config.eval_every:
        return None
    reference = load_reference(
        config.dataset, data_dir=config.data_dir, num_heldout=config.num_heldout, num_train=config.num_train,
        image_size=config.image_size, channels=config.channels,
    )  # fmt: skip
    count, _ = protocol.common_count(reference, config.eval_samples)
    asked = earlier["protocol"].get("features", "auto") if earlier else "auto"
    choice = protocol.select_features(asked, reference, count, data_dir=config.data_dir)
    if choice.name == "inception" and choice.graph is None:
        raise UserError(
            f"--eval_every: this run was scored in Inception's features: put {GRAPH_FILE} into the cache folder "
            f"({cache_folder()}), or into $KGAN_DATA_DIR"
        )
    if earlier:
        choice = replace(choice, reason=earlier["protocol"].get("features_reason", choice.reason))
    try:
        protocol.check_count(choice, reference, count, way_out="more training images and --eval_samples")
    except UserError as error:
        raise UserError(f"--eval_every: {error}") from None
    return Preparation(reference, choice, count)


class Scorer:
    """Scores a generator as `kgan evaluate --num_samples=EVAL_SAMPLES --seed=SEED` would, with the run's own seed."""

    def __init__(self, prepared: Preparation, seed: int, log: Callable[[str], None]):
        """Fits the features, unless they are cached: for a classifier that takes minutes, and `log` gets lines."""
        self.seed = seed
        network = protocol.load_network(prepared.choice, prepared.reference, log)
        self._evaluator = protocol.Evaluator(network, prepared.reference, prepared.count)
        self.floor = self._evaluator.floor
        self.reason = prepared.choice.reason
        log(
            f"scores: {network.distance_name} of {prepared.count:,} samples ({self.reason}); "
            f"{prepared.count:,} real images have {self.floor['frechet_distance']:.4g}"
        )

    def record(self) -> dict:
        """What run.json says of the scores: how they are measured, and what real images score."""
        samples = {"features_reason": self.reason, "samples": "of the averaged weights, if any", "seeds": [self.seed]}
        return {"protocol": self._evaluator.protocol() | samples, "floor": self.floor}

    def __call__(self, trained: TrainedGenerator) -> dict[str, float]:
        """The SCORES of the generator's images 0 to N - 1, of classes in the data set's proportions."""
        count = self._evaluator.count
        found = self._evaluator.scores(trained.generate(count, self.seed, trained.labels_in_proportion(count)))
        return {name: found[name] for name in SCORES}


def history(run: RunDir) -> list[tuple[int, float]]:
    """The scored steps and their Frechet distances, in order."""
    return [(line["step"], line["frechet_distance"]) for line in run.read_metrics() if "frechet_distance" in line]


def since_best(scores: Sequence[tuple[int, float]]) -> tuple[int, int]:
    """The step of the best score, the first of equal ones, and how many scores came after it."""
    place = min(range(len(scores)), key=lambda place: scores[place][1])
    return scores[place][0], len(scores) - 1 - place


def collapse_advice(scores: Sequence[tuple[int, float]]) -> str | None:
    """What to say of the newest score if it is twice the best or more, and the one before it was not."""
    best_step, waiting = since_best(scores)
    best = dict(scores)[best_step]
    is_worse = [waiting and score >= 2 * best for _, score in scores[-1 - waiting :]]
    if not is_worse[-1] or (len(is_worse) > 1 and is_worse[-2]):
        return None
    step, score = scores[-1]
    return (
        f"the Frechet distance at step {step}, {score:.4g}, is {score / max(best, 1e-9):.1f} times the best, "
        f"{best:.4g} at step {best_step}: the run may have collapsed. The best checkpoint is kept for kgan sample. "
        "A lower --d_lr and --g_lr, or --r1_weight, make a run steadier; --stop_when_worse=3 ends it early"
    )


def restore_best(run: RunDir) -> None:
    """Makes best.json what the log says of the checkpoints there are: a crash may have come before the newest score was
    entered, and the checkpoint of the best one may be lost."""
    kept = {checkpoint.step_of(path) for path in checkpoint.paths(run.checkpoints)}
    best = checkpoint.best(run.checkpoints)
    if best and best[0] not in kept:
        (run.checkpoints / checkpoint.BEST).unlink()
    for step, score in history(run):
        if step in kept:
            checkpoint.keep_if_best(run.checkpoints, step, score)
