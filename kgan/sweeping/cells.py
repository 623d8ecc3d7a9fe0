"""The cells of a sweep: which run folder each has, what is left to do in it, and its scores.

A cell is known by its settings. Its folder is named after those swept, so that every command, wherever it runs, finds
the same one; a run with the same settings that an earlier grid left under another name serves as well.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kgan.config import TrainConfig, as_flag, check_name, flag_value
from kgan.data.licensing.card import ACCEPTED_UNKNOWN_LICENSE, IGNORED_DATAMINING
from kgan.errors import UserError
from kgan.runs import results
from kgan.runs.rundir import FINISHED, NON_FINITE, RUNNING, WAITING, RunDir
from kgan.sweeping.grid import Settings
from kgan.training import start
from kgan.training.plan import RESOLVED, make_plan, resolve, with_usual

_MAX_NAME = 120
# may differ from one place to another
_ABOUT_DATA = ("data_dir", "verify_data", ACCEPTED_UNKNOWN_LICENSE, IGNORED_DATAMINING)
_DECIDE_DATA = (*_ABOUT_DATA, "dataset", "image_size", "channels", "num_heldout", "num_train")


@dataclass(frozen=True)
class Cell:
    """`settings` are those swept, `given` these and the ones all cells share, `config` what they come to."""

    settings: Settings
    given: Settings
    config: TrainConfig
    run: RunDir

    @property
    def name(self) -> str:
        return self.run.path.name

    def commands(self, evaluate: bool, audit: bool) -> list[list[str]]:
        """What is left to do, each as the arguments of `kgan`.

        That is nothing while another process trains it, or where the loss became non-finite, since it would again.
        """
        status, path = self.run.status(), str(self.run.path)
        if status in (RUNNING, NON_FINITE):
            return []
        left = []
        if status != FINISHED:
            flags = [as_flag(name, value) for name, value in self.given.items()]
            left.append(["train", *flags, f"--run_dir={path}", "--resume=auto"])
        trains = bool(left)
        if evaluate and (trains or self.evaluation() is None):
            left.append(["evaluate", path])
        if audit and (trains or self.audit() is None):
            left.append(["audit", path])
        return left

    def evaluation(self) -> dict | None:
        """evaluation.json, if it is of the weights that samples are drawn from now."""
        return self._current(results.EVALUATION, "scores")

    def audit(self) -> dict | None:
        """audit.json, likewise."""
        return self._current(results.AUDIT, "verdict")

    def _current(self, name: str, key: str) -> dict | None:
        try:
            content = results.current(self.run, name)
            return content if content and key in content else None
        except (UserError, OSError):
            return None


def make_cells(shared: Mapping, grid: Sequence[Settings], folder: Path) -> list[Cell]:
    """The cells of a grid. Raises UserError, naming the cell, for settings that `kgan train` would refuse."""
    for name in shared:
        check_name(name)
    cells = []
    for settings in grid:
        given = {**shared, **settings}
        try:
            config = TrainConfig(**given)
        except UserError as error:
            raise UserError(f"the cell {_described(settings)} cannot be: {error}") from None
        settings = {name: value if value is None else getattr(config, name) for name, value in settings.items()}
        given = {name: getattr(config, name) for name, value in given.items() if value is not None}
        if config.data_dir:
            config = config.replace(data_dir=os.path.abspath(config.data_dir))  # as a run keeps it
        cells.append(Cell(settings, given, config, RunDir(folder / folder_name(settings))))
    places = Counter(cell.run.path.name for cell in cells)
    if twice := [name for name, count in places.items() if count > 1]:
        raise UserError(f"two cells of the grid are {twice[0]}: values of a setting that mean the same count once")
    return cells


def folder_name(settings: Settings) -> str:
    """A file name that says the settings; those that a file name cannot hold are told apart by a hash."""
    text = "_".join(f"{name}={flag_value(value)}" for name, value in settings.items())
    safe = re.sub(r"[^A-Za-z0-9._=+-]", "-", text)
    if safe == text and len(text) <= _MAX_NAME:
        return text
    return f"{safe[:_MAX_NAME]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def data_cards(cells: Sequence[Cell]) -> dict[str, dict]:
    """The data card of each cell by its name, from data read once for all that share them.

    Raises UserError, naming the cell, if its data are not there or its settings do not fit them.
    """
    by_data: dict[tuple, dict] = {}
    cards = {}
    for cell in cells:
        key = tuple(getattr(cell.config, name) for name in _DECIDE_DATA)
        try:
            if key not in by_data:
                by_data[key] = make_plan(cell.config).card
            resolve(cell.config, by_data[key])
        except UserError as error:
            raise UserError(f"the cell {cell.name} cannot be: {error}") from None
        cards[cell.name] = by_data[key]
    return cards


def resolved_in(folder: Path, cells: Sequence[Cell], cards: Mapping[str, dict] | None = None) -> list[Cell]:
    """The cells with the run folders they have.

    `cards` has the data card of each cell by its name; without them, settings that the data decide are not compared.
    Raises UserError, with the difference, if the folder of a cell holds a run with other settings or other images.
    """
    saved = _saved_configs(folder, {cell.run.path for cell in cells})
    resolved = []
    for cell in cells:
        card = cards[cell.name] if cards else None
        config = resolve(cell.config, card)[0] if card else with_usual(cell.config)
        path = cell.run.path
        if path not in saved:
            same = (other for other in saved if _is_same_run(cell, config, card, RunDir(other), saved[other]))
            path = next(same, path)
        elif different := _differences(cell, config, saved[path]):
            listed = ", ".join(f"--{name} was {was} and is {now}" for name, (now, was) in different.items())
            raise UserError(f"{path} holds another run: {listed}; name another --sweep_dir, or remove it")
        run = RunDir(path)
        if card and (_trained_on(run) or card["sha256"]) != card["sha256"]:
            raise UserError(f"{path} was trained on other images than are there now: name another --sweep_dir")
        resolved.append(replace(cell, run=run))
    return resolved


def check_starts(cells: Sequence[Cell], cards: Mapping[str, dict]) -> None:
    """Raises UserError, naming the cell, if one that has not begun cannot start from the run that --init_from names."""
    for cell in cells:
        if cell.config.init_from and cell.run.status() == WAITING:
            try:
                start.read(resolve(cell.config, cards[cell.name])[0])
            except UserError as error:
                raise UserError(f"the cell {cell.name} cannot be: {error}") from None


def _saved_configs(folder: Path, needed: Container[Path]) -> dict[Path, TrainConfig]:
    """Of the runs in `folder`. Raises UserError if one that is `needed` cannot be read; others are passed over."""
    configs = {}
    for path in sorted(folder.glob("*/config.json")):
        try:
            configs[path.parent] = RunDir(path.parent).read_config()
        except (UserError, OSError) as error:
            if path.parent in needed:
                raise UserError(str(error)) from None
    return configs


def _trained_on(run: RunDir) -> str | None:
    """The hash of the images, if the run has come so far as to record it."""
    return run.read_record().get("dataset", {}).get("sha256")


def _is_same_run(cell: Cell, config: TrainConfig, card: Mapping | None, run: RunDir, saved: TrainConfig) -> bool:
    """Whether a run of another name is this cell's: with the same settings, on the same images, as far as is known."""
    same_images = _trained_on(run) == card["sha256"] if card else saved.data_dir == config.data_dir
    return same_images and not _differences(cell, config, saved)


def _differences(cell: Cell, config: TrainConfig, saved: TrainConfig) -> dict[str, tuple]:
    """What the two have set differently: name -> (the cell's, the run's), less what `config` leaves to the data."""
    return {
        name: (mine, theirs)
        for name, (mine, theirs) in config.differences(saved).items()
        if (mine is not None or name not in RESOLVED) and (name in cell.settings or name not in _ABOUT_DATA)
    }


def _described(settings: Settings) -> str:
    return ",".join(f"{name}={flag_value(value)}" for name, value in settings.items())
