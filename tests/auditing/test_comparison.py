"""The audit's statistics against closed forms, and its verdicts on synthetic images whose copies are known."""

import dataclasses
import itertools
import json
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from kgan.auditing import planting
from kgan.auditing.calibration import Calibration, DecisionRule, Outcomes
from kgan.auditing.comparison import compare
from kgan.auditing.result import AuditResult
from kgan.auditing.statistics import (
    count_pvalues,
    exceedance_pvalue,
    exceedance_pvalues,
    holm,
    k_means,
    nearest_centre,
)
from tests.making import smooth_images, to_bytes

TRAIN, HELDOUT, HONEST = np.split(smooth_images(900), [400, 600])
COPIED = 7 * np.arange(20)


def with_copies(samples, copies):
    """The last samples exchanged for copies."""
    return np.concatenate([samples[: len(samples) - len(copies)], copies])


@pytest.fixture(scope="module")
def honest_result():
    return compare(HONEST, TRAIN, HELDOUT)


# Closed forms.


def test_exceedance_pvalue_of_ten_samples_below_all_held_out_images():
    assert exceedance_pvalue(10_000, 10_000, 10) == pytest.approx(9.7437e-4, rel=1e-5)


@given(m=st.integers(1, 60), n=st.integers(1, 60), data=st.data())
def test_exceedance_pvalue_counts_arrangements(m, n, data):
    """Of all places the m can take among m + n, those where the e smallest are theirs."""
    e = data.draw(st.integers(0, m))
    assert exceedance_pvalue(m, n, e) == pytest.approx(comb(m + n - e, n) / comb(m + n, n), rel=1e-9)


def test_exceedance_pvalue_by_enumeration():
    m, n = 3, 4
    exceedances = [min(set(range(m + n)) - set(ours)) for ours in itertools.combinations(range(m + n), m)]
    for e in range(m + 1):
        assert exceedance_pvalue(m, n, e) == pytest.approx(np.mean(np.array(exceedances) >= e))


@pytest.mark.parametrize(("m", "n", "e"), [(5, 5, 6), (5, 5, -1), (5, 0, 0)])
def test_exceedance_pvalue_refuses_the_impossible(m, n, e):
    with pytest.raises(ValueError, match=f"e={e}"):
        exceedance_pvalue(m, n, e)


def all_counts(m, n, order):
    """`count_pvalues` in one stratum, for 0 .. m below the `order`-th of n."""
    counts = np.arange(m + 1)[:, None]
    return count_pvalues(np.full_like(counts, m), np.array([n]), counts, np.array([order - 1]))


@given(m=st.integers(1, 300), n=st.integers(1, 300))
def test_count_below_the_minimum_is_the_exceedance(m, n):
    exceedances = [exceedance_pvalue(m, n, e) for e in range(m + 1)]
    np.testing.assert_allclose(all_counts(m, n, 1), exceedances, rtol=1e-6)


@given(m=st.integers(1, 300), n=st.integers(1, 300), data=st.data())
def test_count_in_one_stratum_is_beta_binomial(m, n, data):
    order = data.draw(st.integers(1, n))
    expected = stats.betabinom(m, order, n + 1 - order).sf(np.arange(m + 1) - 1)
    np.testing.assert_allclose(all_counts(m, n, order), expected, rtol=1e-6, atol=1e-12)


