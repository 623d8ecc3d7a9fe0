"""A run folder: what lies where, who may write in it, and its records.

Every file but metrics.jsonl and log.txt is replaced whole, so that a crash leaves the old one or the new one.
"""

import fcntl
import json
import os
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path

from kgan.config import TrainConfig
from kgan.data.sources import file_name
from kgan.errors import UserError
from kgan.files import write_atomically

RUNS = Path("runs")


class RunDir:
    """The files of one run. Making the object touches nothing; `create` and `lock` do."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.record_file = self.path / "run.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.log_file = self.path / "log.txt"
        self.checkpoints = self.path / "checkpoints"
        self.samples = self.path / "samples"
        self._lock = None

    @classmethod
    def create(cls, path: str | Path | None, config: TrainConfig) -> "RunDir":
        """Makes and locks the folder at `path`, or the next numbered one below runs/.

        Raises UserError if `path` exists and is not empty, or cannot be made. config.json is written last: a folder
        without it, that a process was killed in while it made it, counts as empty.
        """
        run = cls(path or _next_numbered(config))
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            occupied = any(run._is_content(path) for path in run.path.rglob("*"))
        except OSError as error:
            raise UserError(f"--run_dir={run.path}: cannot make this folder ({error.strerror})") from None
        if occupied:
            raise UserError(f"--run_dir={run.path} is not empty: go on with --resume={run.path}, or name another")
        run.lock()
        run.samples.mkdir(exist_ok=True)
        run.checkpoints.mkdir(exist_ok=True)
        run.record_file.unlink(missing_ok=True)
        run.update_record(id=uuid.uuid4().hex, created=_now(), status="created")
        run.write_config(config)
        return run

    def _is_content(self, path: Path) -> bool:
        return path.is_file() and not path.name.startswith(".") and path != self.record_file

    @classmethod
    def open(cls, path: str | os.PathLike) -> "RunDir":
        """An existing run. Raises UserError if there is none at `path`."""
        run = cls(path)
        if not run.config_file.is_file():
            raise UserError(f"{path}: not a run folder (it has no config.json)")
        return run

    def lock(self) -> None:
        """Keeps every other process from writing here until this one ends. Raises UserError if one does already."""
        self._lock = open(self.path / ".lock", "w")  # noqa: SIM115  held until `unlock`
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{self.path}: another process is training here; wait for it or stop it") from None

    def is_locked(self) -> bool:
        """Whether a process, this one included, is writing here."""
        try:
            with open(self.path / ".lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def unlock(self) -> None:
        self._lock.close()

    def read_config(self) -> TrainConfig:
        return TrainConfig.from_json(self.config_file.read_text("utf-8"))

    def write_config(self, config: TrainConfig) -> None:
        """Writes config.json and flags.txt."""
        write_atomically(self.config_file, config.to_json().encode())
        header = "# kgan train --flagfile=flags.txt repeats this run\n"
        write_atomically(self.path / "flags.txt", (header + config.to_flags()).encode())

    def read_record(self) -> dict:
        """run.json. Raises UserError if it is damaged."""
        try:
            return json.loads(self.record_file.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise UserError(f"{self.record_file}: not readable ({error})") from None

    def update_record(self, **changes) -> None:
        """Changes some keys of run.json."""
        record = self.read_record() | changes | {"updated": _now()}
        write_atomically(self.record_file, (json.dumps(record, indent=2) + "\n").encode())

    def check_data(self, sha256: str) -> None:
        """Raises UserError unless this run was trained on the data set of that hash."""
        dataset = self.read_record().get("dataset") or {}
        if dataset.get("sha256") != sha256:
            raise UserError(
                f"{self.path} was trained on other images than {dataset.get('name', 'its data set')} holds now: "
                "see --data_dir"
            )

    def append_metrics(self, values: dict) -> None:
        with open(self.metrics_file, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(values) + "\n")

    def read_metrics(self) -> list[dict]:
        """The lines of metrics.jsonl; a line that a crash left unfinished is not counted."""
        if not self.metrics_file.exists():
            return []
        lines = []
        for line in self.metrics_file.read_text("utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
        return lines

    def cut_metrics(self, step: int) -> None:
        """Drops what was logged after `step`: a resumed run will log it again."""
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        write_atomically(self.metrics_file, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def sample_file(self, step: int) -> Path:
        return self.samples / f"step-{step:07}.png"

    def sample_files(self) -> list[Path]:
        """The sample grids, oldest first."""
        return sorted(self.samples.glob("step-*.png"))


def _next_numbered(config: TrainConfig) -> Path:
    """Makes runs/NNNNN-dataset-arch-loss, a folder of images by its own name; of two processes that ask at once, each
    gets a number of its own."""
    try:
        RUNS.mkdir(exist_ok=True)
        with open(RUNS / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            numbers = [int(match[1]) for path in RUNS.iterdir() if (match := re.match(r"(\d+)-", path.name))]
            number = max(numbers, default=-1) + 1
            path = RUNS / f"{number:05}-{file_name(config.dataset, config.data_dir)}-{config.arch}-{config.loss}"
            path.mkdir()
            return path
    except OSError as error:
        raise UserError(f"cannot make {RUNS.absolute()} ({error.strerror}): name a folder with --run_dir") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
