"""What a report says of one run, read from its folder. What is not there is None, and the page says how to get it."""

import json
import os
import shlex
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kgan import plots
from kgan.config import TrainConfig, as_flag
from kgan.data.split import default_heldout
from kgan.errors import UserError
from kgan.evaluation.protocol import LOWER_IS_BETTER, SPREADS, TITLES
from kgan.exporting.modelcard import data_facts, public
from kgan.reports import pictures
from kgan.reports.pictures import Picture
from kgan.runs import results
from kgan.runs.rundir import RunDir
from kgan.training.plan import RESOLVED, resolve

_CURVES_INCHES = 5.0


@dataclass(frozen=True)
class Frame:
    """The sample grid of a step."""

    step: int
    picture: Picture


@dataclass(frozen=True)
class Score:
    """A row of the evaluation; `deviation` is a spread over subsets."""

    title: str
    value: float
    deviation: float | None
    floor: float | None
    lower_is_better: bool


@dataclass(frozen=True)
class Run:
    """One run. `path` is what to type for it; `changed` has the settings that are not the defaults, and `defaults` what
    each would be on these data; `outdated` has those of `evaluation` and `audit` that are not of the checkpoint that
    samples come from now; `data`, `machine` and `speed` are headings and values; `reproduce` are commands.
    """

    name: str
    path: str
    status: str
    record: dict
    settings: dict
    changed: dict
    defaults: dict
    data: dict
    machine: dict
    speed: dict
    curves: Picture | None
    frames: list[Frame]
    reals: Picture | None
    evaluation: dict | None
    scores: list[Score]
    audit: dict | None
    outdated: list[dict]
    pairs: Picture | None
    ratios: Picture | None
    reproduce: list[str]


def read_run(run: RunDir, max_frames: int, max_bytes: int) -> Run:
    """Reads a run folder; at most `max_frames` sample grids, and pictures of about `max_bytes` each.

    Raises UserError, naming the file, for one that is damaged.
    """
    config, record, metrics = run.read_config(), run.read_record(), run.read_metrics()
    card = record.get("dataset", {})
    name, path = run.path.resolve().name, _typed(run.path)
    evaluation, audit = (results.read(run, what) for what in (results.EVALUATION, results.AUDIT))
    settings, defaults = public(_as_dict(config)), _defaults(config, card)
    changed = {key: value for key, value in settings.items() if value != defaults[key]}
    return Run(
        name=name,
        path=path,
        status=record.get("status", "unknown"),
        record=record,
        settings=settings,
        changed=changed,
        defaults=defaults,
        data=data_facts(card),
        machine=_machine(record),
        speed=_speed(config, metrics),
        curves=_curves(name, metrics, record),
        frames=_frames(run, name, max_frames, max_bytes),
        reals=pictures.from_file(run.samples / "reals.png", f"Real training images of {name}", max_bytes),
        evaluation=evaluation,
        scores=_scores(evaluation),
        audit=audit,
        outdated=[found for found in (evaluation, audit) if found and not results.is_current(run, found)],
        pairs=pictures.from_file(
            run.path / "audit-pairs.png",
            f"Generated images of {name} beside the training images that they are closest to",
            2 * max_bytes,
        ),
        ratios=pictures.from_file(
            run.path / "audit-ratios.png",
            f"Histograms of how close samples of {name} and held-out images come to their nearest training image",
            max_bytes,
        ),
        reproduce=_reproduce(config, changed, record, path),
    )


def _typed(path: Path) -> str:
    """The folder as one would type it here, without what lies above this place."""
    relative = os.path.relpath(path)
    return shlex.quote(path.resolve().name if relative.startswith("..") else relative)


def _as_dict(config: TrainConfig) -> dict:
    return json.loads(config.to_json())


def _defaults(config: TrainConfig, card: dict) -> dict:
    """The default of each setting; of those that the data decide, what they decide if nobody says otherwise."""
    defaults = _as_dict(TrainConfig())
    try:
        defaults |= {name: getattr(resolve(config.replace(**{name: None}), card)[0], name) for name in RESOLVED}
    except (KeyError, ValueError, TypeError, UserError):  # the card is of another version
        return defaults
    if config.dataset == "folder":
        defaults |= {"image_size": 64, "channels": 3}
    if isinstance(card.get("num_images"), int):
        defaults["num_heldout"] = default_heldout(card["num_images"])
    return defaults


