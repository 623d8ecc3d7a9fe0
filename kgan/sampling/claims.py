"""What a file's marks claim, held against a run's record before anything is regenerated."""

from collections.abc import Container
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kgan import images
from kgan.config import TrainConfig
from kgan.provenance.check import CheckResult, Verdict
from kgan.provenance.marks import GENERATED, Marks
from kgan.runs import ancestry

_MAX_REGENERATED = 2**28  # bytes of pixels: recipes come from untrusted files


class Judgement(NamedTuple):
    """A verdict, and why, in words."""

    verdict: Verdict
    reason: str


class Refused(Exception):
    """The claims contradict the run's record, or cannot be checked with it."""

    def __init__(self, reason: str, verdict: Verdict = Verdict.INCONSISTENT):
        super().__init__(reason)
        self.judgement = Judgement(verdict, reason)


@dataclass(frozen=True)
class Claim:
    """The marks of a file that the run may have made, and its pixels (h, w, c) uint8, None for an animation.

    Of an .npz, the pixels are (n, h, w, c), and there are labels (n,); of an animation there are the file's bytes.
    """

    marks: Marks
    image: np.ndarray | None
    labels: np.ndarray | None = None
    content: bytes | None = None


def read_claim(result: CheckResult, config: TrainConfig, record: dict, checkpoints: Container[str]) -> Claim:
    """The claim of a checked file. `checkpoints` are the hashes of those that the run still has. Raises Refused."""
    if result.verdict != Verdict.CONSISTENT or result.marks is None:
        raise Refused("; ".join(result.reasons), result.verdict)
    claim = Claim(result.marks, result.image, result.labels, result.content)
    _check_origin(claim.marks, config, record)
    if claim.marks.z is None:
        raise Refused("consistent, but no single latent made it: it cannot be regenerated", Verdict.CANNOT_TELL)
    if result.source_type != GENERATED:
        raise Refused("it is made from latents alone, and says that it has other parts")
    if (sha256 := claim.marks.checkpoint_sha256) not in checkpoints:
        raise Refused(f"consistent, but the run no longer has its checkpoint {sha256[:12]}…", Verdict.CANNOT_TELL)
    _check_size(claim, config)
    num_classes = len(record["dataset"]["classes"]) if config.conditional else 0
    if claim.labels is None:
        _check_labels(claim.marks, num_classes)
    else:
        _check_array_labels(claim.marks, claim.labels, num_classes)
    return claim


def _check_origin(marks: Marks, config: TrainConfig, record: dict) -> None:
    dataset = record["dataset"]
    if marks.run_id != record["id"]:
        raise Refused(f"another run made it: {marks.run_id}" if marks.run_id else "it does not name a run")
    if (marks.data_sha256, marks.data_license) != (dataset["sha256"], dataset["license"]):
        raise Refused("its marks name other training data, or another licence of them, than run.json")
    if marks.ancestors != ancestry.named(record):
        raise Refused("its marks name other runs that its weights came from than run.json")
    if marks.ema and not config.ema_decay:
        raise Refused("it claims averaged weights, which this run does not have")


def _check_size(claim: Claim, config: TrainConfig) -> None:
    """Whether the run can have made an image of this size, and whether it can be regenerated in bounded memory."""
    assert config.image_size and config.channels  # a run's settings are resolved
    image, count = claim.image, _count(claim.marks)
    size = (2 * images.FRAME_SIZE if image is None else config.image_size) ** 2 * config.channels
    if not isinstance(claim.marks.z, dict):
        single = (config.image_size, config.image_size, config.channels)
        fits = image is not None and image.shape == single and len(claim.marks.latent()) == config.latent_dim
    elif claim.labels is not None:
        shape = (count, config.image_size, config.image_size, config.channels)
        fits = image is not None and image.shape == shape and len(claim.labels) == count
    else:
        fits = image is None or count * size <= image.size
    if not fits:
        raise Refused("its size, or that of its latent, is not one that this run makes")
    if count * size > _MAX_REGENERATED:
        raise Refused(f"{count:,} images are more than kgan regenerates at once", Verdict.CANNOT_TELL)


def _check_labels(marks: Marks, num_classes: int) -> None:
    count = _count(marks)
    labels = marks.label if isinstance(marks.label, list) else [marks.label] * count
    if isinstance(marks.label, list) and not isinstance(marks.z, dict):
        fits = False
    elif num_classes:
        fits = len(labels) == count and all(label is not None and label < num_classes for label in labels)
    else:
        fits = labels == [None] * count
    if not fits:
        raise Refused("its label is not one that this run can have made it with")


def _check_array_labels(marks: Marks, labels: np.ndarray, num_classes: int) -> None:
    """The labels of an .npz: one for all, or the classes in turn; zeros, and none in the marks, without classes."""
    if marks.label is None:
        fits = np.array_equal(labels, np.arange(len(labels)) % max(1, num_classes))
    else:
        fits = isinstance(marks.label, int) and marks.label < num_classes and bool((labels == marks.label).all())
    if not fits:
        raise Refused("its labels are not those that this run can have made it with")


def _count(marks: Marks) -> int:
    """How many images of the generator the picture shows."""
    recipe = marks.z
    if not isinstance(recipe, dict):
        return 1
    return recipe["count"] if "count" in recipe else recipe["frames"]
