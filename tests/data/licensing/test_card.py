import contextlib
import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgan.data.licensing.card import (
    DatasetCard,
    describe_sizes,
    normal_license,
    permit,
    range_of_sizes,
    read_card,
)
from kgan.errors import UserError

CARD = DatasetCard(
    name="dogs",
    license="CC-BY-4.0",
    origin="https://example.org/dogs",
    holder="Ann Ö.",
    sha256="a" * 64,
    num_images=10,
    num_train=9,
    num_heldout=1,
    unreadable=0,
    duplicates=2,
    datamining_prohibited=0,
    image_shape=(32, 32, 3),
    sizes={"640x480": 10},
    classes={"good": 7, "-": 3},
    contains_people=False,
    consent="",
)


def test_a_card_survives_json(tmp_path):
    assert DatasetCard.from_json(CARD.to_json()) == CARD
    assert DatasetCard.from_dict(CARD.to_dict()) == CARD
    assert json.loads(CARD.to_json())["classes"] == {"good": 7, "-": 3}
    assert read_card(tmp_path) is None
    (tmp_path / "dataset.json").write_text(CARD.to_json(), encoding="utf-8")
    assert read_card(tmp_path) == CARD


def test_unknown_is_not_none_found():
    card = DatasetCard.from_json('{"name": "x"}')
    assert (card.license, card.duplicates, card.datamining_prohibited, card.contains_people) == ("", None, None, None)


@pytest.mark.parametrize(
    "text, word",
    [
        ("", "JSON"),
        ("[" * 100_000, "JSON"),
        ("[]", "name"),
        ("{}", "name"),
        ('{"labels": [["00000/img00000000.png", 3]]}', "StyleGAN"),
        ('{"name": " "}', "name"),
        ('{"name": "x", "licence": "MIT"}', "licence"),
        ('{"name": "x", "license": "MITT"}', "MITT"),
        ('{"name": "x", "license": null}', "license"),
        ('{"name": "x", "num_images": -1}', "num_images"),
        ('{"name": "x", "num_images": 1.5}', "num_images"),
        ('{"name": "x", "sha256": "abc"}', "sha256"),
        ('{"name": "x", "classes": ["a"]}', "classes"),
        ('{"name": "x", "classes": {"a": "b"}}', "classes"),
        ('{"name": "x", "image_shape": [1, 2]}', "image_shape"),
        ('{"name": "x", "contains_people": "no"}', "contains_people"),
        ('{"name": "x", "overrides": "all"}', "overrides"),
        ('{"name": "x", "\\u001b[31m\\n": 1}', "no key"),
    ],
)
def test_a_wrong_card_is_one_clear_line(tmp_path, text, word):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=word) as error:
        read_card(tmp_path)
    assert str(error.value).isprintable() and "dataset.json" in str(error.value)
    assert "kgan data inspect" in str(error.value)


@pytest.mark.parametrize(
    "sizes, words",
    [
        ({}, ""),
        ({"640x480": 3, "30x20": 1}, "640x480: 3, 30x20: 1"),
        ({f"{side}x{side}": 1 for side in range(400, 0, -1)}, "1x1 to 400x400, median 200x200"),
        ({"9x1000": 5} | {f"{side}x{side}": 1 for side in range(1, 12)}, "1x1 to 9x1000, median 8x8"),
    ],
)
def test_many_sizes_are_a_range(sizes, words):
    assert describe_sizes(sizes, ()) == describe_sizes(sizes, range_of_sizes(sizes)) == words
    if len(sizes) > 10:
        assert describe_sizes({}, range_of_sizes(sizes)) == words


def test_a_card_that_is_no_text_is_one_clear_line(tmp_path):
    (tmp_path / "dataset.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        read_card(tmp_path)
    (tmp_path / "dataset.json").write_bytes(b" " * 2**24)
    with pytest.raises(UserError, match="8 MiB"):
        read_card(tmp_path)


def test_without_a_licence_nobody_trains_unless_they_say_so():
    unknown = dataclasses.replace(CARD, license="")
    with pytest.raises(UserError, match="--accept_unknown_license"):
        permit(unknown, Path("pictures"))
    assert permit(unknown, Path("pictures"), accept_unknown_license=True).overrides == ("accept_unknown_license",)


def test_a_prohibition_of_mining_stops_unless_they_say_so():
    forbidden = dataclasses.replace(CARD, datamining_prohibited=3)
    with pytest.raises(UserError, match="3 images of dogs forbid.*--ignore_datamining"):
        permit(forbidden, Path("pictures"))
    assert permit(forbidden, Path("pictures"), ignore_datamining=True).overrides == ("ignore_datamining",)


def test_an_override_that_was_not_needed_is_not_on_record():
    assert permit(CARD, Path("pictures"), accept_unknown_license=True, ignore_datamining=True) == CARD
    twice = dataclasses.replace(CARD, license="", overrides=("accept_unknown_license",))
    assert permit(twice, Path("pictures"), accept_unknown_license=True).overrides == ("accept_unknown_license",)


@pytest.mark.parametrize(
    "given, normal",
    [
        ("", ""),
        ("  ", ""),
        ("MIT", "MIT"),
        ("mit", "MIT"),
        (" cc-by-sa-3.0 ", "CC-BY-SA-3.0"),
        ("mit or apache-2.0", "MIT OR Apache-2.0"),
        ("GPL-2.0-or-later WITH Classpath-exception-2.0", "GPL-2.0-or-later WITH Classpath-exception-2.0"),
        ("LicenseRef-Our-Terms", "LicenseRef-Our-Terms"),
    ],
)
def test_spdx_expressions_are_normalised(given, normal):
    assert normal_license(given) == normal_license(normal) == normal


@pytest.mark.parametrize(
    "text",
    ["MITT", "CC BY 4.0", "proprietary", "MIT AND", "(", "( )", "NONE", "MIT WITH MIT", "x" * 10**6, "MIT\nMIT", "é"],
)
def test_what_is_no_spdx_licence_is_one_clear_line(text):
    with pytest.raises(UserError, match="is no SPDX licence") as error:
        normal_license(text)
    assert str(error.value).isprintable() and len(str(error.value)) < 400


def test_the_nearest_ids_are_named():
    with pytest.raises(UserError, match=r"did you mean .*CC-BY-4\.0"):
        normal_license("CC BY 4.0")


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.lists(st.sampled_from(["MIT", "AND", "OR", "WITH", "(", ")", "+", ":", "not", "LicenseRef-a", ";"]), max_size=8)
)
def test_no_expression_gives_a_traceback(words):
    with contextlib.suppress(UserError):
        assert normal_license(normal_license(" ".join(words))) == normal_license(" ".join(words))
