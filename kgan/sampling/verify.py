"""`kgan.verify`: are images what their marks claim?"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from kgan.errors import UserError
from kgan.pictures.picture import SUFFIXES
from kgan.progress import Progress
from kgan.provenance.c2pa import SignatureReader
from kgan.provenance.check import CheckResult, Verdict, check
from kgan.provenance.npz import check_npz
from kgan.provenance.sidecars import check_animation
from kgan.runs import environment
from kgan.runs.rundir import AUDIT_RATIOS, RunDir

_SUFFIXES = (*sorted(SUFFIXES), ".npz")  # of the others nothing can be told


@dataclass(frozen=True)
class FileResult:
    """The verdict on one file, and why, in words."""

    path: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class VerifyResult:
    """The result of each file, in the order given; `regenerated` says whether they were compared with a run's."""

    files: tuple[FileResult, ...]
    regenerated: bool

    @property
    def exit_code(self) -> int:
        """0, or 1 if one file is not what it claims, else 2 if one is close or cannot be told.

        Unless `regenerated`, 0 only says that every file is consistent with itself.
        """
        codes = {file.verdict.exit_code for file in self.files}
        return 1 if 1 in codes else max(codes)


def verify(
    paths: str | os.PathLike | Iterable[str | os.PathLike],
    *,
    run: str | os.PathLike | None = None,
    c2pa_trust: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> VerifyResult:
    """Checks the marks of images (PNG, .npz, or GIF with the JSON beside it). Nothing in the files makes it raise.

    Args:
        paths: Files, or folders: of a folder, all the pictures and .npz in it and below, by name. What no network
            drew is left out of the folder of `run`: its checkpoints, samples/reals.png, curves.png and each
            audit-ratios.png.
        run: The run that made them: each image is regenerated from its latent and compared. Without it, only
            whether a file is consistent with itself is checked, and marks can be forged.
        c2pa_trust: PEM certificates of the authorities whose C2PA signers you trust. The reason then says whether a
            signer is one of them; the verdict does not depend on it.
        progress: Called with (files judged, files).

    Raises:
        UserError: There are no paths, `run` is no run folder, `c2pa_trust` cannot be read, or one of the two is empty.
    """
    for name, value in (("run", run), ("c2pa_trust", c2pa_trust)):
        if value == "":
            raise UserError(f"--{name}= is empty: give it a value, or leave it out")
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    not_drawn = _not_drawn(RunDir(os.path.realpath(run))) if run else set()
    names = [name for path in given for name in _files(os.fspath(path), not_drawn)]
    if not names:
        raise UserError("name the images, as in kgan verify runs/x/generated --run=runs/x")
    signature = SignatureReader(c2pa_trust)
    checked = ((name, _check(name, signature)) for name in names)
    results = []
    for result in _regenerated(run, checked) if run else _alone(checked):
        results.append(result)
        if progress:
            progress(len(results), len(names))
    return VerifyResult(tuple(results), bool(run))


def _not_drawn(run: RunDir) -> set[Path]:
    """The files and folders of a run in which there is nothing that its generator drew."""
    ratios = (run.path / AUDIT_RATIOS, *run.path.glob(f"*/{AUDIT_RATIOS}"))
    return {run.checkpoints, run.reals_file, run.curves_file, *ratios}


def _files(path: str, not_drawn: set[Path]) -> list[str]:
    """The path itself, or what there is to verify in the folder. Raises UserError for a folder with nothing, or with
    one in it that may not be read."""
    if not os.path.isdir(path):
        return [path]
    names = []
    for folder, folders, files in os.walk(path, onerror=_refuse):
        here = Path(os.path.realpath(folder))
        folders[:] = [name for name in folders if here / name not in not_drawn]
        shown = (name for name in files if name.lower().endswith(_SUFFIXES) and not name.startswith("."))
        names += [os.path.join(folder, name) for name in shown if here / name not in not_drawn]
    if not names:
        raise UserError(f"{path}: there are no images in this folder ({', '.join(_SUFFIXES)})")
    return sorted(names)


def _refuse(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename}: cannot look into this folder ({error.strerror})") from None


def _check(name: str, signature: SignatureReader) -> CheckResult:
    if name.lower().endswith(".gif"):
        return check_animation(name)
    return check_npz(name) if name.lower().endswith(".npz") else check(name, signature)


def _alone(checked: Iterable[tuple[str, CheckResult]]) -> Iterator[FileResult]:
    for name, result in checked:
        reasons = [*(result.reasons or ["consistent with itself"]), *([result.note] if result.note else [])]
        yield FileResult(name, result.verdict, "; ".join(reasons))


def _regenerated(run: str | os.PathLike, checked: Iterable[tuple[str, CheckResult]]) -> Iterator[FileResult]:
    RunDir.open(run)
    environment.import_tensorflow()
    from kgan.sampling.regenerate import Regenerator

    for name, judgement in Regenerator(os.fspath(run)).judge(checked):
        yield FileResult(name, judgement.verdict, judgement.reason)