@given(data=st.data())
def test_pvalues_within_strata_by_enumeration(data):
    """Of all ways to exchange samples and held-out images within strata, those with at least as many low samples."""
    images = st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=2, max_size=10)  # by rank: stratum, whose
    ranked = data.draw(images.filter(lambda ranked: any(heldout for _, heldout in ranked)))
    strata, theirs = (np.array(column) for column in zip(*ranked, strict=True))
    order = data.draw(st.integers(1, int(theirs.sum())))

    def below(theirs, order):
        return np.flatnonzero(theirs)[order - 1]

    def by_stratum(chosen):
        return np.bincount(strata[chosen], minlength=3)

    def arrangements():
        for places in itertools.combinations(range(len(ranked)), int(theirs.sum())):
            other = np.isin(np.arange(len(ranked)), places)
            if (by_stratum(other) == by_stratum(theirs)).all():
                yield other

    rank = below(theirs, order)
    counted = [below(other, order) >= rank for other in arrangements()]
    low = np.arange(len(ranked)) < rank
    found = count_pvalues(by_stratum(~theirs), by_stratum(theirs), by_stratum(low & ~theirs), by_stratum(low & theirs))
    assert found == pytest.approx(np.mean(counted))
    first = np.arange(len(ranked)) < below(theirs, 1)
    exceeding = [below(other, 1) >= below(theirs, 1) for other in arrangements()]
    found = exceedance_pvalues(by_stratum(~theirs), by_stratum(theirs), by_stratum(first))
    assert found == pytest.approx(np.mean(exceeding))


@given(m=st.integers(1, 200), n=st.integers(1, 200), data=st.data())
def test_count_pvalues_have_the_mean_of_an_order_statistic(m, n, data):
    order = data.draw(st.integers(1, n))
    p_values = all_counts(m, n, order)
    assert p_values[0] == pytest.approx(1)
    assert (np.diff(p_values) <= 1e-12).all()
    assert p_values[1:].sum() == pytest.approx(m * order / (n + 1), rel=1e-6)  # sum of P(X >= x) is the mean


def test_count_pvalues_keep_their_digits_in_the_tail():
    assert all_counts(2_000, 100, 1)[1_000] == pytest.approx(exceedance_pvalue(2_000, 100, 1_000), rel=1e-6, abs=0)
    assert 0 < all_counts(10_000, 2_500, 2)[10_000] < 1e-200
    assert 0 < exceedance_pvalue(10_000, 5_000, 10_000) < 1e-200


def test_count_test_has_its_level_where_a_binomial_does_not():
    random, rejected, binomial_rejected = np.random.default_rng(0), 0, 0
    p_values = all_counts(10_000, 5_000, 5)
    for _ in range(2_000):
        threshold = np.sort(random.random(5_000))[4]
        count = random.binomial(10_000, threshold)  # uniform samples below it
        rejected += p_values[count] <= 0.05
        binomial_rejected += stats.binom.sf(count - 1, 10_000, 1e-3) <= 0.05
    assert 60 <= rejected <= 115  # 100 expected at most: a discrete test errs on the low side
    assert binomial_rejected > 200


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1, 1])
    np.testing.assert_allclose(holm([0.02]), [0.02])


def test_k_means_finds_separate_clusters():
    random = np.random.default_rng(0)
    truth = random.integers(4, size=500)
    points = 100 * np.eye(4)[truth] + random.normal(size=(500, 4))
    cells = nearest_centre(points, k_means(points, 4))
    assert all(len(set(cells[truth == cluster])) == 1 for cluster in range(4))
    assert len(set(cells)) == 4
    assert len(k_means(np.ones((10, 2)), 3)) == 1


def test_calibration_takes_the_order_statistic_and_measures_each_half_by_the_other():
    ratios = np.random.default_rng(0).permutation(np.arange(8_000) / 8_000)
    strata = np.arange(8_000) % 3
    calibration = Calibration.of(ratios, strata, 3, 1e-3)
    assert (calibration.threshold, calibration.order, calibration.size) == (7 / 8_000, 8, 8_000)
    assert calibration.heldout.tolist() == np.bincount(strata).tolist()
    assert calibration.before.tolist() == np.bincount(strata[np.argsort(ratios)[:7]], minlength=3).tolist()
    assert Calibration.of(ratios[:40], strata[:40], 3, 1e-3).order == 1


