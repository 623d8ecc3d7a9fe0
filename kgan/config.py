"""TrainConfig: the only list of training settings.

Flags, JSON, bounds and help all come from the fields below, so a new setting is one new field.
"""

import dataclasses
import difflib
import json
import os
import typing

from kgan import settings
from kgan.choices import ARCHITECTURES, IMAGE_SIZES, LOSSES, NO_AUGMENTATION, augmentation_policy, usual_with_losses
from kgan.data.sources import source_of, usages
from kgan.errors import UserError
from kgan.latents import MAX_SEED
from kgan.settings import setting
from kgan.text import one_line

MAX_STEPS = 10**18 - 1
"""Of a run: its records and the names of its checkpoints hold no more."""


class Penalties(typing.NamedTuple):
    """The settings of that name, resolved: weights of R1 and R2, and at every how many steps penalties are taken."""

    r1_weight: float
    r2_weight: float
    penalty_every: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of one training run. None means "chosen from the data or the machine", as the help says.

    Raises UserError, naming the setting and what is legal, for a value out of bounds or two settings that
    contradict each other.
    """

    # data
    dataset: str = setting("mnist", f"The images: {', '.join(usages())}.", normal=lambda name: source_of(name).name)
    data_dir: str | None = setting(
        None,
        "Where the data set lies: DATA_DIR/DATASET/ or DATA_DIR/; for folder, the parent of the class folders or of "
        "the images (PNG, JPEG, WebP, BMP, GIF; the middle square of each is scaled to --image_size), or an .npy, .npz "
        "or .zip file of images; for tfds, where TensorFlow Datasets keeps its files. Default: $KGAN_DATA_DIR, else "
        "Keras's cache, else a download.",
        may_change=True,
    )
    image_size: int | None = setting(
        None,
        "Pixels a side for --dataset=folder or tfds. Default: the size that all images of a file or of tfds have, or "
        "the next smaller one of these (28 at least), else 64. Other data sets keep theirs.",
        choices=IMAGE_SIZES,
    )
    channels: int | None = setting(
        None,
        "1 (grey) or 3 (colour) for --dataset=folder or tfds. Default: as all images of a file or of tfds have, else "
        "3. Other data sets keep theirs.",
        choices=(1, 3),
    )
    num_heldout: int | None = setting(
        None, "Training images kept back for the audit, never trained on. Default: min(5000, a tenth).", lower=0
    )
    num_train: int | None = setting(
        None, "Train on only this many images. Default: all that are not held out.", lower=1
    )
    accept_unknown_license: bool = setting(
        False,
        "Train on --dataset=folder though no licence is on record (kgan data inspect writes one).",
        may_change=True,
    )
    ignore_datamining: bool = setting(
        False, "Train on --dataset=folder though the XMP of some images forbids mining.", may_change=True
    )
    verify_data: bool = setting(
        False,
        "Read the files of --dataset=folder and their decoded images again even if sizes and times are as they were.",
        may_change=True,
    )
    flip: bool = setting(False, "Flip half of the real images horizontally, at random.")
    dequantize: bool = setting(False, "Add uniform noise of one grey level to the real images.")
    augment: str = setting(
        NO_AUGMENTATION,
        "Differentiable augmentation of everything the discriminator sees: some of color,translation,cutout, or all "
        "as diffaug.",
        normal=augmentation_policy,
    )

    # networks
    arch: str = setting(
        "dcgan",
        "The pair of networks. mlp: dense layers; sndcgan, resnet: the SNGAN paper's, deeper.",
        choices=ARCHITECTURES,
    )
    width: float = setting(
        1.0, "Channels of every hidden layer, as a multiple of the architecture's own.", lower=0.05, upper=16.0
    )
    latent_dim: int = setting(100, "Length of the latent vector z.", lower=1, upper=4096)
    conditional: bool | None = setting(
        None, "Give both networks the class label. Default: if the images are of several classes."
    )
    spectral_norm: bool | None = setting(
        None,
        "Spectral norm on every discriminator layer. Default: as the architecture's paper has it (sndcgan, resnet).",
    )
    bn_momentum: float = setting(
        0.9,
        "Momentum of the batch-norm statistics of the live weights; averaged weights get their own.",
        lower=0.0,
        below=1.0,
    )
    init_stddev: float = setting(
        0.02, "Standard deviation of the initial weights; 0 takes Glorot's uniform initialisation.", lower=0.0
    )

    # an earlier run to start from
    init_from: str | None = setting(
        None,
        "The folder of an earlier run of the same networks, whose weights to start from (of its best checkpoint if it "
        "was scored, else the last; averaged ones if it has them), with new optimizers and, if you like, other images. "
        "Default: new weights.",
        normal=os.path.abspath,
    )
    freeze_d: int = setting(
        0,
        "Freeze the first N discriminator layers that have weights: they stay as they were in --init_from.",
        lower=0,
    )

    # objective
    loss: str = setting(
        "rpgan", "The objective; wgan also needs a bound, --gp_weight=10 or --spectral_norm.", choices=LOSSES
    )
    r1_weight: float | None = setting(
        None,
        f"Weight of the R1 penalty on the gradient at real images. Default: {usual_with_losses('penalty')}.",
        lower=0.0,
    )
    r2_weight: float | None = setting(
        None,
        f"Weight of the R2 penalty on the gradient at generated images. Default: {usual_with_losses('penalty')}.",
        lower=0.0,
    )
    penalty_every: int | None = setting(
        None,
        "Take the penalties only every N steps, at N times their weight (lazy regularisation). Default: "
        f"{usual_with_losses('penalty_every')}.",
        lower=1,
        upper=64,
    )
    gp_weight: float = setting(0.0, "Weight of the WGAN-GP penalty between real and generated images.", lower=0.0)
    label_smoothing: float = setting(
        0.0, "One-sided: the real images' target is 1 minus this, for losses that have one.", lower=0.0, below=0.5
    )
    d_steps: int = setting(1, "Discriminator updates before each generator update.", lower=1, upper=100)
    g_batch_multiplier: int = setting(1, "The generator's batch, in multiples of --batch_size.", lower=1, upper=16)

    # optimisation
    epochs: int | None = setting(
        None, "Passes over the training images. Default: 50, if not --steps.", lower=1, may_change=True
    )
    steps: int | None = setting(
        None, "Generator updates, instead of --epochs.", lower=1, upper=MAX_STEPS, may_change=True
    )
    batch_size: int = setting(64, "Global batch: the images of one discriminator update, over all replicas.", lower=2)
    accumulate: int = setting(
        1,
        "Compute each batch in N parts, one after the other, where memory does not hold it at once. Gradients "
        "are those of the batch, but that batch norm sees one part at a time; generated images are made twice.",
        lower=1,
    )
    g_lr: float = setting(2e-4, "Learning rate of the generator.", above=0.0)
    d_lr: float = setting(4e-4, "Learning rate of the discriminator.", above=0.0)
    beta_1: float = setting(0.0, "Adam's first moment decay.", lower=0.0, below=1.0)
    beta_2: float = setting(0.99, "Adam's second moment decay.", lower=0.0, below=1.0)
    lr_decay: str = setting("none", "linear: both rates fall to 0 at the last step.", choices=("none", "linear"))
    clip_norm: float = setting(0.0, "Clip each network's summed gradient to this norm; 0: never.", lower=0.0)
    ema_decay: float = setting(
        0.999,
        "Decay of the exponential moving average (EMA) of weights that samples are drawn with; 0: no average.",
        lower=0.0,
        below=1.0,
    )

    # machine
    seed: int = setting(0, "Fixes the weights, the order of images and every draw.", lower=0, upper=MAX_SEED)
    strategy: str = setting(
        "auto",
        "auto: all workers of TF_CONFIG or of a Slurm step (docs/clusters.md), else all GPUs if each gets 256 images "
        "or more, else one device.",
        choices=("auto", "single", "mirrored", "multiworker"),
        may_change=True,
    )
    precision: str = setting(
        "auto",
        "auto: bfloat16 where the hardware has it, else float32.",
        choices=("auto", "float32", "bfloat16"),
        may_change=True,
    )
    xla: str = setting(
        "auto", "Compile the step with XLA. auto: on one GPU only.", choices=("auto", "on", "off"), may_change=True
    )
    steps_per_call: int | None = setting(
        None, "Steps in one graph call. Default: 20 on GPUs and for mlp, else 1.", lower=1, may_change=True
    )
    deterministic: bool = setting(False, "Only deterministic kernels: slower, and equal runs are equal bit for bit.")

    # what is recorded
    log_every: int | None = setting(
        None,
        "Steps between log lines. Default: a twentieth of an epoch, 10 to 100, a multiple of --penalty_every.",
        lower=1,
        may_change=True,
    )
    sample_every: int | None = setting(
        None,
        "Steps between sample grids. Default: the shorter of an epoch and a tenth of the run, at least 25.",
        lower=1,
        may_change=True,
    )
    save_every: int | None = setting(
        None, "Steps between checkpoints. Default: an epoch, at least 100.", lower=1, may_change=True
    )
    eval_every: int | None = setting(
        None,
        "Epochs between scores of the generator (see kgan evaluate); the best checkpoint is kept. Default: never.",
        lower=1,
        may_change=True,
    )
    stop_when_worse: int | None = setting(
        None,
        "End the run after this many scores in a row without a better one (with --eval_every). Default: never.",
        lower=1,
        may_change=True,
    )
    eval_samples: int = setting(5000, "Samples of each score; at most half the training images.", lower=2)
    tensorboard: bool = setting(False, "Also write TensorBoard events (needs kgan[tensorboard]).", may_change=True)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, settings.checked(field, getattr(self, field.name)))
        _check_together(self)

    @property
    def penalties(self) -> Penalties:
        """As given, or as the objective has them."""
        usual = LOSSES[self.loss]
        return Penalties(
            usual.penalty if self.r1_weight is None else self.r1_weight,
            usual.penalty if self.r2_weight is None else self.r2_weight,
            self.penalty_every or usual.penalty_every,
        )

    @classmethod
    def from_json(cls, text: str) -> "TrainConfig":
        """Reads what `to_json` wrote. Raises UserError on anything else."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"the saved settings are not readable: {error}") from None
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: object) -> "TrainConfig":
        """The settings from JSON values. Raises UserError."""
        if not isinstance(values, dict):
            raise UserError("the saved settings are not readable: they must be a JSON object")
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            names = one_line(", ".join(unknown))
            raise UserError(f"the saved settings name {names}, which this version of kgan does not have")
        if "width" not in values:  # version 0.1, which had no penalties, and where False meant the default
            values |= {name: values.get(name, 0.0) for name in ("r1_weight", "r2_weight")} | {"penalty_every": 1}
            values["spectral_norm"] = values.get("spectral_norm") or None
        return cls(**values)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def to_flags(self) -> str:
        """A flagfile that repeats these settings; those left to the machine are left out."""
        return "".join(
            as_flag(name, value) + "\n" for name, value in dataclasses.asdict(self).items() if value is not None
        )

    def differences(self, other: "TrainConfig") -> dict[str, tuple]:
        """The settings whose values differ: name -> (mine, the other's)."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}

    def replace(self, **changes) -> "TrainConfig":
        return dataclasses.replace(self, **changes)


def checked(name: str, value):
    """A value of the setting of this name in the form that a TrainConfig keeps it. Raises UserError."""
    return settings.checked(next(field for field in dataclasses.fields(TrainConfig) if field.name == name), value)


def check_name(name: str) -> None:
    """Raises UserError, with the nearest name, unless there is a setting of this name."""
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise UserError(f"there is no setting {name!r}{f': did you mean {near[0]}?' if near else ''}")


def may_change() -> tuple[str, ...]:
    """The settings that a resumed run may change."""
    return tuple(field.name for field in dataclasses.fields(TrainConfig) if field.metadata["may_change"])


def as_flag(name: str, value: bool | int | float | str) -> str:
    """The flag that gives a setting this value: --flip, --noflip or --g_lr=0.0002."""
    return f"--{'no' * (value is False)}{name}" + ("" if isinstance(value, bool) else f"={value}")


def flag_value(value: object) -> str:
    """A setting as its flag would have it: true, false, 0.0002."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_together(config: TrainConfig) -> None:
    """Settings that are legal one by one and contradict each other."""
    if config.stop_when_worse and not config.eval_every:
        raise UserError("--stop_when_worse counts scores: say how often to score with --eval_every")
    if config.epochs and config.steps:
        raise UserError("--epochs and --steps both say how long to train: give one of them")
    if config.freeze_d and not config.init_from:
        raise UserError("--freeze_d keeps layers of an earlier run as they are: name that run with --init_from")
    images, rest = divmod(config.batch_size, config.accumulate)
    if config.accumulate > 1 and (rest or images < 2):
        raise UserError(
            f"--accumulate={config.accumulate} must divide --batch_size={config.batch_size} into parts of 2 or more"
        )
    shape = source_of(config.dataset).image_shape
    if shape:
        for name, size in (("image_size", shape[0]), ("channels", shape[2])):
            if getattr(config, name) not in (None, size):
                raise UserError(f"--{name} is for --dataset=folder or tfds; {config.dataset} has {name} {size}")
    if config.label_smoothing and not LOSSES[config.loss].has_targets:
        others = ", ".join(name for name, loss in LOSSES.items() if loss.has_targets)
        raise UserError(f"--label_smoothing has no meaning for --loss={config.loss}: it needs one of {others}")
