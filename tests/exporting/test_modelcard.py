import json
import re

import markdown_it  # a dependency of rich
import pytest
import yaml
from hypothesis import strategies as st

from kgan.data.licensing.card import DatasetCard
from kgan.data.sources import SOURCES
from kgan.exporting.modelcard import model_card
from kgan.runs import schema
from kgan.text import markdown, one_line
from tests.fuzzing import changed, fuzz

NASTY = [
    'a"b',
    "it's: a #comment",
    "- item",
    "---\nevil: true",
    "[x](http://evil.example)",
    "<script>alert(1)</script>",
    "`code`",
    "| cell |",
    "\x1b[31mred\x07",
    "\u202egnp.exe",
    "\u2028line",
    "*bold* _it_ ~no~ $x$ @you &amp;",
    "日本語 😀",
    "null",
    "\\",
    "http://evil.example www.evil.example",
    "![x](y)",
    "\ufeff",
    "{{ template }}",
]
EVALUATION = {
    "scores": {"frechet_distance": 12.345, "kernel_distance": 1e-05, "precision": 0.5, "inception_score": float("nan")},
    "floor": {"frechet_distance": 0.9, "kernel_distance": 2e-06, "precision": 1.0},
    "protocol": {"features": "kgan-cifar-features", "num_samples": 10_000, "ema": True},
}
AUDIT = {
    "verdict": "no copies found",
    "reason": "",
    "alpha": 0.05,
    "measured_false_positive_rate": 0.04,
    "num_samples": 5000,
    "num_flagged": 0,
    "detection_limit": {"exact": 0.001, "brightness 0.8": None},
    "protocol": {"spaces": ["pixels", "features"]},
}
CONFIG = {"arch": "dcgan", "latent_dim": 100, "loss": "ns", "data_dir": "/home/ann/secret", "conditional": False}
FACTS = {
    "name": "mnist-dcgan",
    "license": "CC-BY-SA-4.0",
    "run_id": "00007-mnist-dcgan-ns",
    "checkpoint_sha256": "c" * 64,
    "checkpoint_choice": "best",
    "ema": True,
    "step": 46_900,
    "epochs": 50,
    "passes_per_image": 50.0,
    "versions": {"kgan": "0.1.0", "tensorflow": "2.21.0"},
    "device": "CPU",
    "config": CONFIG,
    "chosen": {"epochs": 50, "run_dir": "/home/ann/runs"},
    "architecture": {"networks": "dcgan", "generator parameters": 1_234_567},
    "objective": "non-saturating",
    "dataset": DatasetCard(
        name="mnist",
        sha256=SOURCES["mnist"].train_sha256,
        license="CC-BY-SA-3.0",
        num_images=60_000,
        classes={"0": 1},
    ).to_dict(),
    "ancestors": [],
    "evaluation": EVALUATION,
    "audit": AUDIT,
    "sample_grid": "samples.png",
    "sample_seed": 0,
}


ANCESTOR = {
    "run_id": "00003-cifar10-dcgan-ns",
    "checkpoint_sha256": "a" * 64,
    "step": 1200,
    "ema": True,
    "dataset": DatasetCard(
        name="fashion_mnist", sha256=SOURCES["fashion_mnist"].train_sha256, license="MIT", holder="Zalando SE"
    ).to_dict(),
}


def front_matter(text: str) -> dict:
    assert text.startswith("---\n")
    return yaml.safe_load(text[4:].partition("\n---\n")[0])


def test_runs_it_started_from_are_named_with_their_data_and_licence():
    text = model_card(FACTS | {"ancestors": [ANCESTOR], "config": CONFIG | {"init_from": "/home/ann/runs/3"}})
    section = text[text.index("## Weights it started from") : text.index("## Architecture")]
    assert markdown(ANCESTOR["run_id"]) in section and ANCESTOR["checkpoint_sha256"] in section
    assert "1,200" in section and "Zalando SE" in section and "**Data\\: Licence:** MIT" in section
    assert front_matter(text)["datasets"] == ["ylecun/mnist", "zalando-datasets/fashion_mnist"]
    assert "/home/ann" not in text
    assert "started from" not in model_card(FACTS)


def test_a_folder_is_no_data_set_of_the_hub():
    for name in ("mnist", "imdb"):
        card = DatasetCard(name=name, sha256="f" * 64, license="MIT").to_dict()
        assert "datasets" not in front_matter(model_card(FACTS | {"dataset": card}))