def test_measured_false_positive_rate_is_that_of_independent_thresholds():
    random, strata = np.random.default_rng(0), np.zeros(2_000, int)
    flagged = [Calibration.of(random.random(2_000), strata, 1, 0.01).flagged.sum() for _ in range(40)]
    assert np.mean(flagged) == pytest.approx(20, abs=3)  # 3 standard deviations
    assert np.std(flagged) > 2  # counted on all at once it would be the order, every time


@pytest.mark.parametrize("size", [20, 101, 500])
def test_the_false_positive_rate_to_be_expected_is_that_of_half_the_images(size):
    random, strata = np.random.default_rng(1), np.zeros(size, int)
    drawn = [Calibration.of(random.random(size), strata, 1, 0.01) for _ in range(1_000)]
    rates = np.array([calibration.flagged.mean() for calibration in drawn])
    assert rates.mean() == pytest.approx(drawn[0].expected, abs=4 * rates.std() / 1_000**0.5)


def test_a_stratum_hardly_visited_counts_as_visited_by_its_share():
    """Three of ten samples below all of a stratum's held-out images, of 1,000 that should have been 500."""
    calibration = calibrated(heldout=[100, 100])
    found = calibration.p_values(np.array([990, 10]), np.array([0, 3]), np.array([0, 3]))
    assert found["count"] == found["exceedance"] == pytest.approx(500 * 499 * 498 / (600 * 599 * 598))


# Planting.


@pytest.mark.parametrize("kind", planting.kinds_of_copy(mirror=True))
def test_altered_copies_are_close_but_altered(kind):
    copies = planting.altered(TRAIN[:50], kind)
    assert copies.dtype == np.uint8
    assert copies.shape == TRAIN[:50].shape
    assert (copies == TRAIN[:50]).all() == (kind == "exact")
    assert (planting.altered(TRAIN[:50], kind) == copies).all()


def test_altered_noise_has_its_standard_deviation():
    grey = np.full((20, 30, 30, 1), 128, np.uint8)
    assert (planting.altered(grey, "noise 0.1").astype(float) - 128).std() == pytest.approx(25.5, rel=0.02)


def test_altered_shift_moves_by_one_pixel_in_every_direction():
    spots = np.zeros((100, 5, 5, 1), np.uint8)
    spots[:, 2, 2] = 255
    places = {tuple(place - 2) for place in np.argwhere(planting.altered(spots, "shift 1"))[:, 1:3]}
    assert places == set(itertools.product((-1, 0, 1), repeat=2)) - {(0, 0)}


def test_altered_refuses_unknown_kinds():
    with pytest.raises(ValueError, match="rotation"):
        planting.altered(TRAIN[:1], "rotation 90")


def calibrated(heldout):
    """With the smallest held-out ratio as the threshold."""
    heldout = np.array(heldout)
    return Calibration(0.1, np.zeros_like(heldout), 0.1, heldout, np.zeros(heldout.sum(), bool), 0.0)


def outcomes(below, size):
    rows = np.zeros((size, 1), bool)
    rows[:below] = True
    return Outcomes(np.zeros(size, int), rows, rows, num_strata=1)


def test_detection_limit_of_certain_copies_is_where_the_rule_turns():
    rule = DecisionRule({"pixels": calibrated([1_000])}, num_tests=6)
    needed = next(e for e in range(1_000) if exceedance_pvalue(1_000, 1_000, e) * 6 <= 0.05)
    assert planting.detection_limit(outcomes(0, 1_000), outcomes(10, 10), rule) == needed / 1_000
    # A copy that is flagged one time in two needs as many draws as give `needed` heads with probability 0.95.
    half = planting.detection_limit(outcomes(0, 1_000), outcomes(5, 10), rule) * 1_000
    exact = next(c for c in range(1_000) if stats.binom.sf(needed - 1, c, 0.5) >= 0.95)
    assert abs(half - exact) <= 1
    assert planting.detection_limit(outcomes(0, 1_000), outcomes(0, 10), rule) is None


# Verdicts.


