"""`kgan.audit`: did a generator learn from its training images, or does it reproduce them?"""

import dataclasses
import os

import numpy as np

from kgan.arguments import check_range, check_run_or_samples, refuse_changed
from kgan.auditing import inputs
from kgan.auditing.comparison import compare
from kgan.auditing.result import AuditResult
from kgan.errors import UserError
from kgan.latents import MAX_SEED
from kgan.progress import Progress
from kgan.runs.rundir import RunDir
from kgan.sampling.read import Source, check_exists


def audit(
    run: str | os.PathLike | np.ndarray | None = None,
    train: Source | None = None,
    heldout: Source | None = None,
    *,
    samples: Source | None = None,
    dataset: str | None = None,
    num_heldout: int | None = None,
    against: Source | None = None,
    data_dir: str | None = None,
    num_samples: int = 10_000,
    alpha: float = 1e-3,
    shifts: int = 1,
    recover: bool = False,
    seed: int = 0,
    checkpoint: str | int = "best",
    ema: bool = True,
    progress: Progress | None = None,
) -> AuditResult:
    """Searches generated images for copies of training images.

    The images are those of a `run` folder, or the `samples` of any generator together with what it was trained on:
    `train`, or the name of a `dataset`. Images are given as uint8 arrays (n, h, w, c), or (n, h, w) if grey, or as
    paths to a folder, an .npz or an .npy; `audit(samples, train, heldout)` takes arrays in this order.

    Args:
        run: a run folder. Its training images and held-out images are read again; its samples are drawn anew.
        train: the images that the generator of `samples` was trained on.
        heldout: images of the same origin that the generator never saw, 20 at least, better thousands. Without them
            (a run has its own) the audit cannot tell.
        samples: the images to audit, instead of a run's.
        dataset: the data set that the generator of `samples` was trained on, instead of `train`.
        num_heldout: with `dataset`: the generator never saw the images that `kgan.train` holds out, this many.
        against: known works to look for instead of the training images, whether or not the generator was trained on
            them; with `samples`, `train` and `dataset` may then be left out.
        data_dir: where the data set lies. Default: where the run says, else $KGAN_DATA_DIR.
        num_samples: how many samples to draw, or to take at most.
        alpha: the share of held-out images that may be flagged, but at least 1/(n + 1) of n of them, since the
            threshold is the ratio of one.
        shifts: look for copies moved by up to this many pixels, 0 to 2.
        recover: measure latent recovery too, for a run (Webster et al., 2019, arXiv:1901.03396); takes minutes. It is
            reported beside the verdict, on which it has no bearing: a generator may reach training images better
            without copying them.
        seed: of the samples of a run, which are images 0 to num_samples - 1 as `kgan sample` draws them.
        checkpoint: of the run: "best" (if one was scored, else the last), "last" or a step.
        ema: draw with the averaged weights, if the run has them.
        progress: called with (done, total) now and then; drawing, latent recovery and comparing each count anew.

    Returns:
        An AuditResult: `verdict` is "copies found", "no copying detected" or "cannot tell"; `save` writes audit.json,
        `save_pictures` the closest pairs.

    Raises:
        UserError: for arguments that do not fit together, files that cannot be read, and images that do not match.
    """
    if isinstance(run, np.ndarray) and samples is None:
        run, samples = None, run
    check_run_or_samples(run, samples)
    for name, source in {"samples": samples, "train": train, "heldout": heldout, "against": against}.items():
        check_exists(source, name)
    check_range("num_samples", num_samples, 1, 10**9)
    check_range("shifts", shifts, 0, 2)
    check_range("seed", seed, 0, MAX_SEED)
    if not 0 < alpha < 1:
        raise UserError(f"--alpha={alpha}: must be more than 0 and less than 1")
    if recover and against is not None:
        raise UserError("--recover asks about the training images: leave out --against")
    if samples is None:
        assert run is not None and not isinstance(run, np.ndarray)
        ours = {"dataset": dataset, "num_heldout": num_heldout, "train": train}
        refuse_changed(audit, ours, "--samples; a run has its own")
        images = inputs.of_run(
            RunDir.open(run), heldout=heldout, data_dir=data_dir, num_samples=num_samples, seed=seed,
            checkpoint=checkpoint, ema=ema, recover=recover, progress=progress,
        )  # fmt: skip
    else:
        theirs = {"checkpoint": checkpoint, "ema": ema, "seed": seed, "recover": recover}
        refuse_changed(audit, theirs, "a run; the images of --samples are what they are")
        images = inputs.of_samples(
            samples, dataset=dataset, train=train, heldout=heldout, num_heldout=num_heldout, data_dir=data_dir,
            num_samples=num_samples, trained=against is None,
        )  # fmt: skip
    if against is not None:
        images = inputs.against_works(images, against)
    height, width = images.train.shape[1:3]
    if min(height, width) <= 2 * shifts:
        raise UserError(f"--shifts={shifts}: leaves nothing of images of {height}x{width}")
    return _audited(images, recover, progress, alpha=alpha, shifts=shifts, exchangeable=against is None)


def _audited(images: inputs.AuditImages, recover: bool, progress: Progress | None, **settings) -> AuditResult:
    recovery = images.recover(progress or (lambda done, total: None)) if recover and images.recover else None
    result = compare(
        images.samples,
        images.train,
        images.heldout,
        flipped=images.flipped,
        passes_per_image=images.passes_per_image,
        progress=progress,
        **settings,
    )
    if images.files:
        result = result.with_files(images.files)
    if images.places is not None:
        result = result.with_samples_at(images.places)
    assert result.evidence is not None
    return dataclasses.replace(
        result,
        reason=". ".join([result.reason, *images.remarks, *images.on_training]),
        protocol=result.protocol | images.protocol,
        latent_recovery=recovery,
        evidence=dataclasses.replace(result.evidence, origin=images.origin),
        skipped=images.skipped,
    )
