"""Images of a run regenerated from the latents in their marks, and compared."""

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from kgan.errors import UserError
from kgan.latents import follow
from kgan.provenance.check import CheckResult, Verdict
from kgan.runs import checkpoint, generator
from kgan.runs.generator import BATCH, TrainedGenerator
from kgan.runs.rundir import RunDir
from kgan.sampling import draw
from kgan.sampling.claims import Claim, Judgement, Refused, read_claim
from kgan.sampling.compare import compare, elsewhere, judge_animation
from kgan.sampling.draw import SampleSettings

_WINDOW = 500  # images held in memory at once
_WINDOW_BYTES = 2**26

Checked = tuple[str, CheckResult]  # a path and what is said of its file


class Regenerator:
    """Judges files by regenerating them. Raises UserError, when made, if there is no run or its record is damaged."""

    def __init__(self, run_dir: str | Path):
        self.run = RunDir.open(run_dir)
        self.config, self.record = self.run.read_config(), self.run.read_record()
        needed = ("sha256", "license", *(["classes"] if self.config.conditional else []))
        if "id" not in self.record or not all(name in self.record.get("dataset", {}) for name in needed):
            raise UserError(f"{self.run.record_file}: does not say which run and data this is")

    def judge(self, files: Iterable[Checked]) -> Iterator[tuple[str, Judgement]]:
        """The judgements of checked files, in order. What the check refused stays refused."""
        window: list[Checked] = []
        size = 0
        for path, result in files:
            window.append((path, result))
            size += result.image.nbytes if result.image is not None else len(result.content or b"")
            if len(window) == _WINDOW or size > _WINDOW_BYTES:
                yield from self._judge_window(window)
                window, size = [], 0
        yield from self._judge_window(window)

    def _judge_window(self, window: list[Checked]) -> Iterator[tuple[str, Judgement]]:
        judgements: dict[int, Judgement] = {}
        singles: dict[tuple[str, bool], dict[int, Claim]] = defaultdict(dict)
        for number, (_, result) in enumerate(window):
            try:
                claim = read_claim(result, self.config, self.record, self._paths)
                if isinstance(claim.marks.z, dict):
                    judgements[number] = self._judge_recipe(claim)
                else:
                    singles[claim.marks.checkpoint_sha256, claim.marks.ema][number] = claim
            except Refused as refused:
                judgements[number] = refused.judgement
        for key, claims in singles.items():
            try:
                judgements |= self._judge_singles(self._generator(*key), claims)
            except Refused as refused:
                judgements |= dict.fromkeys(claims, refused.judgement)
        for number, (path, result) in enumerate(window):
            verdict, reason = judgements[number]
            yield path, Judgement(verdict, f"{reason}; {result.note}" if result.note else reason)

    @functools.cached_property
    def _paths(self) -> dict[str, Path]:
        """The checkpoints that are there and can be read, by their hash."""
        readable = {}
        for path in checkpoint.paths(self.run.checkpoints):
            try:
                readable[checkpoint.sha256(checkpoint.read(path))] = path
            except UserError:
                continue
        return readable

    @functools.lru_cache(maxsize=4)  # noqa: B019  one object a call
    def _generator(self, sha256: str, ema: bool) -> TrainedGenerator:
        path = self._paths[sha256]
        try:
            arrays = checkpoint.read(path)
        except UserError as error:  # a training that goes on removes old ones
            raise Refused(f"consistent, but its checkpoint is gone: {error}", Verdict.CANNOT_TELL) from None
        try:
            return generator.from_arrays(self.config, self.record, arrays, ema)
        except (KeyError, ValueError) as error:
            raise UserError(f"{path}: does not hold the generator that config.json describes ({error})") from None

    def _judge_singles(self, trained: TrainedGenerator, claims: dict[int, Claim]) -> dict[int, Judgement]:
        judgements = {}
        for rows in _batched(claims):
            z = np.zeros((BATCH, self.config.latent_dim), np.float32)
            labels = np.zeros(BATCH, np.int64)
            for row, number in rows.items():
                marks = claims[number].marks
                z[row], labels[row] = marks.latent(), marks.label or 0
            regenerated = trained.decode(z, labels)
            for row, number in rows.items():
                judgements[number] = self._compare(regenerated[row], claims[number])
        return judgements

    def _judge_recipe(self, claim: Claim) -> Judgement:
        marks, recipe = claim.marks, claim.marks.z
        assert isinstance(recipe, dict) and marks.seed is not None
        if claim.image is None and recipe["recipe"] != "slerp":
            raise Refused("consistent, but an animation of the training shows many checkpoints", Verdict.CANNOT_TELL)
        trained = self._generator(marks.checkpoint_sha256, marks.ema)
        settings = SampleSettings(marks.seed, marks.truncation, marks.label)
        if claim.image is None:
            assert claim.content is not None
            frames = draw.draw_animation(trained, recipe, settings, caption=False)
            return judge_animation(claim.content, frames, marks, self.record)
        if claim.labels is not None:
            if recipe["recipe"] != "draws":
                raise Refused("an .npz holds the draws of a seed, and its marks name a path between draws")
            z = follow(recipe, settings.seed, self.config.latent_dim, settings.truncation)
            return self._compare(trained.decode(z, claim.labels), claim)
        return self._compare(draw.draw_grid_like(trained, recipe, settings, claim.image.shape), claim)

    def _compare(self, regenerated: np.ndarray, claim: Claim) -> Judgement:
        assert claim.image is not None
        return compare(regenerated, claim.image, elsewhere(claim.marks.versions, self.record))


def _batched(claims: dict[int, Claim]) -> list[dict[int, int]]:
    """The numbers of single images, by the row that each was generated in, in as few batches as that takes."""
    batches: list[dict[int, int]] = []
    for number, claim in claims.items():
        assert claim.marks.index is not None
        row = claim.marks.index % BATCH
        free = next((batch for batch in batches if row not in batch), None)
        if free is None:
            batches.append(free := {})
        free[row] = number
    return batches
