"""The model card: README.md of an exported model, as the Hugging Face Hub reads it, from plain facts.

Front matter follows the Hub's model card metadata; the sections follow Mitchell et al., "Model cards for model
reporting" (FAT* 2019). The same facts give the same bytes. Every string in them may be a stranger's (a class is a
folder's name): PyYAML quotes those in the front matter, and whatever the template puts in is escaped for Markdown.
"""

import functools
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kgan.data.licensing.card import describe_sizes
from kgan.data.sources import SOURCES
from kgan.evaluation.protocol import title_of
from kgan.text import markdown, one_line

# The licences that the Hub knows under their SPDX id in small letters; any other is "other" with its name beside it.
HUB_LICENSES = {
    *("apache-2.0", "mit", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear"),
    *("c-uda", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"),
    *("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
    *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0"),
    *("cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "isc"),
    *("ms-pl", "mpl-2.0", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "lppl-1.3c"),
}
_HUB_GNU = {"agpl-3.0", "gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0"}
# settings that say where things lay on the user's machine
_PRIVATE = re.compile(r"(^|_)(dir|path|file|folder|out|resume|from)$")
_SCORES = ("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage", "inception_score")
_AUDIT_KEYS = (
    *("verdict", "reason", "alpha", "measured_false_positive_rate", "num_samples", "num_flagged", "detection_limit"),
)
_UNKNOWN = "not recorded"
_WEIGHTS = {True: "moving average", False: "as trained, not averaged", None: None}


def model_card(facts: Mapping) -> str:
    """The text of README.md. Of what is None among the facts, or not on the data set's card, it says "not recorded".

    name, license (SPDX, of the weights), run_id, checkpoint_sha256, checkpoint_choice ("best", "last" or a step), ema,
    step, epochs, passes_per_image (how often each training image was shown), versions {package: version}, device,
    config {setting: value}, chosen (those of them that the user gave), architecture {what: value or [values]},
    objective, dataset (DatasetCard.to_dict()), ancestors (run.json's), evaluation (evaluation.json) and audit
    (audit.json) or None, sample_grid (kgan's name of a file beside README.md that shows the first draws of seed
    sample_seed), sample_seed.
    """
    config, evaluation, audit = facts["config"], facts["evaluation"] or {}, facts["audit"] or {}
    how, floor = evaluation.get("protocol", {}), _scores({"scores": evaluation.get("floor", {})})
    values = {
        "front_matter": _front_matter(facts),
        "name": facts["name"],
        "grid": Markup(facts["sample_grid"]),
        "sample_seed": facts["sample_seed"],
        "summary": _summary(facts),
        "latent_dim": config["latent_dim"],
        "conditional": config["conditional"],
        "data": data_facts(facts["dataset"]),
        "ancestors": [_ancestor(ancestor) for ancestor in facts["ancestors"]],
        "training": _training(facts),
        "settings": Markup(json.dumps(public(config), indent=1, sort_keys=True)),
        "scores": {title_of(score, how): value for score, value in _scores(evaluation).items()},
        "floor": {title_of(score, how): value for score, value in floor.items()},
        "evaluation_protocol": how,
        "audit": _audited(audit) if audit else {},
        "audit_protocol": audit.get("protocol", {}),
        "choices": _choices(facts),
    }
    return _environment().get_template("modelcard.md").render(values)


@functools.cache
def _environment() -> Environment:
    """Whatever a template puts in is escaped for Markdown, unless it is Markup already."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else Markup(markdown(value)),
    )
    environment.globals |= {"items": _items, "number": lambda value: Markup(_number(value))}
    return environment


def _front_matter(facts: Mapping) -> Markup:
    """The Hub's metadata as YAML, with whatever characters strangers' names have."""
    config, dataset, evaluation = facts["config"], facts["dataset"], facts["evaluation"] or {}
    scores, how = _scores(evaluation), evaluation.get("protocol", {})
    if how.get("features") != "inception":  # the Hub means Salimans et al.'s, of Inception's probabilities
        scores.pop("inception_score", None)
    name, model = _characters(dataset.get("name", "")), _characters(facts["name"])
    trained_on = [dataset, *(ancestor["dataset"] for ancestor in facts["ancestors"])]
    hub_names = map(_hub_name, trained_on)
    kind = "unconditional-image-generation"  # the Hub has no other for images from vectors, with classes or without
    meta: dict[str, Any] = _license(facts["license"]) | {
        "library_name": "keras",
        "pipeline_tag": kind,
        "tags": ["gan", config["arch"], *["conditional"] * bool(config["conditional"]), "image-generation", "kgan"],
        "datasets": [hub_name for hub_name in dict.fromkeys(hub_names) if hub_name],
        "metrics": list(scores),
    }
    if scores:
        data = dict.fromkeys(("name", "type"), name or _UNKNOWN)
        metrics = [{"type": score, "name": _metric(score, how), "value": value} for score, value in scores.items()]
        result = {"task": {"type": kind}, "dataset": data, "metrics": metrics}
        meta["model-index"] = [{"name": model, "results": [result]}]
    meta = {key: value for key, value in meta.items() if value}
    return Markup(yaml.dump(meta, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf))


def _metric(score: str, how: Mapping) -> str:
    """What a score is called, and how it was measured: without that the number says nothing."""
    count = how.get("num_samples")
    of = f" of {count:,} samples" if isinstance(count, int) else ""
    features = f", features: {one_line(how['features'])}" if how.get("features") else ""
    return _characters(f"{title_of(score, how)}{of}{features}")


def _hub_name(card: Mapping) -> str:
    """What the Hub calls the data set; "" for one that it may not have, such as a folder of that name."""
    source = SOURCES.get(str(card.get("name")))
    return source.hub_id if source and source.train_sha256 in ("", card.get("sha256")) else ""


def _characters(text: object) -> str:
    """The text with "?" for lone surrogates, which no YAML can hold."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


class _Dumper(yaml.SafeDumper):
    """Writes equal values in full, not as YAML's references to the first of them."""

    def ignore_aliases(self, data) -> bool:
        return True


def _license(spdx: str) -> dict[str, str]:
    known = spdx.lower()
    gnu = re.sub(r"-(only|or-later)$", "", known)
    if known in HUB_LICENSES or gnu in _HUB_GNU:
        return {"license": known if known in HUB_LICENSES else gnu}
    return {"license": "other", "license_name": spdx}


def _summary(facts: Mapping) -> dict:
    return {
        "Licence of the weights": facts["license"],
        "Run": facts["run_id"],
        "Checkpoint (sha256)": facts["checkpoint_sha256"],
        "Weights": _WEIGHTS[facts["ema"]],
        "Versions": facts["versions"],
    }


def data_facts(card: Mapping) -> dict:
    """What a data set's card says, under the headings that people read; None for what is not on it."""
    people = {True: "yes", False: "no", None: None}[card.get("contains_people")]
    prohibited = card.get("datamining_prohibited")
    return {
        "Name": card.get("name"),
        "Licence": card.get("license") or "none on record",
        "Origin": card.get("origin"),
        "Rights holder": card.get("holder"),
        **({"Citation": card["citation"]} if card.get("citation") else {}),
        "Images": card.get("num_images"),
        "Used for training": card.get("num_train"),
        "Held out": card.get("num_heldout"),
        "Unreadable files": card.get("unreadable"),
        **({"Pictures of other formats, not read": card["other_formats"]} if card.get("other_formats") else {}),
        "Exact duplicates": card.get("duplicates"),
        "Sizes on disk (width x height)": describe_sizes(card.get("sizes", {}), card.get("size_range", ())),
        "Shape as trained on (height, width, channels)": card.get("image_shape"),
        "Classes": card.get("classes") or "none",
        "Shows people": people,
        "Consent": card.get("consent"),
        "Images that forbid data mining": "not looked for" if prohibited is None else prohibited,
        "sha256 of pixels and labels": card.get("sha256"),
        **({"sha256 of the files": card["files_sha256"]} if card.get("files_sha256") else {}),
        "Checks switched off": card.get("overrides") or "none",
    }


def _ancestor(ancestor: Mapping) -> dict:
    """A run that the weights came from, and what it was trained on."""
    return {
        "Run": ancestor["run_id"],
        "Checkpoint (sha256)": ancestor["checkpoint_sha256"],
        "Generator updates": ancestor.get("step"),
        "Weights": _WEIGHTS[ancestor.get("ema")],
        **{f"Data: {heading}": value for heading, value in data_facts(ancestor["dataset"]).items()},
    }


def _training(facts: Mapping) -> dict:
    return facts["architecture"] | {
        "Objective": facts["objective"],
        "Generator updates": facts["step"],
        "Epochs": facts["epochs"],
        "Times each training image was shown": facts["passes_per_image"],
        "Device": facts["device"],
    }


def _choices(facts: Mapping) -> dict:
    dataset = facts["dataset"]
    return {
        "A person chose": {"training data": dataset.get("name"), **public(facts["chosen"])},
        "A person switched off": dataset.get("overrides") or "no check",
        "A person chose, at export": {"licence": facts["license"], "checkpoint": facts["checkpoint_choice"]},
        "The program chose": "all other settings (its defaults), the held-out images, every random draw",
        "The optimizer chose": "the weights",
    }


def public(settings: Mapping) -> dict:
    """The settings less those that say where things lay on the user's machine."""
    return {str(key): value for key, value in settings.items() if not _PRIVATE.search(str(key))}


def _scores(report: Mapping) -> dict[str, float]:
    """The numbers among the scores, but for those that random pixels get too, as the evaluation says."""
    found, how = (report.get(key, {}) for key in ("scores", "protocol"))
    unreliable = how.get("unreliable_scores") or ()
    numbers = {name: found[name] for name in _SCORES if type(found.get(name)) in (int, float)}
    return {name: value for name, value in numbers.items() if math.isfinite(value) and name not in unreliable}


def _audited(audit: Mapping) -> dict:
    """What an audit says. A detection limit that is None is known: copies of that kind are never found."""
    limits = (audit.get("detection_limit") or {}).items()
    shown = {kind: "not even if all were" if share is None else f"from {share:.2%} on" for kind, share in limits}
    return {key.replace("_", " "): audit.get(key) for key in _AUDIT_KEYS} | {"detection limit": shown}


def _items(facts: Mapping) -> Markup:
    """A list of what is known under which heading."""
    return Markup("\n".join(f"- **{markdown(name)}:** {_shown(value)}" for name, value in facts.items()))


def _shown(value) -> str:
    if value is None or value == "" or value == {}:
        return _UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{markdown(key)} {_shown(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value) or "none"
    return markdown(value)


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