def test_honest_samples_are_not_convicted(honest_result):
    assert honest_result.verdict == "no copying detected"
    assert honest_result.reason.startswith("at this sensitivity")
    assert set(honest_result.p_values) == {"pixels", "pca"}
    assert all(set(tests) == {"count", "exceedance", "swap"} for tests in honest_result.p_values.values())
    assert honest_result.num_samples == 300


def test_fresh_real_samples_are_convicted_no_more_often_than_the_level():
    verdicts = [compare(*np.split(smooth_images(260, seed), [80, 180])).verdict for seed in range(6)]
    assert verdicts.count("copies found") <= 1  # P(more) = 3% at a rate of 5%


@pytest.mark.slow
def test_twenty_draws_of_fresh_real_samples():
    """Verdicts at the level, and counts of flagged samples inside the central 95% of their beta-binomial."""
    results = [compare(*np.split(smooth_images(1_200, seed), [400, 800])[::-1]) for seed in range(1_000, 1_020)]
    assert sum(result.verdict == "copies found" for result in results) <= 3  # P(more) = 1.6% at a rate of 5%
    for space in ("pixels", "pca"):
        order, size = results[0].calibration[space]["order"], results[0].calibration[space]["size"]
        low, high = stats.betabinom(400, order, size + 1 - order).ppf([0.025, 0.975])
        inside = [low <= result.calibration[space]["num_flagged"] <= high for result in results]
        assert sum(inside) >= 17  # P(fewer) = 1.6% at 95%


def test_record_is_json_and_keeps_the_raw_ratios_out(honest_result):
    record = honest_result.to_dict()
    assert json.loads(json.dumps(record)) == record
    unsaved = {"evidence", "skipped", "latent_recovery"}
    assert {field.name for field in dataclasses.fields(AuditResult)} - unsaved == set(record)
    assert honest_result.evidence.samples.neighbours["pixels"].ratios.shape == (300,)
    assert honest_result.evidence.heldout.neighbours["pca"].ratios.shape == (200,)
    assert len(record["protocol"]["sha256"]["train"]) == 64


def test_detection_limit_is_what_planting_that_share_gives(honest_result):
    limit = honest_result.detection_limit
    assert set(limit) == set(planting.kinds_of_copy(mirror=False))
    assert limit["exact"] <= limit["noise 0.1"]
    copies = TRAIN[: round(limit["exact"] * 300)]
    assert compare(with_copies(HONEST, copies), TRAIN, HELDOUT).verdict == "copies found"
    assert honest_result.planted_flagged["exact"] == 1


def test_copies_that_escape_are_fewer_than_the_detection_limit():
    result = compare(with_copies(HONEST, TRAIN[:8]), TRAIN, HELDOUT)
    assert result.verdict == "no copying detected" and result.num_flagged >= 8
    assert result.detection_limit["exact"] > 8 / 300


@pytest.mark.parametrize("kind", ["exact", "noise 0.02", "shift 1", "mirror"])
def test_planted_copies_are_found_and_named(kind):
    train, heldout, honest = np.split(smooth_images(500, seed=4, channels=3), [200, 300])
    samples = with_copies(honest, planting.altered(train[COPIED], kind))
    result = compare(samples, train, heldout)
    assert result.verdict == "copies found"
    named = {entry["sample"]: entry for entry in result.flagged}
    assert len(named) == result.num_flagged >= 20
    for sample, index in zip(range(180, 200), COPIED, strict=True):
        assert named[sample]["train_index"] == index
        assert named[sample]["mirrored"] == (kind == "mirror")
        assert (named[sample]["shift"] == [0, 0]) == (kind != "shift 1")
        assert named[sample]["ratio"] < result.calibration[named[sample]["space"]]["threshold"]
    assert [entry["ratio"] for entry in result.flagged] == sorted(entry["ratio"] for entry in result.flagged)