def test_copies_that_are_never_found_are_said_to_be_so():
    text = model_card(FACTS)
    assert "**detection limit:** exact from 0\\.10% on, brightness 0\\.8 not even if all were" in text


def test_scores_that_random_pixels_get_too_stay_out():
    measured = {**EVALUATION, "protocol": EVALUATION["protocol"] | {"unreliable_scores": ["precision"], "warning": "!"}}
    text = model_card(FACTS | {"evaluation": measured})
    assert "type: precision" not in text and "| precision |" not in text and "type: frechet_distance" in text
    assert "type: precision" in model_card(FACTS)


def test_the_front_matter_is_what_the_hub_reads():
    meta = front_matter(model_card(FACTS))
    assert meta["license"] == "cc-by-sa-4.0" and meta["library_name"] == "keras"
    assert meta["pipeline_tag"] == "unconditional-image-generation"
    assert meta["datasets"] == ["ylecun/mnist"] and "gan" in meta["tags"]
    assert meta["metrics"] == ["frechet_distance", "kernel_distance", "precision"]
    result = meta["model-index"][0]["results"][0]
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {
        "frechet_distance": 12.345,
        "kernel_distance": 1e-05,
        "precision": 0.5,
    }
    protocol = {"features": "classifier", "distance_name": "classifier FD", "num_samples": 2250}
    named = model_card(FACTS | {"evaluation": EVALUATION | {"protocol": protocol}})
    name = front_matter(named)["model-index"][0]["results"][0]["metrics"][0]["name"]
    assert name == "classifier FD of 2,250 samples, features: classifier"
    form = EVALUATION | {"protocol": protocol, "scores": {"frechet_distance": 12.0, "inception_score": 9.0}}
    text = model_card(FACTS | {"evaluation": form})
    assert front_matter(text)["metrics"] == ["frechet_distance"]  # no Inception score, which is of other features
    assert "| classifier FD | 12 |" in text and "| Inception\\-score form | 9 |" in text


@pytest.mark.parametrize(
    "spdx, expected",
    [
        ("MIT", {"license": "mit"}),
        ("GPL-3.0-only", {"license": "gpl-3.0"}),
        ("MIT OR Apache-2.0", {"license": "other", "license_name": "MIT OR Apache-2.0"}),
        ("LicenseRef-Ours", {"license": "other", "license_name": "LicenseRef-Ours"}),
    ],
)
def test_a_licence_that_the_hub_does_not_know_is_other(spdx, expected):
    meta = front_matter(model_card(FACTS | {"license": spdx}))
    assert {key: value for key, value in meta.items() if key.startswith("license")} == expected


def test_every_section_is_there_and_says_what_is_known():
    text = model_card(FACTS)
    for heading in [
        *("# mnist\\-dcgan", "## How to use it", "## Out of scope", "## Training data", "## Architecture and training"),
        *("## Evaluation", "## Copies of training images", "## Who chose what", "## Marks and the law"),
    ]:
        assert f"\n{heading}\n" in text
    for fact in (
        "12.35",
        "60,000",
        "46,900",
        "no copies found",
        "non\\-saturating",
        "c" * 64,
        "samples.png",
        "1,234,567",
    ):
        assert fact in text
    assert "CC\\-BY\\-SA\\-3\\.0" in text  # the data's licence as it stands on every image
    assert "infringing" not in text


def test_paths_of_the_users_machine_stay_there():
    assert "/home" not in model_card(FACTS) and "secret" not in model_card(FACTS)


def test_the_settings_are_json():
    block = re.search(r"```json\n(.*?)\n```", model_card(FACTS), re.DOTALL).group(1)
    assert json.loads(block) == {"arch": "dcgan", "latent_dim": 100, "loss": "ns", "conditional": False}


def test_equal_facts_give_equal_bytes_in_any_order():
    assert model_card(FACTS) == model_card(json.loads(json.dumps(FACTS)))
    assert model_card(dict(reversed(FACTS.items()))) == model_card(FACTS)


def test_what_is_not_known_is_said_to_be_so():
    nothing = dict.fromkeys(("evaluation", "audit", "epochs", "passes_per_image", "versions", "device"))
    text = model_card(FACTS | nothing | {"dataset": {}})
    assert text.count("not recorded") > model_card(FACTS).count("not recorded")
    assert "Not evaluated." in text and "Not looked for." in text
    assert not {"datasets", "metrics", "model-index"} & set(front_matter(text))


