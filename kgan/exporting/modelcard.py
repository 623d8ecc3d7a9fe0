"""The model card: README.md of an exported model, as the Hugging Face Hub reads it, from plain facts.

Front matter follows the Hub's model card metadata; the sections follow Mitchell et al., "Model cards for model
reporting" (FAT* 2019). The same facts give the same bytes. Every string in them may be a stranger's (a class is a
folder's name), so each is escaped for YAML or Markdown where it is put in.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping

from kgan.data.licensing.card import describe_sizes
from kgan.data.sources import SOURCES
from kgan.text import markdown, yaml_string

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
_PRIVATE = re.compile(r"(^|_)(dir|path|file|folder|out|resume)$")
_SCORES = (
    *("frechet_distance", "kernel_distance", "kernel_distance_std", "precision", "recall", "density", "coverage"),
    "inception_score",
)
_AUDIT_KEYS = (
    *("verdict", "reason", "alpha", "measured_false_positive_rate", "num_samples", "num_flagged", "detection_limit"),
)
_UNKNOWN = "not recorded"


def model_card(facts: Mapping) -> str:
    """The text of README.md. `facts` may lack any key, or have None there: the card then says "not recorded".

    name, license (SPDX, of the weights), run_id, checkpoint_sha256, checkpoint_choice ("best", "last" or a step), ema,
    step, epochs, passes_per_image (how often each training image was shown), versions {package: version}, device,
    config {setting: value}, chosen (those of them that the user gave), architecture {what: value or [values]},
    objective, dataset (DatasetCard.to_dict()), overrides [names], evaluation (evaluation.json), audit (audit.json),
    sample_grid (a file beside README.md that shows the first draws of seed sample_seed), sample_seed.
    """
    facts = {key: value for key, value in facts.items() if value is not None}
    sections = [
        _front_matter(facts),
        _summary(facts),
        _use(facts),
        "\n".join(["## Training data", "", *_items(data_facts(facts.get("dataset", {}), facts.get("overrides", [])))]),
        _training(facts),
        _evaluation(facts.get("evaluation")),
        _audit(facts.get("audit")),
        _control(facts),
        _limits(),
    ]
    return "\n".join(sections)


def _front_matter(facts: Mapping) -> str:
    dataset = facts.get("dataset", {})
    scores = _scores(facts.get("evaluation"))
    lines = ["---", *_license_lines(str(facts.get("license", "")))]
    lines += ["library_name: keras", "pipeline_tag: unconditional-image-generation"]
    lines += _yaml_list("tags", ["gan", "dcgan", "image-generation", "kgan"])
    name = str(dataset.get("name", ""))
    hub_name = (name in SOURCES and SOURCES[name].hub_id) or re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    if hub_name:
        lines += _yaml_list("datasets", [hub_name])
    if scores:
        lines += _yaml_list("metrics", scores)
        lines += ["model-index:", f"- name: {yaml_string(str(facts.get('name', 'kgan')))}", "  results:"]
        lines += ["  - task:", "      type: unconditional-image-generation", "    dataset:"]
        label = yaml_string(str(dataset.get("name", _UNKNOWN)))
        lines += [f"      name: {label}", f"      type: {label}", "    metrics:"]
        for name, value in scores.items():
            lines += [f"    - type: {name}", f"      value: {_yaml_number(value)}"]
    return "\n".join([*lines, "---", ""])


def _license_lines(spdx: str) -> list[str]:
    known = spdx.lower()
    gnu = re.sub(r"-(only|or-later)$", "", known)
    if known in HUB_LICENSES or gnu in _HUB_GNU:
        return [f"license: {known if known in HUB_LICENSES else gnu}"]
    return ["license: other", f"license_name: {yaml_string(spdx or 'none stated')}"]


def _summary(facts: Mapping) -> str:
    lines = [f"# {markdown(facts.get('name', 'kgan'))}", ""]
    lines += ["A generative adversarial network that turns random vectors into images, trained and exported by kgan."]
    lines += ["Its images are AI-generated; whoever shows them should say so.", ""]
    if "sample_grid" in facts:
        target = re.sub(r"[^A-Za-z0-9._-]", "", str(facts["sample_grid"]))
        lines += [f"![AI-generated samples]({target})", ""]
        lines += [
            f"AI-generated samples, the first draws of seed {markdown(facts.get('sample_seed', 0))}, none picked.",
            "",
        ]
    return "\n".join(
        lines
        + _items(
            {
                "Licence of the weights": facts.get("license") or "none stated",
                "Run": facts.get("run_id"),
                "Checkpoint (sha256)": facts.get("checkpoint_sha256"),
                "Weights": None
                if "ema" not in facts
                else "moving average"
                if facts["ema"]
                else "as trained, not averaged",
                "Versions": facts.get("versions"),
            }
        )
    )


def _use(facts: Mapping) -> str:
    latent_dim = facts.get("config", {}).get("latent_dim")
    size = latent_dim if type(latent_dim) is int else 128
    return f"""## How to use it