@pytest.mark.parametrize("poor", ["blurred", "noisy"])
def test_copies_among_poor_samples_are_found_and_poor_samples_alone_are_not_convicted(poor):
    if poor == "blurred":
        samples = to_bytes(ndimage.gaussian_filter(HONEST.astype(float), (0, 1.5, 1.5, 0)))
    else:
        samples = to_bytes(HONEST + np.random.default_rng(0).normal(0, 40, HONEST.shape))
    assert compare(samples, TRAIN, HELDOUT).verdict == "no copying detected"
    assert compare(with_copies(samples, TRAIN[COPIED]), TRAIN, HELDOUT).verdict == "copies found"


def test_a_collapsed_class_is_not_copying():
    patterns = np.random.default_rng(3).uniform(0, 1, (5, 5, 5, 1))
    images = smooth_images(1_200, seed=2, patterns=patterns, spread=0.5)
    collapsed = smooth_images(250, seed=5, patterns=patterns[:1], spread=0.5)
    result = compare(collapsed, images[:900], images[900:])
    assert result.verdict == "no copying detected"


def test_samples_of_one_kind_are_held_against_that_kind():
    """A bright kind, one image in twenty, comes in threes that look alike; the generator makes nothing else."""
    random = np.random.default_rng(0)
    faces = 120 + smooth_images(20, seed=1).astype(float) / 2

    def bright(count, seed):
        near = np.random.default_rng(seed).normal(0, 3, (count, *faces.shape[1:]))
        return to_bytes(faces[np.arange(count) % 20] + near)

    dark = to_bytes(smooth_images(1_330, seed=2) / 3.0)
    train, heldout = np.concatenate([dark[:950], bright(50, 3)]), np.concatenate([dark[950:], bright(20, 4)])
    result = compare(bright(200, 5), train, random.permutation(heldout))
    assert result.verdict == "no copying detected"
    in_one = compare(bright(200, 5), train, random.permutation(heldout), exchangeable=False)
    assert in_one.verdict == "copies found"  # against all held-out images together


def test_a_memoriser_is_found():
    samples = planting.altered(TRAIN[np.random.default_rng(0).integers(50, size=300)], "noise 0.02")
    result = compare(samples, TRAIN, HELDOUT)
    assert result.verdict == "copies found"
    assert result.num_flagged == 300
    assert {entry["train_index"] for entry in result.flagged} <= set(range(50))
    assert result.detection_limit["exact"] < 0.1  # of an audit without them


@pytest.mark.parametrize("works", [1, 2, 5])
def test_a_handful_of_works(works):
    train = TRAIN[:works]
    copies = planting.altered(train[np.arange(100) % works], "exact" if works == 1 else "noise 0.02")
    assert compare(copies, train, HELDOUT).verdict == "copies found"
    assert compare(HONEST, train, HELDOUT).verdict == ("cannot tell" if works == 1 else "no copying detected")


def test_an_image_that_stands_several_times_in_the_training_set_cannot_hide_its_copies():
    train = np.concatenate([TRAIN[:6], *[planting.altered(TRAIN[:3], "noise 0.02", seed) for seed in range(4)]])
    result = compare(with_copies(HONEST, TRAIN[np.arange(90) % 3]), train, HELDOUT)
    assert result.verdict == "copies found"
    assert result.duplicates["train_collapsed"] == 12
    assert {entry["train_index"] for entry in result.flagged if entry["sample"] >= 210} == {0, 1, 2}


def test_duplicates_are_counted():
    train = np.concatenate([TRAIN, TRAIN[:4], planting.altered(TRAIN[9:10], "noise 0.02")])
    heldout = np.concatenate([HELDOUT, TRAIN[:1]])
    result = compare(np.concatenate([HONEST[:40], HONEST[:2]]), train, heldout)
    assert result.duplicates == {
        "samples_exact": 2, "train_exact": 4, "train_collapsed": 5, "heldout_exact": 1, "heldout_repeated": 0,
        "heldout_sampled": 0, "heldout_equal": 1, "heldout_near": 1, "samples_collapsed": 2,
    }  # fmt: skip


