"""Results of the experiments, and README's table of them.

    python experiments/results/results.py collect RECIPE RUN [RUN ...]   # copies what is quoted of evaluated runs
    python experiments/results/results.py audit RECIPE DIR [DIR ...]     # copies what is quoted of audits
    python experiments/results/results.py                                # writes the table into README.md

A recipe's folder holds a JSON a seed: the command, the hardware, images a second, minutes, and evaluation.json and
audit.json as `kgan evaluate` and `kgan audit` wrote them; or, of an experiment that audits one run as it goes on, a
JSON a step: audit.json less the list of flagged samples; or sweep.csv and sweep.png as `kgan sweep` wrote them.
"""

import collections
import dataclasses
import json
import re
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

from kgan.config import TrainConfig, as_flag, may_change
from kgan.data.sources import source_of
from kgan.settings import value_type
from kgan.training.plan import with_usual

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
_LENGTH = re.compile(r"-\d+epochs$")
START, END = "<!-- results: made by `make results` -->\n", "<!-- end of results -->\n"
_OTHER_FIT = " \N{DAGGER}"
_ABOUT_OTHER_FIT = (
    "in the features of another fit of the classifier than the other rows on these data: compare it with its own real "
    "images, not with them."
)
# settings in which a run may differ from its recipe and still count as it: what the data decide, the machine, records
_APART = {*may_change(), "image_size", "channels", "num_heldout", "seed", "deterministic", "eval_samples"}


def collect(recipe: str, run: Path) -> None:
    """Copies the figures of a run that `kgan evaluate`, and if you like `kgan audit`, have seen."""
    config, record = _read(run / "config.json"), _read(run / "run.json")
    folder = HERE / recipe
    folder.mkdir(exist_ok=True)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] - before["step"] for before, line in zip([{"step": 0}, *lines], lines, strict=False)]
    images = [count * config["batch_size"] * config["d_steps"] for count in steps]
    seconds = sum(count / line["images_per_second"] for count, line in zip(images, lines, strict=True))
    figures = {
        "settings": (run / "flags.txt").read_text().split("\n")[:-1],
        "versions": record["versions"],
        "git_revision": record["git_revision"],
        "hardware": {**record["device"], **record["threads"]},
        "steps": record["step"],
        "epochs": lines[-1]["epoch"],
        "images_per_second": round(sum(images) / seconds),
        "minutes": round(seconds / 60, 1),
        "evaluation": _read(run / "evaluation.json"),
        "audit": _read(run / "audit.json") if (run / "audit.json").exists() else None,
    }
    text = json.dumps(figures, indent=1) + "\n"
    (folder / f"seed{config['seed']}.json").write_text(text)


def collect_audit(recipe: str, audited: Path) -> None:
    """Copies an audit of one of a run's steps, less the list of flagged samples."""
    audit = _read(audited / "audit.json")
    folder = HERE / recipe
    folder.mkdir(exist_ok=True)
    text = json.dumps({key: value for key, value in audit.items() if key != "flagged"}, indent=1) + "\n"
    (folder / f"step{audit['protocol']['step']:07}.json").write_text(text)


def table() -> str:
    """README's table, a row a recipe and length: means over seeds, with the lowest and the highest. Below it, the
    processors.

    RECIPE-Nepochs holds runs of another length, and the recipe's pictures are those of the longest. Folders that are
    called otherwise hold what recipes are compared with: their headers quote it.
    """
    head = "| recipe | epochs | seeds | classifier FD | real images | precision | recall | audit | images/s | minutes |"
    lines = [head, "|" + "---|" * head.count(" | ") + "---|"]
    rows = [
        (_LENGTH.sub("", folder.name), [_read(path) for path in files])
        for folder in HERE.iterdir()
        if (files := sorted(folder.glob("seed*.json"))) and _flagfile(_LENGTH.sub("", folder.name)).exists()
    ]
    rows.sort(key=lambda row: (row[0].startswith("article_"), row[0], row[1][0]["epochs"]))
    longest = dict(rows)
    usual = _usual_features([run for _, runs in rows for run in runs])
    lines += [_row(name, runs, longest[name] is runs, usual) for name, runs in rows]
    note = f"\n{_OTHER_FIT.strip()}: {_ABOUT_OTHER_FIT}\n" if any(_OTHER_FIT in line for line in lines) else ""
    machines = " and ".join(sorted({_processor(run) for _, runs in rows for run in runs}))
    measured = f"images/s and minutes are of training alone, beside other work, on {machines}."
    return "\n".join(lines) + f"\n{note}\n{measured}\n"


def _usual_features(runs: Iterable[dict]) -> dict[tuple, str]:
    """By data set and kind of features the hash of those in which most of its runs were scored."""
    found: dict[tuple, collections.Counter] = collections.defaultdict(collections.Counter)
    for run in runs:
        kind, sha256 = _features(run)
        found[kind][sha256] += 1
    return {kind: counted.most_common(1)[0][0] for kind, counted in found.items()}


