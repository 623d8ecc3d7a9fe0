"""The charts: scales that have a place for every value, ticks one can read, and lines that keep their peaks."""

import math
from xml.etree import ElementTree

import pytest

from kgan.reports.charts import Line, Scale, histogram, line_chart, thinned, with_reference
from kgan.text import rounded


@pytest.mark.parametrize(
    "values, log",
    [
        *(
            ([1.0, 3.0], False),
            ([5.0], False),
            ([0.0], False),
            ([-2e-9, 3e-9], False),
            ([1e7, 3e7], False),
            ([], False),
        ),
        *(([0.5, 300.0], True), ([7.0, 7.1], True), ([3.0], True), ([1e-6, 1e6], True), ([-1.0, 10.0], True)),
    ],
)
def test_every_value_has_a_place_and_there_are_ticks(values, log):
    scale = Scale.over([*values, math.nan, math.inf], log=log)
    assert all(0 <= scale.place(value) <= 1 for value in values)
    assert 2 <= len(scale.ticks) <= 12 and all(-1e-9 <= scale.place(tick) <= 1 + 1e-9 for tick in scale.ticks)
    assert scale.is_log == (log and min(values) > 0)


def test_a_chart_is_whole_xml_with_a_gap_where_a_value_is_not_finite():
    steps = list(range(6))
    lines = [Line("<a>", steps, [1, 2, math.nan, 3, math.inf, 4]), Line("b", steps, [1] * 6)]
    text = line_chart("A & B", lines, Scale.over(steps), Scale.over([1, 4]), 'what "it" shows', ("real", 0.01))
    root = ElementTree.fromstring(text)
    assert root.get("aria-label") == 'what "it" shows'
    first = next(element for element in root if element.get("class") == "line first")
    assert first.get("d").count("M") == 3 and "nan" not in text
    words = [element.text for element in root.iter("text")]
    assert {"A & B", "<a>", "b", "real: 0.0100, below the axis"} <= set(words)


def test_thinned_lines_keep_their_peaks_and_gaps():
    values = [math.sin(step) for step in range(10_000)]
    values[4321], values[77], values[5000] = 50.0, -60.0, math.nan
    kept = thinned(range(10_000), values, 400)
    assert len(kept) <= 402 and {(4321, 50.0), (77, -60.0)} <= set(kept)
    assert [step for step, value in kept if math.isnan(value)] == [5000]
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)


def test_a_reference_far_below_leaves_the_axis_to_the_values():
    assert with_reference([10.0, 20.0], 5.0) == [10.0, 20.0, 5.0]
    assert with_reference([10.0, 20.0], 0.1) == [10.0, 20.0] == with_reference([10.0, math.nan, 20.0], None)


def test_numbers_have_three_significant_digits():
    numbers = [0, 0.7, 4.25, 12_345.6, 99.96, 0.0123456, 1.2e-5, -0.00084, 2.5e12, 999.6]
    assert list(map(rounded, numbers)) == [
        *("0", "0.700", "4.25", "12,300", "100", "0.0123", "1.20e-5", "-0.000840", "2.50e12", "1,000")
    ]


def test_a_histogram_is_whole_xml_on_its_axis_where_a_bin_is_empty():
    text = histogram("A & B", {"some": [0.0, 0.1, 0.9], "others": []}, 1.5, "ratio", 'it "shows"', ("flagged", 0.5))
    root = ElementTree.fromstring(text)
    paths = [(element.get("class"), element.get("d")) for element in root.iter("path")]
    outline = next(path for kind, path in paths if kind == "line second")
    assert outline.startswith("M48.0 154V154.0H") and outline.endswith("H388.0V154")
    assert next(path for kind, path in paths if kind == "reference").startswith(f"M{48 + 340 / 3:.1f} ")
    assert {"A & B", "some", "others", "ratio", "flagged"} <= {element.text for element in root.iter("text")}
    assert "reference" not in histogram("", {"some": [1.0]}, 1.5, "", "", ("flagged", 2.0))