def _machine(record: Mapping) -> dict:
    device, threads = record.get("device", {}), record.get("threads", {})
    return {
        "Devices": device.get("names"),
        "Replicas": device.get("replicas"),
        "CPU cores used, of all": f"{threads.get('usable')} of {threads.get('cores')}" if threads else None,
        "Precision": device.get("precision"),
        "XLA": device.get("xla"),
        "Platform": record.get("platform"),
        "Versions": record.get("versions"),
    }


def _speed(config: TrainConfig, metrics: list[dict]) -> dict:
    """Over the log lines but the first, whose time includes building the graph."""
    lines = metrics[1:]
    if not lines:
        return {}
    speeds = [line["images_per_second"] for line in lines]
    batch = config.batch_size * config.d_steps
    spans = [(after["step"] - before["step"]) * batch for before, after in zip(metrics, lines, strict=False)]
    seconds = sum(span / speed for span, speed in zip(spans, speeds, strict=True) if speed)
    return {
        "Images a second (median of log lines)": round(statistics.median(speeds), 1),
        "Slowest and fastest log line": [min(speeds), max(speeds)],
        "Share of the time spent waiting for data": f"{statistics.mean(line['data_wait'] for line in lines):.1%}",
        "Minutes of training": round(seconds / 60, 1),
    }


def _curves(name: str, metrics: list[dict], record: Mapping) -> Picture | None:
    if not metrics:
        return None
    scored = record.get("evaluation") or {}
    floor = scored.get("floor", {}).get("frechet_distance")
    figure = plots.curves(metrics, scored.get("protocol", {}).get("distance_name"), floor, width=_CURVES_INCHES)
    last = metrics[-1]
    alt = (
        f"Training curves of {name} to step {last['step']}: losses, last {last['d_loss']:.3g} of the discriminator and "
        f"{last['g_loss']:.3g} of the generator; mean logits; gradient norms"
    )
    return pictures.from_png(plots.to_png(figure), alt)


def _frames(run: RunDir, name: str, max_frames: int, max_bytes: int) -> list[Frame]:
    frames = []
    for path in pictures.chosen(run.sample_files(), max_frames):
        step = int(path.stem.removeprefix("step-"))
        picture = pictures.from_file(path, f"AI-generated samples of {name} at step {step:,}", max_bytes)
        if picture:
            frames.append(Frame(step, picture))
    return frames


def _scores(evaluation: Mapping | None) -> list[Score]:
    if evaluation is None:
        return []
    scores, floor = evaluation.get("scores", {}), evaluation.get("floor", {})
    distance_name = evaluation.get("protocol", {}).get("distance_name", TITLES["frechet_distance"])
    deviations = {score: spread for spread, score in SPREADS.items()}
    return [
        Score(
            title=distance_name if name == "frechet_distance" else title.strip(),
            value=scores[name],
            deviation=scores.get(deviations.get(name)),
            floor=floor.get(name),
            lower_is_better=name in LOWER_IS_BETTER,
        )
        for name, title in TITLES.items()
        if isinstance(scores.get(name), int | float)
    ]


def _reproduce(config: TrainConfig, changed: Mapping, record: Mapping, path: str) -> list[str]:
    lines = []
    if revision := record.get("git_revision"):
        lines.append(f"git checkout {revision.rstrip('+')}" + ("   # and changes of its own" * revision.endswith("+")))
    flags = [as_flag(name, value) for name, value in changed.items() if value is not None]
    place = ["--data_dir=DIR"] if config.dataset == "folder" else []
    lines.append(shlex.join(["kgan", "train", *dict.fromkeys([f"--dataset={config.dataset}", *place, *flags])]))
    return [*lines, f"kgan sample {path} --num=64", f"kgan verify {path}/generated/*.png --run={path}"]
