"""JSON files with declared contents: a TypedDict says what a file may hold, and it is checked once, when it is read.

Keys that a type does not name are allowed, so that a later version may add some; those it names have its types.
"""

import json
import types
import typing
from pathlib import Path

from kgan.errors import UserError
from kgan.files import read_bounded
from kgan.text import one_line

MAX_BYTES = 64 * 2**20


class DataRecord(typing.TypedDict, total=False):
    """The data set in run.json, as `DatasetCard.to_dict` wrote it: what other modules rely on."""

    name: str
    license: str
    origin: str
    holder: str
    citation: str
    sha256: str
    num_images: int
    num_train: int
    num_heldout: int
    unreadable: int | None
    other_formats: dict[str, int]
    duplicates: int | None
    datamining_prohibited: int | None
    image_shape: list[int] | None
    sizes: dict[str, int]
    size_range: list[str]
    classes: dict[str, int]
    contains_people: bool | None
    consent: str
    files_sha256: str
    overrides: list[str]


class DeviceRecord(typing.TypedDict, total=False):
    names: list[str]
    processor: str | None
    replicas: int
    precision: str
    xla: bool
    steps_per_call: int


class ScoringRecord(typing.TypedDict, total=False):
    """How a run that is scored while it trains is scored, and what real images score."""

    protocol: typing.Required[dict]
    floor: typing.Required[dict[str, float]]


class AncestorRecord(typing.TypedDict, total=False):
    """A run whose weights another started from, by way of others or at once; `ema` says which weights of it."""

    run_id: typing.Required[str]
    checkpoint_sha256: typing.Required[str]
    step: int
    ema: bool
    dataset: typing.Required[DataRecord]


class Resumption(typing.TypedDict):
    """One time that a run went on: from which step, and what was not as before: name -> [before, now]."""

    step: int
    changes: dict[str, list]


class RunRecord(typing.TypedDict, total=False):
    """run.json."""

    id: str
    created: str
    updated: str
    status: str
    step: int
    total_steps: int
    data_dir: str
    dataset: DataRecord
    device: DeviceRecord
    threads: dict[str, int | None]
    platform: str
    versions: dict[str, str]
    git_revision: str | None
    evaluation: ScoringRecord
    ancestors: list[AncestorRecord]
    resumed: list[Resumption]
    ended: str | None


class MetricsLine(typing.TypedDict, total=False):
    """A line of metrics.jsonl; a scored step's has the scores too."""

    step: typing.Required[int]
    epoch: float
    images_per_second: typing.Required[float]
    data_wait: typing.Required[float]
    d_loss: typing.Required[float]
    g_loss: typing.Required[float]
    d_penalty: float
    d_real: typing.Required[float]
    d_fake: typing.Required[float]
    d_heldout: float
    d_grad_norm: typing.Required[float]
    g_grad_norm: typing.Required[float]
    frechet_distance: float


class Best(typing.TypedDict):
    """checkpoints/best.json."""

    step: int
    score: float


class Evaluation(typing.TypedDict, total=False):
    """evaluation.json."""

    scores: dict[str, float | None]
    floor: dict[str, float | None]
    protocol: dict


class Histograms(typing.TypedDict):
    """How many images have which ratio: shares in equal bins from 0 to `top`."""

    top: float
    samples: list[float]
    heldout: list[float]


class Audit(typing.TypedDict, total=False):
    """audit.json."""

    verdict: str
    reason: str
    alpha: float
    measured_false_positive_rate: float | None
    num_samples: int
    num_flagged: int
    flagged: list[dict]
    p_values: dict[str, dict[str, float]]
    adjusted_p_values: dict[str, dict[str, float]]
    calibration: dict[str, dict[str, float]]
    histograms: dict[str, Histograms]
    detection_limit: dict[str, float | None]
    planted_flagged: dict[str, float | None]
    passes_per_image: float | None
    latent_recovery: dict | None
    protocol: dict


def read(path: Path, kind: type) -> dict:
    """The content of a JSON file of this kind. Raises FileNotFoundError, and UserError if it is anything else."""
    if not path.exists():
        raise FileNotFoundError(path)
    return parse(read_bounded(path, MAX_BYTES), kind, path)


def parse(content: bytes, kind: type, where: object) -> dict:
    """The content of JSON text. Raises UserError, which names `where` and the wrong key."""
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not readable ({one_line(error)})") from None
    if problem := mismatch(value, kind):
        raise UserError(f"{where}: not readable ({problem})")
    return value


def mismatch(value: object, kind: typing.Any, name: str = "") -> str | None:
    """What keeps a JSON value from being of a type, in words, or None. `name` is what the value is called."""
    if kind is typing.Any:
        return None
    if typing.is_typeddict(kind):
        return _mismatch_of_keys(value, kind, name)
    origin, arguments = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is typing.Required:
        return mismatch(value, arguments[0], name)
    if origin in (typing.Union, types.UnionType):
        return None if any(mismatch(value, one, name) is None for one in arguments) else _says(name, value, kind)
    if origin is float:
        return None if isinstance(value, int | float) and not isinstance(value, bool) else _says(name, value, kind)
    if not isinstance(value, origin) or (isinstance(value, bool) and origin is not bool):
        return _says(name, value, kind)
    if origin is int and abs(value) >= 2**63:
        return f"{name} is too large"
    if arguments and origin is list:
        return _first(mismatch(item, arguments[0], f"{name}[{place}]") for place, item in enumerate(value))
    if arguments and origin is dict:
        return _first(mismatch(item, arguments[1], f"{name}.{one_line(key, 40)}") for key, item in value.items())
    return None


def _mismatch_of_keys(value: object, kind: typing.Any, name: str) -> str | None:
    if not isinstance(value, dict):
        return _says(name, value, dict)
    prefix = f"{name}." if name else ""
    for key in sorted(kind.__required_keys__):
        if key not in value:
            return f"{prefix}{key} is missing"
    declared = typing.get_type_hints(kind, include_extras=True)
    return _first(mismatch(value[key], declared[key], prefix + key) for key in declared if key in value)


def _first(problems) -> str | None:
    return next((problem for problem in problems if problem), None)


def _says(name: str, value: object, kind: typing.Any) -> str:
    words = {dict: "a JSON object", list: "a list", str: "a string", int: "a whole number", float: "a number"}
    words |= {bool: "true or false", type(None): "null"}
    wanted = [words.get(typing.get_origin(one) or one, str(one)) for one in typing.get_args(kind) or ()]
    origin = typing.get_origin(kind) or kind
    expected = words[origin] if origin in words else " or ".join(wanted)
    return f"{name or 'it'} is {words.get(type(value), type(value).__name__)}, not {expected}"
