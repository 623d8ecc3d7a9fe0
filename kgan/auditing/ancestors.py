"""A run that started from the weights of others (--init_from): what these knew of the images that it keeps back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kgan.config import TrainConfig
from kgan.data.sources import ImageSet
from kgan.runs.schema import AncestorRecord
from kgan.text import one_line


@dataclass(frozen=True)
class Division:
    """A run's data, divided for an audit: ascending int64 rows of the images that it is `trained` on, and of those
    that are `unseen`, by its ancestors too. `seen` and `elsewhere` are sentences for the reader, or "": on images that
    it kept back and an ancestor did not, and on images of an ancestor that are not among its training images."""

    trained: np.ndarray
    unseen: np.ndarray
    seen: str
    elsewhere: str


def divide(data: ImageSet, config: TrainConfig, ancestors: Sequence[AncestorRecord]) -> Division:
    """Divides the data of a run with this `config`, whose record names these `ancestors`.

    Of an ancestor on the same data, the images that it was trained on are worked out again from how many it kept back:
    all of them if its record does not say. Those of other data are not looked at: they count as other images.
    """
    parts = data.split(config.num_heldout, config.num_train)
    unseen, seen_by, elsewhere = parts.heldout, [], []
    for ancestor in ancestors:
        same = ancestor["dataset"].get("sha256") == data.sha256
        trained = _trained_on(ancestor["dataset"], data) if same else np.zeros(0, np.int64)
        if np.isin(parts.heldout, trained).any():
            seen_by.append(_name(ancestor))
        if not same or not np.isin(trained, parts.training).all():
            elsewhere.append(_name(ancestor))
        unseen = np.setdiff1d(unseen, trained)
    return Division(parts.training, unseen, _on_seen(parts.heldout, unseen, seen_by), _on_elsewhere(elsewhere))


def _trained_on(card: Mapping, data: ImageSet) -> np.ndarray:
    """The rows of the data that the ancestor was trained on whose record has this card of them."""
    num_heldout = card.get("num_heldout")
    return data.split(0).training if num_heldout is None else data.split(num_heldout, card.get("num_train")).training


def _name(ancestor: AncestorRecord) -> str:
    return one_line(f"run {ancestor['run_id']}, on {ancestor['dataset'].get('name') or 'unnamed images'}")


def _on_seen(heldout: np.ndarray, unseen: np.ndarray, ancestors: list[str]) -> str:
    if not ancestors:
        return ""
    return (
        f"Of the {len(heldout):,} images that this run keeps back, {len(heldout) - len(unseen):,} cannot calibrate: "
        f"the weights that it started from were trained on them ({'; '.join(ancestors)})"
    )


def _on_elsewhere(ancestors: list[str]) -> str:
    if not ancestors:
        return ""
    return (
        f"The weights that it started from were trained on more images than its own ({'; '.join(ancestors)}): these "
        "were not searched, and if held-out images are in data other than its own, they were not left out"
    )