def test_held_out_images_that_repeat_each_other_calibrate_once():
    """Counted each time, repeats of images that lie far from the training images would make all others look close."""
    once, often = HELDOUT[:60], np.concatenate([HELDOUT[:60], *[HELDOUT[:20]] * 5])
    results = [compare(HONEST, TRAIN, heldout) for heldout in (once, often)]
    assert results[1].duplicates["heldout_repeated"] == 100
    assert results[0].calibration == results[1].calibration and results[0].verdict == results[1].verdict
    counts = [{space: tests["count"] for space, tests in result.p_values.items()} for result in results]
    assert counts[0] == counts[1]
    few = compare(HONEST[:20], TRAIN, np.repeat(HELDOUT[:10], 10, axis=0))
    assert few.verdict == "cannot tell"


def test_a_mirror_image_repeats_another_in_colour_only():
    colour = np.repeat(HELDOUT[:40], 3, axis=-1)
    for images, repeated in ((colour, 40), (HELDOUT[:40], 0)):
        train, samples = (np.repeat(array, images.shape[-1], axis=-1) for array in (TRAIN[:60], HONEST[:20]))
        result = compare(samples, train, np.concatenate([images, images[:, :, ::-1]]))
        assert result.duplicates["heldout_repeated"] == repeated


def test_mirrored_copies_of_grey_images_are_found_where_the_generator_was_trained_on_flipped_ones():
    copies = with_copies(HONEST, TRAIN[:30, :, ::-1])
    found, passed_over = compare(copies, TRAIN, HELDOUT, flipped=True), compare(copies, TRAIN, HELDOUT)
    assert found.verdict == "copies found" and "mirror" in found.detection_limit
    assert passed_over.verdict == "no copying detected" and "mirror" not in passed_over.detection_limit


def test_copies_among_samples_that_repeat_each_other_are_found_with_a_warning():
    """One sample that is close by chance counts as often as it is repeated."""
    often = compare(with_copies(HONEST, np.repeat(TRAIN[7:8], 30, axis=0)), TRAIN, HELDOUT)
    assert often.verdict == "copies found" and "29 of the samples repeat another one, exactly or" in often.reason
    once = compare(with_copies(HONEST, TRAIN[:30]), TRAIN, HELDOUT)
    assert once.verdict == "copies found" and "repeat" not in once.reason


def test_samples_that_nearly_repeat_each_other_are_told_from_varied_ones():
    """What a generator with few modes draws: no two alike to the last bit."""
    nearly = planting.altered(np.repeat(TRAIN[7:8], 30, axis=0), "noise 0.005")
    result = compare(with_copies(HONEST, nearly), TRAIN, HELDOUT)
    assert result.duplicates["samples_exact"] == 0
    assert "29 of the samples repeat another one, exactly or nearly" in result.reason


def test_one_held_out_image_that_stands_in_the_training_set_does_not_hide_a_memoriser():
    heldout = np.concatenate([HELDOUT[1:], TRAIN[:1]])
    result = compare(TRAIN[:300], TRAIN, heldout)
    assert result.verdict == "copies found" and result.num_flagged == 300
    varied = compare(HONEST, TRAIN, heldout)
    assert varied.verdict == "cannot tell" and "1 of which is a training image, as it is" in varied.reason
    moved = compare(HONEST, TRAIN, np.concatenate([HELDOUT[1:], np.roll(TRAIN[:1], 1, axis=2)]))
    assert moved.duplicates["heldout_exact"] == 0 and moved.reason == varied.reason


def test_a_mirrored_twin_of_a_training_image_does_not_hide_a_memoriser_either():
    train, heldout = (np.repeat(images, 3, axis=-1) for images in (TRAIN, HELDOUT[1:]))
    result = compare(train[:300], train, np.concatenate([heldout, train[:1, :, ::-1]]))
    assert result.duplicates["heldout_exact"] == 1
    assert result.verdict == "copies found" and result.num_flagged == 300