def test_overrides_are_shown():
    text = model_card(FACTS | {"dataset": FACTS["dataset"] | {"overrides": ["accept_unknown_license"]}})
    assert text.count("accept\\_unknown\\_license") == 2


def test_a_conditional_generator_is_called_with_labels():
    text = model_card(FACTS | {"config": CONFIG | {"latent_dim": 64, "conditional": True}})
    assert "generator([z, " in text and "(16, 64)" in text


def card_of_strangers(text: str) -> str:
    card = DatasetCard(name=text, origin=text, holder=text, consent=text, classes={text: 1}).to_dict()
    ancestor = ANCESTOR | {"run_id": text, "checkpoint_sha256": text, "dataset": card}
    facts = {
        "name": text,
        "dataset": card,
        "ancestors": [ancestor],
        "objective": text,
        "device": text,
    }
    audit = AUDIT | {"reason": text, "protocol": {text: [text]}}
    return model_card(FACTS | facts | {"config": CONFIG | {"x": text}, "chosen": {text: text}, "audit": audit})


@pytest.mark.parametrize("text", NASTY)
def test_strangers_strings_stay_strings_in_yaml(text):
    meta = front_matter(card_of_strangers(text))
    shown = meta["model-index"][0]
    assert shown["name"] == text and shown["results"][0]["dataset"]["name"] == text
    assert set(meta) - {"license_name"} | {"datasets"} == set(front_matter(model_card(FACTS)))


def blocks(text: str) -> list[str]:
    """The structure that a Markdown parser sees, without the words."""
    body = text.partition("\n---\n")[2]
    tokens = markdown_it.MarkdownIt("gfm-like", {"linkify": False}).parse(body)
    inline = [
        child.type for token in tokens for child in token.children or [] if child.type not in ("text", "softbreak")
    ]
    return [token.type for token in tokens] + [kind for kind in inline if kind != "text_special"]


@pytest.mark.parametrize("text", NASTY)
def test_strangers_strings_stay_strings_in_markdown(text):
    made = card_of_strangers(text)
    assert blocks(made) == blocks(card_of_strangers("plain"))
    body = re.sub(r"```json.*?```", "", made.partition("\n---\n")[2], flags=re.DOTALL)
    assert not re.search("http:|(?<![a-z])www\\.e|[\x1b\u202e\u2028\ufeff]", body)


@pytest.mark.parametrize("text", ["\x00\x85\xa0", "\U0010ffff", "a\r\nb\tc", "\ud800"])
def test_no_character_breaks_the_front_matter(text):
    shown = front_matter(card_of_strangers(text))["model-index"][0]["name"]
    assert shown == text.replace("\ud800", "?")


def test_the_tags_name_the_networks():
    for arch, conditional in (("mlp", False), ("sndcgan", True)):
        tags = front_matter(model_card(FACTS | {"config": CONFIG | {"arch": arch, "conditional": conditional}}))["tags"]
        assert tags == ["gan", arch, *["conditional"] * conditional, "image-generation", "kgan"]


def test_markdown_is_escaped_and_one_line_is_one_line():
    assert markdown("[a](b) <i> *c*\n# d") == "\\[a\\]\\(b\\) \\<i\\> \\*c\\*�\\# d"
    assert one_line("a\nb\u202ec\ud800") == "a�b�c�"
    assert one_line("x" * 300) == "x" * 199 + "…"


def of_kind(value: dict, kind: type):
    """The value with changes that a reader of run folders would let through."""
    return changed(value).filter(lambda found: schema.mismatch(found, kind) is None)


RECORDS = {
    "dataset": of_kind(FACTS["dataset"], schema.DataRecord),
    "evaluation": of_kind(EVALUATION, schema.Evaluation),
    "audit": of_kind(AUDIT, schema.Audit),
}


@fuzz(st.sampled_from(sorted(RECORDS)).flatmap(lambda name: st.tuples(st.just(name), RECORDS[name])))
def test_records_of_any_content_make_a_card(drawn):
    name, record = drawn
    facts = FACTS | {"evaluation": EVALUATION, "audit": AUDIT} | {name: record}
    assert front_matter(model_card(facts))["library_name"] == "keras"
