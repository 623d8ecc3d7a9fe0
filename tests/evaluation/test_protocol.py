"""Which real images are used for what, and the floor."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kgan.data import sources
from kgan.errors import UserError
from kgan.evaluation import classifier, inception, protocol
from kgan.evaluation.reference import Reference, load_reference, reference_of_images
from tests.conftest import draw_folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("data") / "images", 170, size=28, classes=2)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KGAN_CACHE_DIR", str(tmp_path))


def load(data, split="train", **settings) -> Reference:
    return load_reference("folder", split, data_dir=str(data), image_size=28, channels=1, **settings)


def test_the_inception_graph_is_fetched_into_the_cache(data, tmp_path, monkeypatch):
    monkeypatch.setattr(inception, "fetch_graph", lambda folder: folder / "graph.pb")
    monkeypatch.setattr(inception, "InceptionFeatures", lambda path: path)
    choice = protocol.FeatureChoice("inception", "asked for")
    assert protocol.load_network(choice, load(data)) == tmp_path / "graph.pb"


def as_set(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_the_splits_are_those_of_a_run(data):
    everything = sources.load("folder", str(data), image_size=28, channels=1)
    parts = everything.split(20, 100)
    chosen, heldout, training = parts.training, parts.heldout, parts.available
    for split, indices in (("train", chosen), ("heldout", heldout)):
        found = load(data, split, num_heldout=20, num_train=100)
        assert np.array_equal(found.images, everything.images[indices])
        assert np.array_equal(found.fit_images, everything.images[training])
        assert np.array_equal(found.fit_labels, everything.labels[training])
        assert found.data_sha256 == everything.sha256
    with pytest.raises(UserError, match="folder has no test images"):
        load(data, "test")
    with pytest.raises(UserError, match="--reference=heldout: folder has 0 such images"):
        load(data, "heldout", num_heldout=0)


def test_the_halves_are_disjoint_random_and_always_the_same(data):
    reference = load(data)
    first, second = reference.half(0, 70), reference.half(1, 70)
    assert len(as_set(first)) == len(as_set(second)) == 70 and not as_set(first) & as_set(second)
    assert np.array_equal(first, load(data).half(0, 70))
    positions = [next(i for i, image in enumerate(reference.images) if np.array_equal(image, one)) for one in first]
    assert positions != sorted(positions) and 40 < np.mean(positions) < 110  # not the first class alone
    assert not np.array_equal(first, load(data, "train", num_train=150).half(0, 70))


def test_the_classifier_sees_no_heldout_image(data, tmp_path, monkeypatch):
    seen = {}

    def fit(images, labels, num_classes, unseen, log):
        seen.update(images=images, labels=labels, num_classes=num_classes, checked=unseen()[0])

    monkeypatch.setattr(classifier, "load_classifier", fit)
    reference = load(data, "heldout", num_heldout=30, num_train=50)
    protocol.load_network(protocol.select_features("auto", reference, 5000), reference)
    assert len(seen["images"]) == len(seen["labels"]) == 140 and seen["num_classes"] == 2
    assert not as_set(seen["images"]) & as_set(reference.images)
    assert as_set(seen["checked"]) == as_set(reference.images)


def test_the_floor_is_the_other_half_against_the_first(data, tmp_path, monkeypatch):
    reference = load(data)
    choice = protocol.select_features("pca", reference, 5000)
    network = protocol.load_network(choice, reference)
    evaluator = protocol.Evaluator(network, reference, 70)
    assert evaluator.scores(reference.half(1, 70)) == evaluator.floor
    assert evaluator.scores(reference.half(0, 70))["frechet_distance"] < 1e-6
    with monkeypatch.context() as patch:
        patch.setattr(network, "outputs", None)  # what was computed of the reference images is kept
        again = protocol.Evaluator(network, reference, 70)
    assert again.floor == evaluator.floor and again.scores(reference.half(1, 70)) == evaluator.floor
    with pytest.raises(TypeError), monkeypatch.context() as patch:
        patch.setattr(network, "outputs", None)
        protocol.Evaluator(network, load(data, num_train=150), 70)


def test_scores_that_random_pixels_get_too_come_with_a_warning(data, tmp_path):
    reference = load(data)
    network = protocol.load_network(protocol.select_features("pca", reference, 5000), reference)
    evaluator = protocol.Evaluator(network, reference, 70)
    noise = evaluator.scores(np.random.default_rng(1).integers(0, 256, (70, 28, 28, 1), np.uint8))
    assert noise["precision"] > 0.9 * evaluator.floor["precision"]
    how = evaluator.protocol()
    assert {"precision", "density"} <= set(how["unreliable_scores"]) and "random pixels" in how["warning"]
    assert not {"frechet_distance", "recall"} & set(how["unreliable_scores"])
    assert protocol.Evaluator(network, reference, 70).protocol() == how


def test_n_is_at_most_half_the_reference_and_says_so(data):
    reference = load(data)  # 153 images
    assert protocol.common_count(reference, 50) == (50, "--num_samples=50")
    assert protocol.common_count(reference, 100) == (76, "half of the 153 train images")
    assert protocol.common_count(reference, 100, 60) == (60, "all the samples there are")
    assert protocol.common_count(reference, 50, 60) == (50, "--num_samples=50")


def test_one_class_is_no_label(tmp_path):
    reference = load(draw_folder(tmp_path / "images", 12, classes=1))
    assert reference.num_classes == 0 and protocol.select_features("auto", reference, 5000).name == "pca"


def test_the_graph_is_found_in_the_data_folder(data, tmp_path, monkeypatch):
    monkeypatch.delenv("KGAN_DATA_DIR", raising=False)
    (tmp_path / "classify_image_graph_def.pb").write_bytes(b"")
    colour = load_reference("folder", data_dir=str(data), image_size=28, channels=3)
    choices = [protocol.select_features("auto", colour, 5000)]
    monkeypatch.setenv("KGAN_CACHE_DIR", str(tmp_path / "none"))
    choices.append(protocol.select_features("auto", colour, 5000, data_dir=str(tmp_path)))
    assert protocol.select_features("auto", colour, 5000).name == "classifier"
    for choice in choices:
        assert choice.name == "inception" and choice.graph == tmp_path / "classify_image_graph_def.pb"


def test_a_covariance_takes_more_images_than_features(data):
    pca, inception_ = protocol.FeatureChoice("pca", ""), protocol.FeatureChoice("inception", "")
    reference = load(data)
    protocol.check_count(pca, reference, 65)
    with pytest.raises(UserError, match=r"64 images are too few for pca features: .* at least 65 .* \(more images\)"):
        protocol.check_count(pca, reference, 64)
    with pytest.raises(UserError, match=r"2048 images are too few for inception features: .* or --features=pca"):
        protocol.check_count(inception_, reference, 2048)
    with pytest.raises(UserError, match=r"at least 2049 images a side \(a way out\)"):
        protocol.check_count(inception_, reference, 2048, "a way out")
    few_pixels = reference_of_images(np.zeros((9, 2, 2, 1), np.uint8), "few pixels")
    protocol.check_count(pca, few_pixels, 6)
    with pytest.raises(UserError, match="at least 6 images a side"):  # and more than five neighbours
        protocol.check_count(pca, few_pixels, 5)


@pytest.mark.parametrize(
    ("asked", "channels", "classes", "graph", "count", "chosen", "reason"),
    [
        ("auto", 3, 10, "g.pb", 2049, "inception", "g.pb is present"),
        ("auto", 3, 0, "g.pb", 5000, "inception", "colour"),
        ("auto", 3, 10, "g.pb", 2048, "classifier", "2048 images are too few for inception"),
        ("auto", 1, 10, "g.pb", 129, "classifier", "no colour"),
        ("auto", 1, 10, None, 128, "pca", "128 images are too few for a classifier"),
        ("auto", 3, 10, None, 5000, "classifier", "not present"),
        ("auto", 3, 0, None, 5000, "pca", "no labels"),
        ("auto", 1, 0, "g.pb", 5000, "pca", "no labels"),
        ("inception", 1, 0, None, 10, "inception", "as asked"),
        ("pca", 3, 10, "g.pb", 5000, "pca", "as asked"),
    ],
)
def test_features_are_chosen_for_a_reason(asked, channels, classes, graph, count, chosen, reason, monkeypatch):
    monkeypatch.setattr(inception, "find_graph", lambda *_: graph and Path(graph))
    choice = protocol.select_features(asked, images_of(channels, classes), count)
    assert choice.name == chosen and reason in choice.reason


def test_features_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(UserError, match="needs a labelled data set"):
        protocol.select_features("classifier", images_of(3, 0), 5000)
    with pytest.raises(UserError, match="--features=vgg is not known: use auto, inception, classifier, pca"):
        protocol.select_features("vgg", images_of(3, 10), 5000)


def images_of(channels: int, classes: int) -> Reference:
    return replace(reference_of_images(np.zeros((2, 4, 4, channels), np.uint8), "images"), num_classes=classes)


def test_only_distances_in_inceptions_features_are_called_fid_and_kid():
    for features, *names in (("inception", "FID", "KID"), ("classifier", "classifier FD", "kernel distance")):
        how = {"features": features, "distance_name": names[0]}
        assert [protocol.title_of(name, how) for name in protocol.LOWER_IS_BETTER] == names
    assert protocol.title_of("frechet_distance", {}) == "Frechet distance"
    assert protocol.title_of("recall", how) == "recall"


def test_repeats_give_a_mean_and_a_labelled_spread():
    runs = [
        {"frechet_distance": 1.0, "kernel_distance_std": 0.1},
        {"frechet_distance": 3.0, "kernel_distance_std": 0.3},
    ]
    mean, spread = protocol.summarise(runs)
    assert mean == pytest.approx({"frechet_distance": 2.0, "kernel_distance_std": 0.2})
    assert spread == pytest.approx({"frechet_distance": np.sqrt(2.0)})
    assert protocol.summarise(runs[:1]) == (runs[0], {})


def test_where_no_test_images_are_heldout_ones_tell_a_classifiers_accuracy(tmp_path):
    images, labels = np.zeros((200, 28, 28), np.uint8), np.arange(200, dtype=np.uint8) % 10
    for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
        (tmp_path / f"train-{kind}-ubyte").write_bytes(header + array.tobytes())
    reference = load_reference("mnist", data_dir=str(tmp_path))
    assert reference.num_classes == 10 and len(reference.images) == 180
    images, labels = reference.unseen()
    assert len(images) == len(labels) == 20
