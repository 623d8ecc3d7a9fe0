"""Is an image what its marks claim? It is made again from its latent by the checkpoint they name, and compared."""

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kgan import images
from kgan.errors import UserError
from kgan.provenance.check import CheckResult, Verdict
from kgan.provenance.marks import GENERATED, Marks, pixels_sha256
from kgan.runs import checkpoint, environment, generator
from kgan.runs.generator import BATCH, TrainedGenerator
from kgan.runs.rundir import RunDir
from kgan.sampling import draw as sampling

_WINDOW = 500  # images held in memory at once
_WINDOW_BYTES = 2**26
_SAME = "same pixels"
_MAX_REGENERATED = 2**28  # bytes of pixels: recipes come from untrusted files


@dataclass(frozen=True)
class Result:
    """The verdict on one file, and why, in words."""

    verdict: Verdict
    words: str


@dataclass
class _Batch:
    """Up to 100 single images of one generator, each in the row that it was made in."""

    rows: dict[int, tuple[int, CheckResult]] = field(default_factory=dict)


class Verifier:
    """Makes images of one run again. Raises UserError, when made, if there is no run, or its record is damaged."""

    def __init__(self, run_dir: str | Path):
        self.run = RunDir.open(run_dir)
        self.config, self.record = self.run.read_config(), self.run.read_record()
        if "id" not in self.record or "sha256" not in self.record.get("dataset", {}):
            raise UserError(f"{self.run.record_file}: does not say which run and data this is")

    def judge(self, checked: Iterable[tuple[str, CheckResult]]) -> Iterator[tuple[str, Result]]:
        """The results of checked files, in order. What the check refused stays refused."""
        window, size = [], 0
        for path, check_result in checked:
            window.append((path, check_result))
            size += 0 if check_result.image is None else check_result.image.nbytes
            if len(window) == _WINDOW or size > _WINDOW_BYTES:
                yield from self._judge_window(window)
                window, size = [], 0
        yield from self._judge_window(window)

    def _judge_window(self, window: list[tuple[str, CheckResult]]) -> Iterator[tuple[str, Result]]:
        results: dict[int, Result] = {}
        batches: dict[tuple[str, bool], list[_Batch]] = defaultdict(list)
        for number, (path, check_result) in enumerate(window):
            if check_result.verdict != Verdict.CONSISTENT:
                results[number] = Result(check_result.verdict, "; ".join(check_result.reasons))
            elif refusal := self._claims(check_result):
                results[number] = refusal
            elif isinstance(check_result.marks.z, dict):
                results[number] = self._regenerate(path, check_result)
            else:
                _place(batches[check_result.marks.checkpoint_sha256, check_result.marks.ema], number, check_result)
        for key, group in batches.items():
            for batch in group:
                results |= self._regenerate_batch(self.generator(*key), batch)
        for number, (path, check_result) in enumerate(window):
            result = results[number]
            yield path, Result(result.verdict, check_result.told(result.words))

    def generator(self, sha256: str, ema: bool) -> TrainedGenerator | None:
        """The generator of the checkpoint with this hash, or None if the run does not have it any more."""
        path = self._paths.get(sha256)
        return self._load(path, ema) if path else None

    @functools.cached_property
    def _paths(self) -> dict[str, Path]:
        """The checkpoints that are there and can be read, by their hash."""
        found = {}
        for path in checkpoint.paths(self.run.checkpoints):
            try:
                found[checkpoint.sha256(checkpoint.read(path))] = path
            except UserError:
                continue
        return found

    @functools.lru_cache(maxsize=4)  # noqa: B019  one object a program
    def _load(self, path: Path, ema: bool) -> TrainedGenerator:
        try:
            return generator.from_arrays(self.config, self.record, checkpoint.read(path), ema)
        except (KeyError, ValueError) as error:
            raise UserError(f"{path}: does not hold the generator that config.json describes ({error})") from None

    def _claims(self, check_result: CheckResult) -> Result | None:
        """What speaks against a consistent file before anything is made again, or None."""
        marks, dataset = check_result.marks, self.record["dataset"]
        if marks.run_id != self.record["id"]:
            return _no(f"another run made it: {marks.run_id}" if marks.run_id else "it does not name a run")
        if (marks.data_sha256, marks.data_license) != (dataset["sha256"], dataset["license"]):
            return _no("its marks name other training data, or another licence of them, than run.json")
        if marks.ema and not self.config.ema_decay:
            return _no("it claims averaged weights, which this run does not have")
        if marks.z is None:
            return Result(Verdict.CANNOT_TELL, "consistent, but no single latent made it: it cannot be made again")
        if check_result.source_type != GENERATED:
            return _no("it is made from latents alone, and says that it has other parts")
        if marks.checkpoint_sha256 not in self._paths:
            return Result(
                Verdict.CANNOT_TELL,
                f"consistent, but {self.run.path} no longer has its checkpoint {marks.checkpoint_sha256[:12]}…",
            )
        return self._shape_claims(check_result)

    def _shape_claims(self, check_result: CheckResult) -> Result | None:
        marks, config, count = check_result.marks, self.config, 1
        size = (config.image_size if check_result.image is not None else 2 * images.FRAME_SIZE) ** 2 * config.channels
        if isinstance(marks.z, dict):
            recipe = marks.z
            count = 1 if "frame" in recipe else recipe.get("count", recipe.get("frames"))
            fits = check_result.image is None or count * size <= check_result.image.size
        else:
            shape = (config.image_size, config.image_size, config.channels)
            fits = len(marks.latent()) == config.latent_dim and check_result.image.shape == shape
        if not fits:
            return _no("its size, or that of its latent, is not one that this run makes")
        if count * size > _MAX_REGENERATED:
            return Result(Verdict.CANNOT_TELL, f"{count:,} images are more than kgan makes again at once")
        return self._label_claims(marks, count)

    def _label_claims(self, marks: Marks, count: int) -> Result | None:
        num_classes = len(self.record["dataset"]["classes"]) if self.config.conditional else 0
        labels = marks.label if isinstance(marks.label, list) else [marks.label] * count
        fits = labels == [None] * count if not num_classes else len(labels) == count
        if fits and num_classes:
            fits = all(label is not None and label < num_classes for label in labels)
        return None if fits else _no("its label is not one that this run can have made it with")

    def _regenerate_batch(self, generator: TrainedGenerator, batch: _Batch) -> dict[int, Result]:
        z = np.zeros((BATCH, self.config.latent_dim), np.float32)
        labels = np.zeros(BATCH, np.int64)
        for row, (_, check_result) in batch.rows.items():
            z[row], labels[row] = check_result.marks.latent(), check_result.marks.label or 0
        made = generator.decode(z, labels)
        return {
            number: _compared(made[row], check_result.image, check_result.marks)
            for row, (number, check_result) in batch.rows.items()
        }

    def _regenerate(self, path: str, check_result: CheckResult) -> Result:
        marks = check_result.marks
        generator = self.generator(marks.checkpoint_sha256, marks.ema)
        draw = sampling.Draw(marks.seed, marks.truncation, marks.label)
        if check_result.image is None:
            return self._regenerate_animation(path, marks, generator, draw)
        if "frame" in marks.z:
            made = sampling.draw_single(generator, marks.z, draw)
            return _compared(made, check_result.image, marks)
        made = sampling.draw_grid(generator, marks.z, draw, caption=False)
        if made.shape != check_result.image.shape:
            made = images.captioned(made)
        return _compared(made, check_result.image, marks)

    def _regenerate_animation(self, path: str, marks: Marks, generator: TrainedGenerator, draw) -> Result:
        if marks.z["recipe"] != "slerp":
            return Result(Verdict.CANNOT_TELL, "consistent, but an animation of the training shows many checkpoints")
        frames = sampling.draw_animation(generator, marks.z, draw, caption=False)
        shown = images.read_gif(Path(path).read_bytes(), self.config.channels, 2 * frames.nbytes)
        if shown is None:
            return Result(Verdict.CANNOT_TELL, "the frames cannot be decoded")
        if frames.shape[1:3] != shown.shape[1:3]:
            frames = np.stack([images.captioned(frame) for frame in frames])
        same = pixels_sha256(frames) == marks.pixels_sha256
        made = images.read_gif(images.gif(frames), self.config.channels, 2 * frames.nbytes)
        result = _compared(made, shown, marks)
        if same or result.verdict == Verdict.INCONSISTENT or result.words != _SAME:
            return result
        return _no("its frames are those that its latents make, but not the ones that were marked")


def _place(batches: list[_Batch], number: int, check_result: CheckResult) -> None:
    row = check_result.marks.index % BATCH
    free = next((batch for batch in batches if row not in batch.rows), None)
    if free is None:
        batches.append(free := _Batch())
    free.rows[row] = (number, check_result)


def _compared(made: np.ndarray, image: np.ndarray, marks: Marks) -> Result:
    if made.shape != image.shape:
        return _no("its size is not the one that its latents make")
    difference = np.abs(made.astype(np.int16) - image)
    here = environment.versions()
    others = {name: version for name, version in marks.versions.items() if here.get(name) not in (None, version)}
    by = f" (marked with {', '.join(f'{name} {version}' for name, version in others.items())})" if others else ""
    if not (worst := int(difference.max(initial=0))):
        return Result(Verdict.CONSISTENT, _SAME)
    if worst == 1:
        share = np.count_nonzero(difference) / difference.size
        words = f"every pixel within 1 level, {share:.2%} not the same: other hardware or versions made it{by}"
        return Result(Verdict.CONSISTENT, words)
    return _no(f"its latent makes another image with this checkpoint, up to {worst} levels away{by}")


def _no(words: str) -> Result:
    return Result(Verdict.INCONSISTENT, words)
