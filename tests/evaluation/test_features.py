"""The feature networks on small data made here; the Inception path on a small graph with the real one's node names."""

import hashlib
import logging
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kgan.errors import UserError
from kgan.evaluation import cache, classifier, features, inception


def stripes(seed, count=240, shape=(8, 8, 1)):
    """Noisy images of three classes: dark, horizontal stripes, vertical stripes. Returns images and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    rows, columns = np.indices(shape[:2])
    patterns = np.stack([np.zeros(shape[:2]), rows // 2 % 2, columns // 2 % 2])[labels][..., None] * 150
    noise = rng.integers(0, 60, (count, *shape))
    return (patterns + noise).astype(np.uint8), labels


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KGAN_CACHE_DIR", str(tmp_path))


def test_modules_import_without_tensorflow():
    code = (
        "import sys; import kgan.evaluation.inception, kgan.evaluation.classifier, kgan.evaluation.quality; "
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestCache:
    key = {"data": "abc", "count": 3}  # noqa: RUF012

    def test_computes_once_a_key(self, tmp_path, monkeypatch):
        monkeypatch.setenv("KGAN_CACHE_DIR", str(tmp_path / "new" / "folder"))
        calls = []

        def compute():
            calls.append(1)
            return {"a": np.arange(len(calls)), "b": np.float32([[0.5]])}

        first = cache.cached("kind", self.key, compute)
        again = cache.cached("kind", dict(reversed(self.key.items())), compute)
        assert len(calls) == 1
        assert sorted(first) == sorted(again) == ["a", "b"]
        assert again["b"].dtype == np.float32 and (again["a"] == first["a"]).all()
        cache.cached("kind", {**self.key, "count": 4}, compute)
        cache.cached("other", self.key, compute)
        assert len(calls) == 3

    @pytest.mark.parametrize("damage", ["empty", "cut", "no zip", "pickle", "other key"])
    def test_computes_anew_what_is_damaged(self, tmp_path, damage, caplog):
        cache.cached("kind", self.key, lambda: {"a": np.arange(100)})
        (path,) = tmp_path.iterdir()
        if damage == "pickle":
            np.savez(path, key=np.array([{"an": "object"}], dtype=object), a=np.arange(100))
        elif damage == "other key":
            np.savez(path, key=np.array("{}"), a=np.arange(100))
        else:
            content = path.read_bytes()
            path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "no zip": b"x" * 500}[damage])
        with caplog.at_level(logging.WARNING):
            assert cache.cached("kind", self.key, lambda: {"a": np.arange(7)})["a"].tolist() == list(range(7))
        assert path.name in caplog.text
        assert cache.cached("kind", self.key, dict)["a"].tolist() == list(range(7))

    def test_computes_anew_whatever_bytes_are_wrong(self, tmp_path):
        cache.cached("kind", self.key, lambda: {"a": np.arange(20)})
        (path,) = tmp_path.iterdir()
        content, rng = path.read_bytes(), np.random.default_rng(0)
        for _ in range(100):
            damaged = bytearray(content)
            for position in rng.integers(len(content), size=3):
                damaged[position] = rng.integers(256)
            path.write_bytes(damaged)
            arrays = cache.cached("kind", self.key, lambda: {"a": np.arange(20)})
            assert arrays["a"].tolist() == list(range(20))

    def test_leaves_nothing_when_interrupted(self, tmp_path):
        def compute():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cache.cached("kind", self.key, compute)
        assert list(tmp_path.iterdir()) == []

    def test_one_computes_and_the_others_wait_for_it(self, tmp_path, caplog):
        calls, began, finish = [], threading.Event(), threading.Event()

        def slow():
            calls.append(1)
            began.set()
            finish.wait(240)
            return {"a": np.array(len(calls))}

        def ask():
            return cache.cached("kind", self.key, slow)["a"]

        def wait_for(condition, future):
            end = time.monotonic() + 240
            while not condition():
                assert not future.done(), future.result()
                assert time.monotonic() < end
                time.sleep(0.01)

        with ThreadPoolExecutor(2) as pool:
            try:
                first = pool.submit(ask)
                wait_for(began.is_set, first)
                second = pool.submit(ask)
                wait_for(lambda: "waiting for it" in caplog.text, second)
            finally:
                finish.set()
            assert first.result() == second.result() == 1
        assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]

    def test_a_lock_left_behind_is_not_in_the_way(self, tmp_path):
        cache.cached("kind", self.key, lambda: {"a": np.array(1)})
        (path,) = tmp_path.iterdir()
        path.rename(path.with_suffix(".lock"))  # as after a kill
        assert cache.cached("kind", self.key, lambda: {"a": np.array(2)})["a"] == 2

    def test_goes_on_without_a_place_to_write(self, tmp_path, caplog, monkeypatch):
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match=r"cache folder .*file cannot be made"), monkeypatch.context() as patch:
            patch.setenv("KGAN_CACHE_DIR", str(tmp_path / "file"))
            cache.cached("kind", self.key, dict)

        def full(path, content):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(cache, "write_atomically", full)
        assert cache.cached("kind", self.key, lambda: {"a": np.array(5)})["a"] == 5
        assert "No space left" in caplog.text

    def test_hash_tells_dtype_shape_values_and_order(self):
        x = np.arange(6, dtype=np.uint8).reshape(2, 3)
        hashes = [
            cache.sha256_of_arrays(*arrays)
            for arrays in ([x], [x.T], [x.reshape(3, 2)], [x.astype(np.int8)], [x + 1], [x, x], [x[:0]], [])
        ]
        assert len(set(hashes)) == len(hashes)
        assert cache.sha256_of_arrays(x.T) == cache.sha256_of_arrays(x.T.copy())


class TestPca:
    @pytest.mark.parametrize("largest_matrix", [4096, 40])
    def test_is_the_singular_value_decomposition(self, tmp_path, monkeypatch, largest_matrix):
        monkeypatch.setattr(features, "_PCA_LARGEST_MATRIX", largest_matrix)
        images = np.random.default_rng(0).integers(0, 256, (40, 5, 4, 3), dtype=np.uint8)
        network = features.load_pca(images, components=6)
        pixels = images.reshape(40, -1) / 127.5 - 1
        left, singular, _ = np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
        result = network.outputs(images)[0]
        assert result.dtype == np.float32 and result.shape == (40, 6) and network.width == 6
        np.testing.assert_allclose(np.abs(result), np.abs(left[:, :6] * singular[:6]), atol=1e-5)
        np.testing.assert_allclose(network.components.T @ network.components, np.eye(6), atol=1e-12)
        assert network.outputs(images)[1] is None

    def test_of_few_or_equal_images(self, tmp_path, monkeypatch):
        for largest_matrix in (4096, 10):
            monkeypatch.setattr(features, "_PCA_LARGEST_MATRIX", largest_matrix)
            monkeypatch.setenv("KGAN_CACHE_DIR", str(tmp_path / str(largest_matrix)))
            equal = np.full((20, 4, 4, 1), 77, np.uint8)
            network = features.load_pca(equal, components=5)
            assert network.width == 5
            assert np.abs(network.outputs(equal)[0]).max() < 1e-6
        assert features.load_pca(equal[:3]).width == 2
        with pytest.raises(UserError, match="at least 2 training images"):
            features.load_pca(equal[:1])

    def test_is_cached_by_its_images(self, tmp_path, monkeypatch):
        images, _ = stripes(0)
        first = features.load_pca(images)
        monkeypatch.setattr(features, "_fit_pca", None)
        assert features.load_pca(images).sha256 == first.sha256
        with pytest.raises(TypeError):
            features.load_pca(images[1:])

    def test_has_a_protocol(self, tmp_path):
        network = features.load_pca(stripes(0)[0], components=9)
        assert network.protocol() == {
            "features": "pca",
            "distance_name": "PCA FD",
            "features_sha256": network.sha256,
            "features_width": 9,
        }


STEPS = 40


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A classifier of stripes, and the folder that it is cached in."""
    folder = tmp_path_factory.mktemp("cache")
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "_STEPS", STEPS)
        patch.setenv("KGAN_CACHE_DIR", str(folder))
        network = classifier.load_classifier(*stripes(0), 3, lambda: stripes(1), log=lines.append)
    return network, folder, lines


