"""What a report says of one run, read from its folder. What is not there is None, and the page says how to get it."""

import dataclasses
import os
import shlex
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kgan.config import TrainConfig, as_flag
from kgan.exporting.modelcard import data_facts, public
from kgan.images import class_columns, column_titles, grid_rows_height
from kgan.reports import pictures
from kgan.reports.listing import lowest
from kgan.reports.pictures import Picture
from kgan.runs import ancestry, results
from kgan.runs.rundir import RunDir, step_of
from kgan.text import one_line
from kgan.training.plan import defaults

_STRIP_ROWS = 2
_PRINTED_FRAMES = 4


@dataclass(frozen=True)
class Frame:
    """The sample grid of a step; `printed` if it is one of the few that are on paper."""

    step: int
    picture: Picture
    printed: bool


@dataclass(frozen=True)
class Run:
    """One run.

    `path` is what to type for it; `changed` has the settings that are not the defaults, and `defaults` what each would
    be on these data. `trained_score` is the lowest Frechet distance measured while it trained. `stale` says which of
    "evaluation" and "audit" are not of the weights that samples come from now. `data`, `machine` and `speed` are
    headings and values; `reproduce` are commands, each a list of words; `resumed` says of each time that the run went
    on what was not as before.
    """

    name: str
    path: str
    status: str
    step: int | None
    record: Mapping
    settings: dict
    changed: dict
    defaults: dict
    data: dict
    machine: dict
    speed: dict
    metrics: list[dict]
    trained_score: float | None
    strip: Picture | None
    frames: list[Frame]
    reals: Picture | None
    evaluation: Mapping | None
    audit: Mapping | None
    stale: tuple[str, ...]
    pairs: Picture | None
    reproduce: list[list[str]]
    resumed: list[str]


def read_run(run: RunDir, max_frames: int, max_bytes: int, name: str = "") -> Run:
    """Reads a run folder; at most `max_frames` sample grids, and pictures of about `max_bytes` each. `name` is what to
    call it if not by the folder's name.

    Raises UserError, naming the file, for one that is damaged.
    """
    config, record, metrics = run.read_config(), run.read_record(), run.read_metrics()
    card = record.get("dataset", {})
    name, path = one_line(name or run.path.resolve().name), shlex.quote(_typed(run.path))
    measured = {"evaluation": results.read(run, results.EVALUATION), "audit": results.read(run, results.AUDIT)}
    settings, usual = public(dataclasses.asdict(config)), defaults(config, card)
    changed = {key: value for key, value in settings.items() if value != usual[key]}
    return Run(
        name=name,
        path=path,
        status=run.status(),
        step=run.step(),
        record=record,
        settings=settings,
        changed=changed,
        defaults=usual,
        data=data_facts(card) | _started_from(record),
        machine=_machine(record),
        speed=_speed(config, metrics),
        metrics=metrics,
        trained_score=lowest(metrics),
        strip=_strip(run, name, config),
        frames=_frames(run, name, max_frames, max_bytes),
        reals=pictures.from_file(run.reals_file, f"Real training images of {name}", max_bytes),
        **measured,
        stale=tuple(what for what, content in measured.items() if content and not results.is_current(run, content)),
        pairs=pictures.from_file(
            run.audit_pairs_file,
            f"Generated images of {name} beside the training images that they are closest to",
            2 * max_bytes,
        ),
        reproduce=_reproduce(config, changed, record, path),
        resumed=list(map(_resumption, record.get("resumed", []))),
    )


def _typed(path: Path) -> str:
    """The folder as one would type it here, without what lies above this place."""
    relative = os.path.relpath(path)
    return path.resolve().name if relative.startswith("..") else relative


def _started_from(record: Mapping) -> dict:
    ancestors = record.get("ancestors", [])
    return {"Weights started from": [ancestry.in_words(ancestor) for ancestor in ancestors]} if ancestors else {}


def _resumption(entry: Mapping) -> str:
    changes = (f"; {name}: {' -> '.join(map(str, values))}" for name, values in entry["changes"].items())
    return f"at step {entry['step']:,}{''.join(changes)}"


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
    """Speeds are of the log lines but the first, whose time includes building the graph."""
    lines = metrics[1:]
    if not lines:
        return {}
    speeds = [line["images_per_second"] for line in lines]
    images = np.diff([0, *(line["step"] for line in metrics)]) * config.batch_size * config.d_steps
    seconds = sum(
        count / line["images_per_second"]
        for count, line in zip(images, metrics, strict=True)
        if line["images_per_second"]
    )
    return {
        "Images a second (median of log lines)": statistics.median(speeds),
        "Slowest and fastest log line": [min(speeds), max(speeds)],
        "Share of the time spent waiting for data": f"{statistics.mean(line['data_wait'] for line in lines):.1%}",
        "Minutes of training": float(seconds) / 60,
    }


def _strip(run: RunDir, name: str, config: TrainConfig) -> Picture | None:
    """The first rows of the last sample grid."""
    files = run.sample_files()
    if not files or not config.image_size:
        return None
    classes = run.read_record().get("dataset", {}).get("classes", ()) if config.conditional else ()
    columns = class_columns(len(classes))
    titles = column_titles(classes, columns) if columns else ()
    height = grid_rows_height(config.image_size, _STRIP_ROWS, titles=titles)
    return pictures.top_of(files[-1], f"The first AI-generated samples of {name}, not picked", height)


def _frames(run: RunDir, name: str, max_frames: int, max_bytes: int) -> list[Frame]:
    files = pictures.spread(run.sample_files(), max_frames)
    printed = pictures.spread(files, _PRINTED_FRAMES)
    frames = []
    for path in files:
        step = step_of(path)
        picture = pictures.from_file(path, f"AI-generated samples of {name} at step {step:,}", max_bytes)
        if picture:
            frames.append(Frame(step, picture, path in printed))
    return frames


def _reproduce(config: TrainConfig, changed: Mapping, record: Mapping, path: str) -> list[list[str]]:
    commands = []
    if revision := record.get("git_revision"):
        changes = ["# and changes of its own"] if revision.endswith("+") else []
        commands.append(["git", "checkout", shlex.quote(revision.rstrip("+")), *changes])
    flags = [as_flag(name, value) for name, value in changed.items() if value is not None]
    place = ["--data_dir=DIR"] * (config.dataset == "folder") + ["--init_from=RUN"] * bool(config.init_from)
    training = ["kgan", "train", *dict.fromkeys([f"--dataset={config.dataset}", *place, *flags])]
    return [
        *commands,
        list(map(shlex.quote, training)),
        ["kgan", "sample", path, "--num=64"],
        ["kgan", "verify", f"{path}/generated/*", f"--run={path}"],
    ]