def _features(run: dict) -> tuple[tuple, str]:
    how = run["evaluation"]["protocol"]
    return (how["dataset"], how["features"]), how["features_sha256"]


def _row(name: str, runs: list[dict], has_pictures: bool, usual: dict[tuple, str]) -> str:
    scores, floors = ([run["evaluation"][key] for run in runs] for key in ("scores", "floor"))
    if len({floor["frechet_distance"] for floor in floors}) > 1:
        raise ValueError(f"{name}: its runs were scored in different features: evaluate them again on one machine")
    audits = [run["audit"] for run in runs if run["audit"]]
    cells = [
        _linked(name, has_pictures) + _otherwise(name, runs),
        f"{runs[0]['epochs']:g}",
        str(len(runs)),
        _spread([score["frechet_distance"] for score in scores]) + _of_other_features(runs[0], usual),
        f"{floors[0]['frechet_distance']:.3g}",
        *(_spread([score[name] for score in scores]) + _warning(name, runs) for name in ("precision", "recall")),
        _audited(audits),
        f"{statistics.median(run['images_per_second'] for run in runs):,.0f}",
        f"{statistics.median(run['minutes'] for run in runs):.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _flagfile(name: str) -> Path:
    return HERE.parent / f"{name}.flags"


def _linked(name: str, has_pictures: bool) -> str:
    """The recipe's name, linked to its flagfile, and its picture if there is one, and it is of these runs."""
    flags = _flagfile(name)
    folder, picture = flags.parent, flags.with_suffix(".png")
    pictures = f" ([pictures]({folder.name}/{picture.name}))" if has_pictures and picture.exists() else ""
    return f"[{name}]({folder.name}/{flags.name}){pictures}"


def _otherwise(name: str, runs: list[dict]) -> str:
    """What the runs had set differently from their recipe, and the defaults of today where it is silent."""
    recipe = _settings(_flagfile(name).read_text("utf-8").splitlines())
    flags = dict.fromkeys(
        f"`{as_flag(setting, had)}`"
        for run in runs
        for setting, (had, _) in _settings(run["settings"]).differences(recipe).items()
        if setting not in _APART and had is not None
    )
    return f" with {', '.join(flags)}" if flags else ""


def _settings(flags: Iterable[str]) -> TrainConfig:
    """The settings that the lines of a flagfile give, with the penalties and labels that are usual for the others."""
    kinds = {field.name: value_type(field) for field in dataclasses.fields(TrainConfig)}
    given: dict = {}
    for line in flags:
        name, _, text = line.removeprefix("--").partition("=")
        setting = name if name in kinds else name.removeprefix("no")
        if line.startswith("--") and setting in kinds:
            given[setting] = name == setting if kinds[setting] is bool else kinds[setting](text)
    config = TrainConfig(**given)
    labelled = len(source_of(config.dataset).class_names) > 1
    conditional = labelled if config.conditional is None else config.conditional
    return with_usual(config.replace(conditional=conditional))


def _of_other_features(run: dict, usual: dict[tuple, str]) -> str:
    name = run["evaluation"]["protocol"]["distance_name"]
    if name != "classifier FD":  # of principal components, which are those of one data set at one size
        return f" ({name})"
    kind, sha256 = _features(run)
    return "" if usual[kind] == sha256 else _OTHER_FIT


def _warning(name: str, runs: list[dict]) -> str:
    """Of a score that random pixels would get too."""
    return " (!)" if any(name in run["evaluation"]["protocol"].get("unreliable_scores", ()) for run in runs) else ""


def _processor(run: dict) -> str:
    """How many threads trained, the kind of processor, without what it can do, and the precision."""
    kind, threads = run["hardware"]["processor"].rsplit(", ", 1)
    count, model = "one thread" if threads == "1 threads" else threads, ", ".join(kind.split(", ")[:3])
    return f"{count} of {model}, in {run['hardware']['precision']}"


def _spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.3g}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3g} to {max(values):.3g})"


def _audited(audits: list[dict]) -> str:
    if not audits:
        return "not audited"
    verdicts = "; ".join(sorted({audit["verdict"] for audit in audits}))
    limits = [audit["detection_limit"].get("exact") for audit in audits]
    return f"{verdicts}; exact copies from {max(limits):.2%}" if all(limits) else verdicts


def written(readme: str) -> str:
    """README's text with the table in its place."""
    before, rest = readme.split(START)
    return before + START + "\n" + table() + "\n" + END + rest.split(END)[1]


def _read(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["collect"]:
        for path in sys.argv[3:]:
            collect(sys.argv[2], Path(path))
    elif sys.argv[1:2] == ["audit"]:
        for path in sys.argv[3:]:
            collect_audit(sys.argv[2], Path(path))
    else:
        README.write_text(written(README.read_text("utf-8")), encoding="utf-8")