class TestClassifier:
    def test_learns_and_says_so(self, trained):
        network, _, lines = trained
        assert network.test_accuracy > 0.95
        assert "training the 3-class classifier on 240 images" in lines[0]
        assert f"{network.test_accuracy:.2%} of 240 unseen images" in lines[-1]
        assert network.protocol()["classifier_test_accuracy"] == network.test_accuracy
        assert network.protocol()["distance_name"] == "classifier FD"

    def test_gives_features_and_probabilities_image_by_image(self, trained):
        network, _, _ = trained
        images, _ = stripes(2, count=classifier._INFERENCE_BATCH + 30)
        rows, probabilities = network.outputs(images)
        assert rows.shape == (len(images), network.width) and rows.dtype == np.float32
        assert probabilities.shape == (len(images), 3) and probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(network.outputs(images[::-1])[0][::-1], rows, atol=1e-4)

    def test_computes_without_tensorfloat_32(self, trained, monkeypatch):
        import tensorflow as tf

        enabled, scale = [], classifier._scale

        def recording(images):
            enabled.append(tf.config.experimental.tensor_float_32_execution_enabled())
            return scale(images)

        monkeypatch.setattr(classifier, "_scale", recording)
        monkeypatch.setenv("KGAN_CACHE_DIR", str(trained[1]))
        again = classifier.load_classifier(*stripes(0), 3)
        again.outputs(stripes(3)[0])[0]
        assert enabled == [False]

    def test_is_read_back_from_the_cache(self, trained, monkeypatch):
        network, folder, _ = trained
        monkeypatch.setenv("KGAN_CACHE_DIR", str(folder))
        monkeypatch.setattr(classifier, "_train", None)
        monkeypatch.setattr(classifier, "_accuracy", None)
        again = classifier.load_classifier(*stripes(0), 3, lambda: stripes(1))
        assert (again.sha256, again.test_accuracy) == (network.sha256, network.test_accuracy)
        images, _ = stripes(3)
        np.testing.assert_array_equal(again.outputs(images)[0], network.outputs(images)[0])
        assert classifier.load_classifier(*stripes(0), 3).test_accuracy is None

    def test_is_another_for_other_training_images(self, trained, monkeypatch):
        _, folder, _ = trained
        monkeypatch.setenv("KGAN_CACHE_DIR", str(folder))
        images, labels = stripes(0)
        monkeypatch.setattr(classifier, "_train", lambda *_: pytest.fail("trained"))
        for other in ((images[1:], labels[1:]), (images, (labels + 1) % 3), (images[::-1], labels[::-1])):
            with pytest.raises(pytest.fail.Exception, match="trained"):
                classifier.load_classifier(*other, 3)

    def test_neither_depends_on_keras_globals_nor_changes_them(self, trained, tmp_path, monkeypatch):
        import keras

        def automatic_names():
            inputs = keras.Input((4, 4, 1))
            model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Conv2D(2, 3)(inputs)))
            return [model.name, *(layer.name for layer in model.layers), keras.optimizers.AdamW().name]

        keras.backend.clear_session()
        expected_names = automatic_names()
        keras.backend.clear_session()
        monkeypatch.setattr(classifier, "_STEPS", STEPS)
        policy = keras.config.dtype_policy()
        try:
            keras.utils.set_random_seed(123)
            keras.config.set_dtype_policy("mixed_bfloat16")
            network = classifier.load_classifier(*stripes(0), 3)
            assert automatic_names() == expected_names
        finally:
            keras.config.set_dtype_policy(policy)
        images, _ = stripes(4)
        expected, found = trained[0].outputs(images)[0], network.outputs(images)[0]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=0.05 * expected.std())

    @pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (64, 64, 3), (5, 9, 1), (3, 3, 1)])
    def test_fits_any_image_size(self, shape):
        model = classifier._build(shape, 4)
        assert [tuple(output.shape) for output in model.outputs] == [(None, features.CLASSIFIER_WIDTH), (None, 4)]

    def test_shifts_stay_within_the_bound_and_repeat_the_edge(self):
        image = np.arange(36, dtype=np.uint8).reshape(1, 6, 6, 1)
        padded = np.pad(image[0, ..., 0], classifier._SHIFT, mode="edge")
        windows = {padded[i : i + 6, j : j + 6].tobytes() for i in range(5) for j in range(5)}
        shifted = classifier._shifted(image.repeat(300, axis=0), np.random.default_rng(0))
        assert {image.tobytes() for image in shifted} == windows

    def test_batches_pass_over_every_image_before_any_again(self):
        images, labels = np.arange(300, dtype=np.uint8).repeat(1)[:250].reshape(-1, 1, 1, 1), np.arange(250)
        seen = np.concatenate([classes for _, classes in classifier._batches(images, labels, steps=10)])
        assert len(seen) == 10 * classifier._BATCH
        for start in range(0, 1250, 250):
            assert sorted(seen[start : start + 250]) == list(range(250))


