"""Does the discriminator still teach the generator? The mean logits in the log tell.

Two ways to fail are noticed: it overfits, and its gradients lead the generator to those
images alone (Karras et al. 2020, arXiv:2006.06676); or it tells nothing apart, and has no gradients worth following.
"""

import math
import shlex
import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from kgan.choices import NO_AUGMENTATION
from kgan.config import TrainConfig

WINDOW = 10
"""Log lines over which logits are compared: a single one has those of few images."""
RATIO = 0.5
"""The r_v above which the discriminator is said to overfit."""
BLIND = 0.01
"""Difference of mean logits below which real images are rated like generated ones. Runs that went well kept 0.015."""
_STEPS = 50
"""That blindness must last: at first no discriminator sees anything."""
_STANDARD_ERRORS = 4


class DiscriminatorWatch:
    """Follows the log lines, those of a resumed run from its start, and says once of each failure what would help."""

    def __init__(self, config: TrainConfig, run: object, lines: Iterable[Mapping] = ()):
        self._config, self._run = config, run
        self._lines: deque[Mapping] = deque(maxlen=WINDOW)
        self._said: set[str] = set()
        for line in lines:
            self.follow(line)

    def follow(self, line: Mapping) -> list[str]:
        """What to say after this line."""
        self._lines.append(line)
        found = dict(self._failures()) if len(self._lines) == WINDOW else {}
        new = [advice for failure, advice in found.items() if failure not in self._said]
        self._said |= set(found)
        return new

    def _failures(self) -> Iterator[tuple[str, str]]:
        whole = self._differences("d_real", "d_fake")
        if self._is_blind(whole):
            yield "blind", self._advice_to_the_blind()
        if all("d_heldout" in line for line in self._lines):
            gaps = self._differences("d_real", "d_heldout")
            if sum(gaps) > RATIO * sum(whole) > 0 and not _is_noise(gaps):
                yield "overfits", self._advice_against_rote(sum(gaps) / sum(whole))

    def _is_blind(self, whole: list[float]) -> bool:
        """Whether real images are rated like generated ones, and not less so of late."""
        early, late = (statistics.mean(part) for part in (whole[: WINDOW // 2], whole[WINDOW // 2 :]))
        lasts = self._lines[-1]["step"] - self._lines[0]["step"] >= _STEPS
        return lasts and abs(statistics.mean(whole)) < BLIND and not late > 1.2 * max(early, 0.0)

    def _differences(self, first: str, second: str) -> list[float]:
        return [line[first] - line[second] for line in self._lines]

    def _advice_to_the_blind(self) -> str:
        stddev = self._config.init_stddev  # 0: Glorot's, which are larger than those of the default
        has_larger = stddev and not self._config.init_from
        weights = f"larger initial weights (--init_stddev={2 * stddev:g}) or " if has_larger else ""
        return (
            f"the discriminator has rated real images like generated ones for {WINDOW} log lines: the generator learns "
            f"nothing from it, and it seldom recovers. Begin anew with {weights}another --d_lr"
        )

    def _advice_against_rote(self, ratio: float) -> str:
        """`ratio` is r_v of Karras et al.: 0 where held-out images are rated like training images, 1 where they are
        rated like generated ones."""
        less = "more images or fewer steps"
        remedy = less if self._config.augment != NO_AUGMENTATION else f"--augment=diffaug, {less}"
        audit = f"kgan audit {shlex.quote(str(self._run))}"
        return (
            f"the discriminator rates held-out images more like generated than like training images (r_v {ratio:.2f}): "
            f"it overfits. {remedy} would help; {audit} says whether it copies them"
        )


def _is_noise(differences: list[float]) -> bool:
    """Whether their mean is not several times its standard error."""
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return abs(statistics.mean(differences)) <= _STANDARD_ERRORS * error
