"""`kgan.report`: one HTML page about a run, or several side by side."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kgan.errors import UserError
from kgan.files import write_atomically
from kgan.reports import facts, page
from kgan.reports.listing import UNREADABLE, RunSummary, is_run, list_runs
from kgan.runs.results import ranked
from kgan.runs.rundir import REPORT, RunDir

_FRAMES, _MIN_FRAMES = 36, 3  # sample grids on the whole page; of each run
_BEST = 3  # runs of a folder that are shown in detail
_PICTURE_BYTES = 3_000_000  # of all of them, roughly


@dataclass(frozen=True)
class Report:
    """The page that was written: its path, its size in bytes, and the run folders that it is about."""

    path: Path
    num_bytes: int
    runs: tuple[Path, ...]


def report(runs: str | os.PathLike | Sequence[str | os.PathLike], *, out: str | os.PathLike | None = None) -> Report:
    """Writes one HTML page about a run, or several side by side: data, settings, curves, samples, scores, audit.

    The page needs no network and no other file. It says what to type for what a run lacks, such as `kgan evaluate RUN`.

    Args:
        runs: a run folder, or several; one that is named twice is shown once. A folder of runs, such as that of a
            sweep, has all of them in a table, and in detail the three best that can be read, or the first three if
            their scores cannot be compared.
        out: the HTML file. Default: report.html in the folder, of several in the working directory.

    Raises:
        UserError: naming the file, if a folder is no run, one of its files is damaged, or the page cannot be written.
    """
    named = [Path(runs)] if isinstance(runs, str | os.PathLike) else list(map(Path, runs))
    if not named:
        raise UserError("name the run folders, as in kgan report runs/00000-mnist-dcgan-rpgan")
    named = list({path.resolve(): path for path in named}.values())
    listed = list_runs(named[0]) if len(named) == 1 and not is_run(named[0]) else []
    opened = [] if listed else [RunDir.open(path) for path in named]
    path = Path(out) if out else named[0] / REPORT if len(named) == 1 else Path(REPORT)
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"{path}: cannot be written; name a file with --out")
    if listed:
        detailed, listed = _best(listed)
        if not detailed:
            raise UserError(f"{named[0]}: none of its runs can be read")
    else:
        limits, names = _limits(len(opened)), _names([run.path for run in opened])
        detailed = {run.path: facts.read_run(run, *limits, name) for run, name in zip(opened, names, strict=True)}
    content = page.render(list(detailed.values()), listed).encode()
    write_atomically(path, content)
    return Report(path, len(content), tuple(detailed))


def _best(listed: Sequence[RunSummary]) -> tuple[dict[Path, facts.Run], list[RunSummary]]:
    """The runs to show in detail, by their paths, and the list, in which those are marked that could not be read."""
    limits = _limits(min(_BEST, len(listed)))
    found: dict[Path, facts.Run] = {}
    damaged = set()
    for run in ranked(listed):
        if len(found) == _BEST or run.status == UNREADABLE:
            continue
        try:
            found[run.path] = facts.read_run(RunDir(run.path), *limits)
        except (UserError, OSError):
            damaged.add(run.path)
    return found, [
        RunSummary(run.path, UNREADABLE, settings=run.settings) if run.path in damaged else run for run in listed
    ]


def _names(paths: Sequence[Path]) -> list[str]:
    """The folders' names, each with so many of those above it that all differ."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts))):
        names = ["/".join(above[-depth:]) for above in parts]
        if len(set(names)) == len(names):
            return names
    return list(map(str, paths))


def _limits(count: int) -> tuple[int, int]:
    """The most sample grids of each of `count` runs, and the bytes that a picture may take."""
    frames = max(_MIN_FRAMES, min(12, _FRAMES // count))
    return frames, _PICTURE_BYTES // (count * (frames + 1))