SIZE = 12  # the small graph resizes to SIZE x SIZE, where the real one does to 299 x 299
WIDTH = 6
CLASSES = 5


def small_inception(seed=0):
    """A serialised GraphDef with the real graph's nodes from DecodeJpeg to softmax and its version, and its weights.

    It holds what makes the real one awkward in TensorFlow 2: a batch dimension of 1, ops that new graphs may no longer
    use (BatchNormWithGlobalNormalization), attributes that were not yet there in 2015.
    """
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(3, 3, 3, WIDTH)).astype(np.float32)
    variance = rng.uniform(0.5, 2, WIDTH).astype(np.float32)
    weights = rng.normal(size=(WIDTH, CLASSES)).astype(np.float32) / 10
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        contents = v1.constant(b"", name="DecodeJpeg/contents")
        decoded = v1.raw_ops.DecodeJpeg(contents=contents, channels=3, name="DecodeJpeg")
        batch = v1.expand_dims(v1.cast(decoded, tf.float32, name="Cast"), 0, name="ExpandDims")
        resized = v1.image.resize_bilinear(batch, [SIZE, SIZE], name="ResizeBilinear")
        x = v1.multiply(v1.subtract(resized, 128.0, name="Sub"), 1 / 128.0, name="Mul")
        x = tf.raw_ops.Conv2D(input=x, filter=kernel, strides=[1, 1, 1, 1], padding="VALID", name="conv/Conv2D")
        normalised = v1.identity(x, name="conv/batchnorm")
        for name, value in (("mean", 0.0), ("variance", variance), ("beta", 0.1), ("gamma", 1.0)):
            v1.constant(np.broadcast_to(np.float32(value), WIDTH).copy(), name=f"conv/batchnorm/{name}")
        x = v1.nn.relu(normalised, name="conv")
        pool = v1.nn.avg_pool2d(x, SIZE - 2, 1, "VALID", name="pool_3")
        rows = v1.reshape(pool, [1, WIDTH], name="pool_3/_reshape")
        logits = v1.matmul(rows, v1.constant(weights, name="softmax/weights"), name="softmax/logits/MatMul")
        v1.nn.softmax(v1.nn.bias_add(logits, np.arange(CLASSES, dtype=np.float32)), name="softmax")
    graph_def = graph.as_graph_def()
    graph_def.versions.producer = 8
    for node in graph_def.node:
        node.attr.pop("data_format", None)
        node.attr.pop("half_pixel_centers", None)
        node.attr.pop("explicit_paddings", None)
        node.attr.pop("dilations", None)
        if node.name == "conv/batchnorm":
            node.op = "BatchNormWithGlobalNormalization"
            node.input.extend(f"conv/batchnorm/{name}" for name in ("mean", "variance", "beta", "gamma"))
            node.attr["variance_epsilon"].f = 1e-3
            node.attr["scale_after_normalization"].b = False
    return graph_def.SerializeToString(), kernel, variance, weights


