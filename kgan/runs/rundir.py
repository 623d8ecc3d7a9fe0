"""A run folder: what lies where, who may write in it, and its records.

Every file but metrics.jsonl, log.txt and TensorBoard's events is replaced whole, so that a crash leaves the old one or
the new one.
"""

import errno
import fcntl
import json
import os
import re
import shlex
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TextIO

from kgan.config import TrainConfig
from kgan.data.sources import file_name
from kgan.errors import UserError
from kgan.files import nearest_existing, remove_leftovers, write_atomically
from kgan.runs import schema

RUNS = Path("runs")
EVALUATION, AUDIT, AUDIT_PAIRS, AUDIT_RATIOS = "evaluation.json", "audit.json", "audit-pairs.png", "audit-ratios.png"
"""What evaluation and audit write, into a run folder or beside samples."""
REPORT = "report.html"
WAITING, RUNNING, INTERRUPTED, FAILED = "waiting", "running", "interrupted", "failed"
FINISHED, NON_FINITE = "finished", "non-finite"
"""What `RunDir.status` says. Of an interrupted and of a failed run there are steps left to make."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_SAMPLE = re.compile(r"step-(\d{7,18})\.png")
_OCCUPIED = "another process is training here; wait for it or stop it"


class RunDir:
    """The files of one run. Making the object touches nothing; `create` and `lock` do."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.flags_file = self.path / "flags.txt"
        self.record_file = self.path / "run.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.log_file = self.path / "log.txt"
        self.checkpoints = self.path / "checkpoints"
        self.samples = self.path / "samples"
        self.reals_file = self.samples / "reals.png"
        self.comparison_file = self.path / "comparison.png"
        self.curves_file = self.path / "curves.png"
        self.animation_file = self.path / "training.gif"
        self.events = self.path / "events"
        self.generated = self.path / "generated"
        self.evaluation_file = self.path / EVALUATION
        self.audit_file = self.path / AUDIT
        self.audit_pairs_file = self.path / AUDIT_PAIRS
        self._lock: TextIO | None = None

    @classmethod
    def create(cls, path: str | os.PathLike | None, config: TrainConfig) -> "RunDir":
        """Makes and locks the folder at `path`, or the next numbered one below runs/.

        Raises UserError if `path` exists and is not empty, or cannot be made. Of what a resumed run needs, config.json
        is written last: a folder without it, that a process was killed in while it made it, counts as empty.
        """
        run = cls(path or _next_numbered(config))
        run.check_unused()
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--run_dir={run.path}: cannot make this folder ({error.strerror})") from None
        run.lock()
        try:
            run.remove_leftovers()
            run.samples.mkdir(exist_ok=True)
            run.checkpoints.mkdir(exist_ok=True)
            run.record_file.unlink(missing_ok=True)
            run.update_record(id=uuid.uuid4().hex, created=_now(), status="created")
            run.write_config(config)
        except OSError as error:
            run.unlock()
            raise UserError(f"--run_dir={run.path}: cannot write in this folder ({error.strerror})") from None
        return run

    def check_unused(self) -> None:
        """Raises UserError if the folder exists and is not empty, or a file is in its place."""
        if not (place := nearest_existing(self.path)).is_dir():
            raise UserError(f"--run_dir={self.path}: cannot make this folder, {place} is a file")
        try:
            occupied = any(self._is_content(path) for path in self.path.rglob("*"))
        except OSError as error:
            raise UserError(f"--run_dir={self.path}: cannot look into this folder ({error.strerror})") from None
        if occupied and self.is_locked():
            raise UserError(f"{self.path}: {_OCCUPIED}")
        if occupied:
            resume = f"--resume={shlex.quote(str(self.path))}"
            raise UserError(f"--run_dir={self.path} is not empty: go on with {resume}, or name another")

    def _is_content(self, path: Path) -> bool:
        return path.is_file() and not path.name.startswith(".") and path != self.record_file

    @classmethod
    def open(cls, path: str | os.PathLike) -> "RunDir":
        """An existing run. Raises UserError if there is none at `path`."""
        run = cls(path)
        if not os.path.isfile(run.config_file):  # false, too, where nobody may look
            raise UserError(f"{path}: not a run folder (it has no config.json)")
        return run

    def lock(self) -> None:
        """Keeps every other process from writing here until this one ends, if the file system has locks. Raises
        UserError if one does already, or if this one may not write here."""
        try:
            lock = open(self.path / ".lock", "w")  # noqa: SIM115  held until `unlock`
            if not _locked_in_a_moment(lock):
                raise UserError(f"{self.path}: {_OCCUPIED}")
        except OSError as error:
            raise UserError(f"{self.path}: cannot write in this folder ({error.strerror})") from None
        self._lock = lock

    def remove_leftovers(self) -> None:
        """Removes unfinished files that a killed training left. Call it with the lock held."""
        records = (self.config_file, self.flags_file, self.record_file, self.metrics_file)
        pictures = (self.curves_file, self.comparison_file, self.animation_file)
        names = [*(path.name for path in (*records, *pictures)), f"{self.animation_file.name}.json"]
        remove_leftovers(self.path, names)
        for folder in (self.checkpoints, self.samples):
            remove_leftovers(folder)

    def is_locked(self) -> bool:
        """Whether a process, this one included, is writing here."""
        try:
            with open(self.path / ".lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # there is no lock, or nothing can be locked here
            return False
        return False

    def status(self) -> str:
        """How far its training got: one of the words above. Raises UserError if run.json is damaged.

        A process that was killed left "running" in run.json; whether one runs is what the lock says.
        """
        if not self.config_file.exists():
            return WAITING
        if self.is_locked():
            return RUNNING
        recorded = self.read_record().get("status")
        return recorded if recorded in (FINISHED, NON_FINITE, FAILED) else INTERRUPTED

    def step(self) -> int | None:
        """The steps that its training made, None if nothing says so. Raises UserError if a file is damaged.

        run.json says where training ended. While it runs, and after it was killed, run.json only says where it began,
        and the log is further on.
        """
        record = self.read_record()
        ended = record.get("step") is not None and record.get("status") != RUNNING
        logged = [] if ended else self.read_metrics()[-1:]
        steps = [line.get("step") for line in (record, *logged)]
        return max((step for step in steps if step is not None), default=None)

    def unlock(self) -> None:
        if self._lock:
            self._lock.close()

    def read_config(self) -> TrainConfig:
        """config.json. If the data are no longer at its data_dir, and the run was moved together with them, data_dir is
        where they are now. Raises UserError if it is damaged."""
        content = schema.read(self.config_file, dict)
        try:
            config = TrainConfig.from_dict(content)
        except UserError as error:
            raise UserError(f"{self.config_file}: {error}") from None
        if config.data_dir and not os.path.exists(config.data_dir) and (relative := self.read_record().get("data_dir")):
            moved = os.path.abspath(self.path / relative)
            return config.replace(data_dir=moved) if os.path.exists(moved) else config
        return config

    def write_config(self, config: TrainConfig) -> None:
        """Writes config.json and flags.txt, and into run.json where the data lie as seen from the run folder."""
        if config.data_dir:
            self.update_record(data_dir=os.path.relpath(config.data_dir, self.path))
        write_atomically(self.config_file, config.to_json().encode())
        header = "# kgan train --flagfile=flags.txt repeats this run\n"
        write_atomically(self.flags_file, (header + config.to_flags()).encode())

    def read_record(self) -> dict:
        """run.json, a `schema.RunRecord`; empty before there is one. Raises UserError if it is damaged."""
        try:
            return schema.read(self.record_file, schema.RunRecord)
        except FileNotFoundError:
            return {}

    def update_record(self, **changes) -> None:
        """Changes some keys of run.json."""
        record = self.read_record() | changes | {"updated": _now()}
        write_atomically(self.record_file, (json.dumps(record, indent=2) + "\n").encode())

    def check_data(self, sha256: str) -> None:
        """Raises UserError unless this run was trained on the data set of that hash."""
        dataset = self.read_record().get("dataset", {})
        if dataset.get("sha256") != sha256:
            raise UserError(
                f"{self.path} was trained on other images than {dataset.get('name', 'its data set')} holds now: "
                "name the place of those by --data_dir"
            )

    def append_metrics(self, values: dict) -> None:
        with open(self.metrics_file, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(values) + "\n")

    def read_metrics(self) -> list[dict]:
        """The lines of metrics.jsonl, each a `schema.MetricsLine`; a last one that a crash left unfinished is not
        counted. Raises UserError, naming the line, if the file is damaged."""
        try:
            content = self.metrics_file.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{self.metrics_file}: not readable ({error.strerror})") from None
        whole = content[: content.rfind(b"\n") + 1].splitlines()
        return [
            schema.parse(line, schema.MetricsLine, f"{self.metrics_file}, line {number}")
            for number, line in enumerate(whole, 1)
        ]

    def cut_back(self, step: int) -> None:
        """Drops what was logged and drawn after `step`: a resumed run will log and draw it again, or end before."""
        for path in self.sample_files():
            if step_of(path) > step:
                path.unlink()
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        write_atomically(self.metrics_file, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def generated_by(self, step: int, variant: str = "") -> Path:
        """Where `kgan sample` writes what the checkpoint of `step` draws; `variant` tells other weights or settings."""
        return self.generated / f"step-{step:07}{variant}"

    def sample_file(self, step: int) -> Path:
        return self.samples / f"step-{step:07}.png"

    def sample_files(self) -> list[Path]:
        """The sample grids, oldest first."""
        matches = (_SAMPLE.fullmatch(path.name) for path in self.samples.glob("step-*.png"))
        return [self.samples / match[0] for match in sorted(filter(None, matches), key=lambda match: int(match[1]))]


def step_of(path: Path) -> int:
    """The step that the file name of a checkpoint or a sample grid says."""
    return int(path.stem.removeprefix("step-"))


def _locked_in_a_moment(lock: IO) -> bool:
    """Takes the lock if nobody trains there; tries for a moment, for `RunDir.is_locked` holds it that long."""
    for _ in range(20):
        try:
            _flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.02)
    return False


def _flock(lock: IO, how: int) -> None:
    """Locks where the file system has locks: some of a cluster's have none."""
    try:
        fcntl.flock(lock, how)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _next_numbered(config: TrainConfig) -> Path:
    """Makes runs/NNNNN-dataset-arch-loss, a folder of images by its own name; of two processes that ask at once, each
    gets a number of its own."""
    try:
        RUNS.mkdir(exist_ok=True)
        with open(RUNS / ".lock", "w") as lock:
            _flock(lock, fcntl.LOCK_EX)
            numbers = [int(match[1]) for path in RUNS.iterdir() if (match := re.match(r"(\d+)-", path.name))]
            number = max(numbers, default=-1) + 1
            path = RUNS / f"{number:05}-{file_name(config.dataset, config.data_dir)}-{config.arch}-{config.loss}"
            path.mkdir()
            return path
    except OSError as error:
        raise UserError(f"cannot make {RUNS.absolute()} ({error.strerror}): name a folder with --run_dir") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