def test_held_out_images_that_are_samples_do_not_hide_copies():
    """As where the same folder is given twice; near copies, for those that equal training images are known as such."""
    copies = planting.altered(TRAIN[:60], "noise 0.02")
    samples = with_copies(HONEST, copies)
    found = compare(samples, TRAIN, np.concatenate([HELDOUT, copies[:5]]))
    assert found.duplicates["heldout_sampled"] == 5 and found.protocol["num_heldout"] == len(HELDOUT)
    assert found.verdict == "copies found" and found.num_flagged >= 60
    assert "5 of the held-out images are samples, and were left out" in str(found)
    assert compare(samples, TRAIN, samples).verdict == "cannot tell"
    equal = np.concatenate([TRAIN[:1], HONEST[1:]])  # a blank page, say: no reason to call it a copy
    assert compare(equal, TRAIN, np.concatenate([HELDOUT, TRAIN[:1]])).verdict == "cannot tell"


def test_one_sample_is_too_few_whatever_the_held_out_images_are():
    result = compare(HONEST[:1], TRAIN, np.concatenate([HELDOUT, TRAIN[:1]]), alpha=0.1)
    assert result.verdict == "cannot tell" and "even if the sample was a copy it would not stand out" in result.reason


def test_a_held_out_pair_has_the_number_of_its_image_among_those_given():
    heldout = np.concatenate([np.repeat(HELDOUT[:1], 30, axis=0), HELDOUT[1:60], TRAIN[5:6]])
    pairs = compare(HONEST, TRAIN, heldout).evidence.heldout_pairs
    assert pairs.indices[0] == len(heldout) - 1


def test_a_single_work_that_a_few_samples_show_is_named():
    result = compare(with_copies(HONEST, np.repeat(TRAIN[:1], 3, axis=0)), TRAIN[:1], HELDOUT[:25], exchangeable=False)
    assert result.verdict == "cannot tell"
    assert "show the single known work, as it is, moved or mirrored: 3" in result.reason


def test_held_out_copies_of_training_images_leave_nothing_to_tell_by():
    result = compare(HONEST, TRAIN, np.concatenate([HELDOUT, TRAIN[:150]]))
    assert result.verdict == "cannot tell"
    assert result.detection_limit["exact"] is None
    assert "--heldout" in result.reason


@pytest.mark.parametrize("count", [0, 19])
def test_below_twenty_held_out_images_it_cannot_tell(count):
    result = compare(TRAIN[:50], TRAIN, HELDOUT[:count])
    assert result.verdict == "cannot tell"
    assert result.reason.startswith(f"{count} held-out images are too few")
    assert "--heldout" in result.reason
    assert result.p_values == {} == result.detection_limit
    assert result.evidence.samples.neighbours["pixels"].indices.tolist() == list(
        range(50)
    )  # the picture can still be drawn
    json.dumps(result.to_dict())
    assert compare(TRAIN[:50], TRAIN, HELDOUT[:20]).verdict == "copies found"


# The swap test and the correction.


def test_swap_pvalue_is_the_exceedance_of_training_images_over_held_out_ones():
    result = compare(TRAIN, TRAIN, HELDOUT)  # every training image has its copy, so all come before held-out ones
    for space in ("pixels", "pca"):
        assert result.p_values[space]["swap"] == exceedance_pvalue(400, 200, 400)


def test_swap_can_be_left_out_and_all_tests_join_the_correction(honest_result):
    alone = compare(HONEST[:100], TRAIN, HELDOUT, exchangeable=False)
    assert all(set(tests) == {"count", "exceedance"} for tests in alone.p_values.values())
    values = [p for tests in honest_result.p_values.values() for p in tests.values()]
    adjusted = [p for tests in honest_result.adjusted_p_values.values() for p in tests.values()]
    np.testing.assert_allclose(adjusted, holm(values))