```python
import keras
import numpy as np

generator = keras.saving.load_model("generator.keras", safe_mode=True)
z = np.random.default_rng(0).standard_normal((16, {size})).astype("float32")
images = generator({_call_arguments(facts)}, training=False)  # NHWC, in [-1, 1]
```

## Out of scope

Not for making pictures pass as photographs or as somebody's work, not for evidence, identification, medical or other
decisions about people, and not as a stand-in for the training data in statistics: a generator leaves things out.
"""


def _call_arguments(facts: Mapping) -> str:
    conditional = bool(facts.get("config", {}).get("conditional"))
    return "[z, np.zeros(16, 'int64')]" if conditional else "z"


def data_facts(card: Mapping, overrides: Iterable[str] = ()) -> dict:
    """What a data set's card says, under the headings that people read; None for what is not on it."""
    people = {True: "yes", False: "no", None: None}[card.get("contains_people")]
    prohibited = card.get("datamining_prohibited")
    return {
        "Name": card.get("name"),
        "Licence": card.get("license") or "none on record",
        "Origin": card.get("origin"),
        "Rights holder": card.get("holder"),
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
        "Checks switched off": list(overrides) or card.get("overrides") or "none",
    }


def _training(facts: Mapping) -> str:
    rows = {
        "Objective": facts.get("objective"),
        "Generator updates": facts.get("step"),
        "Epochs": facts.get("epochs"),
        "Times each training image was shown": facts.get("passes_per_image"),
        "Device": facts.get("device"),
    }
    lines = ["## Architecture and training", "", *_items(dict(facts.get("architecture", {})) | rows)]
    settings = public(facts.get("config", {}))
    if settings:
        lines += ["All settings:", "", "```json", json.dumps(settings, indent=1, sort_keys=True), "```", ""]
    return "\n".join(lines)


def _evaluation(report: Mapping | None) -> str:
    scores, floor = _scores(report), _scores({"scores": (report or {}).get("floor")})
    if not scores or not report:
        return "## Evaluation\n\nNot evaluated.\n"
    lines = ["## Evaluation", "", "| score | this model | real against real |", "|---|---|---|"]
    lines += [f"| {name} | {_number(value)} | {_number(floor.get(name))} |" for name, value in scores.items()]
    lines += ["", "The last column is what real images score against other real images, measured the same way.", ""]
    return "\n".join([*lines, "How it was measured:", "", *_items(report.get("protocol", {}))])


def _audit(report: Mapping | None) -> str:
    if not report:
        return "## Copies of training images\n\nNot looked for.\n"
    lines = ["## Copies of training images", ""]
    lines += _items({key.replace("_", " "): report.get(key) for key in _AUDIT_KEYS})
    lines += [
        "No audit can show that a model copies nothing: it looks for what its protocol says, and can miss up to its"
    ]
    lines += ["detection limit. It does not judge whether an image infringes a right.", ""]
    return "\n".join([*lines, "How it was measured:", "", *_items(report.get("protocol", {}))])


def _control(facts: Mapping) -> str:
    chosen = public(facts.get("chosen", {}))
    return "\n".join(
        [
            "## Who chose what",
            "",
            *_items(
                {
                    "A person chose": {"training data": facts.get("dataset", {}).get("name"), **chosen},
                    "A person switched off": list(facts.get("overrides", [])) or "no check",
                    "A person chose, at export": {
                        "licence": facts.get("license") or "none",
                        "checkpoint": facts.get("checkpoint_choice"),
                    },
                    "The program chose": "all other settings (its defaults), the held-out images, every random draw",
                    "The optimizer chose": "the weights",
                }
            ),
        ]
    )


def _limits() -> str:
    return """## Marks and the law

Images made with `kgan sample` carry metadata that says that they are AI-generated and by which checkpoint. Images
made by calling the model directly carry none. Metadata is lost when an image is saved again and can be forged; by
itself it fulfils no law's duty to label or to disclose.
"""


def public(settings: Mapping) -> dict:
    """The settings less those that say where things lay on the user's machine."""
    return {str(key): value for key, value in settings.items() if not _PRIVATE.search(str(key))}


def _scores(report: Mapping | None) -> dict[str, float]:
    """The numbers among the scores, but for those that random pixels get too, as the evaluation says."""
    found, how = ((report or {}).get(key) or {} for key in ("scores", "protocol"))
    unreliable = how.get("unreliable_scores") or ()
    numbers = {name: found[name] for name in _SCORES if type(found.get(name)) in (int, float)}
    return {name: value for name, value in numbers.items() if math.isfinite(value) and name not in unreliable}


def _items(facts: Mapping) -> list[str]:
    return [*(f"- **{markdown(name)}:** {_shown(value)}" for name, value in facts.items()), ""]


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


def _yaml_list(key: str, items: Iterable[str]) -> list[str]:
    return [f"{key}:", *(f"- {yaml_string(item)}" for item in items)]


def _yaml_number(value: float) -> str:
    text = repr(value)
    # YAML 1.1 takes 1e-05 for a string: its floats have a point
    return text if "." in text or "e" not in text else text.replace("e", ".0e")