def resized_by_corners(images, size):
    """TensorFlow 1's bilinear rule: output pixel i reads the input at i * in / out, with no half-pixel offset."""
    for axis in (1, 2):
        length = images.shape[axis]
        position = np.arange(size, dtype=np.float64) * length / size
        low = np.floor(position).astype(int)
        share = (position - low).reshape([-1 if a == axis else 1 for a in range(4)])
        high = np.minimum(low + 1, length - 1)
        images = images.take(low, axis) * (1 - share) + images.take(high, axis) * share
    return images


def by_definition(images, kernel, variance, weights):
    """The small graph in NumPy, on uint8 images with 3 channels."""
    x = (resized_by_corners(images.astype(np.float64), SIZE) - 128) / 128
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    x = np.einsum("nhwcij,ijco->nhwo", windows, kernel) / np.sqrt(variance + 1e-3) + 0.1
    pool = np.maximum(x, 0).mean(axis=(1, 2))
    exponentials = np.exp(pool @ weights)
    return pool, exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def small_graph(tmp_path_factory):
    content, *parameters = small_inception()
    path = tmp_path_factory.mktemp("graph") / inception.GRAPH_FILE
    path.write_bytes(content)
    return path, parameters


@pytest.fixture
def accepted(monkeypatch):
    """Makes a file the one that is taken for the published graph, and returns it."""

    def accept(path):
        monkeypatch.setattr(inception, "GRAPH_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
        return path

    return accept


class TestInception:
    @pytest.mark.parametrize("shape", [(12, 12, 3), (7, 9, 3), (30, 25, 3)])
    def test_is_the_graph_for_any_batch_and_size(self, small_graph, accepted, shape):
        path, parameters = small_graph
        network = inception.InceptionFeatures(accepted(path))
        images = np.random.default_rng(1).integers(0, 256, (inception._BATCH + 8, *shape), dtype=np.uint8)
        rows, probabilities = network.outputs(images)
        expected_rows, expected_probabilities = by_definition(images, *parameters)
        assert rows.dtype == probabilities.dtype == np.float32
        assert (network.width, network.num_classes) == (WIDTH, CLASSES)
        np.testing.assert_allclose(rows, expected_rows, atol=1e-4)
        np.testing.assert_allclose(probabilities, expected_probabilities, atol=1e-5)  # no bias: the published score

    def test_computes_without_tensorfloat_32(self, small_graph, accepted, monkeypatch):
        import tensorflow as tf

        network, enabled = inception.InceptionFeatures(accepted(small_graph[0])), []
        run = tf.compat.v1.Session.run

        def recording(*args):
            enabled.append(tf.config.experimental.tensor_float_32_execution_enabled())
            return run(*args)

        monkeypatch.setattr(tf.compat.v1.Session, "run", recording)
        network.outputs(np.zeros((2, 12, 12, 3), np.uint8))[0]
        assert enabled == [False]

    def test_feeds_grey_images_as_three_equal_channels(self, small_graph, accepted):
        network = inception.InceptionFeatures(accepted(small_graph[0]))
        grey = np.random.default_rng(2).integers(0, 256, (3, 10, 10, 1), dtype=np.uint8)
        np.testing.assert_array_equal(network.outputs(grey)[0], network.outputs(grey.repeat(3, axis=-1))[0])

    def test_refuses_any_but_the_published_graph(self, small_graph):
        with pytest.raises(UserError, match="not the Inception graph of FID: its sha256 is [0-9a-f]{64}, and"):
            inception.InceptionFeatures(small_graph[0])

    def test_refuses_other_files_in_one_line(self, tmp_path, accepted):
        import tensorflow as tf

        with pytest.raises(UserError, match=r"absent\.pb: No such file"):
            inception.InceptionFeatures(tmp_path / "absent.pb")
        with tf.Graph().as_default() as other:
            tf.compat.v1.constant(1.0, name="softmax/logits/MatMul")
        no_nodes = tf.compat.v1.GraphDef()
        lacking, *_ = small_inception()
        lacking = tf.compat.v1.GraphDef.FromString(lacking)
        for node in lacking.node:
            node.name = node.name.replace("pool_3", "pool_4")
            node.input[:] = [name.replace("pool_3", "pool_4") for name in node.input]
        for content in (b"no graph", b"", *(g.SerializeToString() for g in (other.as_graph_def(), no_nodes, lacking))):
            (tmp_path / "g.pb").write_bytes(content)
            with pytest.raises(UserError, match=r"g\.pb is not a frozen Inception graph: ") as caught:
                inception.InceptionFeatures(accepted(tmp_path / "g.pb"))
            assert "\n" not in str(caught.value)


class TestFindGraph:
    def test_looks_at_the_path_then_in_the_folders(self, tmp_path):
        first, second = tmp_path / "first", tmp_path / "second"
        assert inception.find_graph(None, [None, first, second]) is None
        for path in (second / inception.GRAPH_FILE, first / "inception" / inception.GRAPH_FILE):
            path.parent.mkdir(parents=True)
            path.touch()
            assert inception.find_graph(None, [None, first, second]) == path
        assert inception.find_graph(second / inception.GRAPH_FILE, [first]) == second / inception.GRAPH_FILE
        with pytest.raises(UserError, match=r"--inception_graph=.*absent\.pb: there is no such file"):
            inception.find_graph(tmp_path / "absent.pb", [first])


class TestFetchGraph:
    def test_asks_for_the_published_file_where_it_is_found_again(self, tmp_path, monkeypatch):
        def fetch(address, target, sha256):
            assert (address, sha256) == (inception.GRAPH_URL, inception.GRAPH_SHA256)
            target.parent.mkdir(parents=True)
            target.touch()
            return target

        monkeypatch.setattr(inception.downloads, "fetch", fetch)
        assert inception.fetch_graph(tmp_path) == inception.find_graph(None, [tmp_path])

    def test_says_how_to_get_it_otherwise(self, tmp_path, monkeypatch):
        def fetch(*_):
            raise UserError("no network")

        monkeypatch.setattr(inception.downloads, "fetch", fetch)
        with pytest.raises(UserError) as caught:
            inception.fetch_graph(tmp_path)
        for part in ("no network", inception.GRAPH_FILE, inception.ARCHIVE_URL, str(tmp_path / "inception")):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_published_graph_gives_published_shapes():
    """Runs where the real file is: $KGAN_DATA_DIR has it."""
    path = inception.find_graph(None, [os.environ.get("KGAN_DATA_DIR")])
    if path is None:
        pytest.skip(f"{inception.GRAPH_FILE} is not in $KGAN_DATA_DIR")
    network = inception.InceptionFeatures(path)
    rows, probabilities = network.outputs(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    assert rows.shape == (3, 2048) and probabilities.shape == (3, 1008)
    assert network.protocol()["distance_name"] == "FID"