@pytest.mark.parametrize("works", [TRAIN[5:6], np.repeat(TRAIN[5:6], 2, axis=0)], ids=["one", "twice"])
def test_a_lone_work_has_no_next_one_to_compare_with_and_two_have(works):
    """Blurred images are nearer to any work than sharp ones are: the distance alone says nothing."""
    noise = np.random.default_rng(0).integers(-2, 3, (30, *TRAIN.shape[1:]))
    samples = with_copies(HONEST, to_bytes(works[0] + noise))
    result = compare(samples, works, HELDOUT, exchangeable=False)
    alike = (
        "there is a single known work to look for" if len(works) == 1 else "2 known works to look for are nearly the"
    )
    assert result.verdict == "cannot tell" and alike in result.reason
    exact = compare(with_copies(HONEST, np.repeat(works[:1], 30, axis=0)), works, HELDOUT, exchangeable=False)
    assert exact.verdict == "copies found" and exact.num_flagged == 30
    several = np.concatenate([works, TRAIN[:1]])
    found = compare(samples, several, HELDOUT, exchangeable=False)
    assert found.verdict == "copies found"
    assert {entry["sample"] for entry in found.flagged} >= set(range(len(HONEST) - 30, len(HONEST)))
    soft = to_bytes(127.5 + 0.8 * (HONEST - 127.5))
    assert compare(soft, several, HELDOUT, exchangeable=False).verdict == "no copying detected"


def test_where_the_swap_test_alone_convicts_the_reason_and_the_limit_say_so():
    """15 copies of 100 images are many for these, and few among 1,000 samples."""
    train, heldout, honest = np.split(smooth_images(1_200), [100, 200])
    result = compare(with_copies(honest, train[:15]), train, heldout)
    assert result.verdict == "copies found" and 15 <= result.num_flagged < 50
    counts = [p for tests in result.adjusted_p_values.values() for test, p in tests.items() if test != "swap"]
    assert min(counts) > 0.05
    assert result.reason.startswith("training images are closer to the samples than held-out images are (the swap test")
    assert "samples are flagged as too close to a training image: no more than held-out" in result.reason
    assert result.detection_limit["exact"] > 0.015  # what the counts need, not one flagged sample more


def test_training_images_that_are_closer_do_not_convict_where_no_sample_is_flagged():
    """Samples that are all close, and one held-out image that is closer still, to an image that none is close to."""
    train, twin = TRAIN[:100], planting.altered(TRAIN[:1], "noise 0.005")
    result = compare(planting.altered(train[1:], "noise 0.02"), train, np.concatenate([HELDOUT[:80], twin]))
    assert result.num_flagged == 0 and min(tests["swap"] for tests in result.adjusted_p_values.values()) <= 0.05
    assert result.verdict == "no copying detected"
    assert "no sample is flagged, although training images are closer to the samples" in result.reason
    assert result.detection_limit["exact"] > 1 / 100  # not what this run's swap test makes of one flagged sample


# The call.


def test_progress_reaches_its_total():
    seen = []
    compare(HONEST[:30], TRAIN[:60], HELDOUT[:40], progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": HONEST.astype(np.float32)}, "samples must be uint8"),
        ({"heldout": HELDOUT[:, :8]}, r"heldout are \(8, 12, 1\)"),
        ({"train": TRAIN[:0]}, "there must be"),
        ({"samples": HONEST[:0]}, "there must be"),
        ({"alpha": 0.0}, "alpha=0.0"),
    ],
)
def test_misuse_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        compare(**{"samples": HONEST, "train": TRAIN, "heldout": HELDOUT, **change})


def test_one_image_copied_often_is_found_and_the_swap_test_is_said_not_to_confirm_it():
    result = compare(with_copies(HONEST, np.repeat(TRAIN[7:8], 30, axis=0)), TRAIN, HELDOUT)
    assert result.verdict == "copies found"
    assert "The swap test does not confirm this" in result.reason
    result = compare(with_copies(HONEST, TRAIN[7:67]), TRAIN, HELDOUT)
    assert result.verdict == "copies found" and "the reverse search agrees" in result.reason
    assert "more than held-out images explain (the" in result.reason
