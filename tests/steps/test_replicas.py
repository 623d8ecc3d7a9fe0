"""Promise 2: the number of replicas does not change the maths."""

import re
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import sys
import keras, numpy as np, tensorflow as tf
replicas, target, options = int(sys.argv[1]), sys.argv[2], eval(sys.argv[3])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kgan import TrainConfig
from kgan.data.pipeline import step_batches
from kgan.models.architectures import Shapes
from kgan.steps.accumulation import build_step
from kgan.steps.state import create_state

for kinked in (keras.layers.LeakyReLU, keras.layers.ReLU):  # a kink makes jumps out of rounding
    kinked.call = lambda self, inputs: keras.ops.silu(inputs)
config = TrainConfig(dataset="folder", batch_size=8, g_lr=0.1, d_lr=0.1, conditional=True, **options)
single = tf.distribute.get_strategy()
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]) if replicas > 1 else single
random = np.random.default_rng(0)
images, labels = random.integers(0, 256, (40, 28, 28, 1), np.uint8), random.integers(0, 3, 40)
with strategy.scope():
    state = create_state(config, Shapes(28, 1, 3), 10, "float32", make_optimizer=keras.optimizers.SGD)
    step = build_step(config, state, strategy, xla=False)
batches = strategy.distribute_datasets_from_function(lambda _: step_batches(
    images, labels, seed=0, first_step=0, d_steps=config.d_steps, batch_size=8,
    num_replicas=replicas, replicas=range(replicas), num_parts=config.accumulate))
start = {"start/" + name: array for name, array in state.to_arrays().items()}
rows, _ = step(iter(batches), tf.constant(10))
np.savez(target, first_row=rows[0].numpy(), **start, **state.to_arrays())
"""


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            {"augment": "diffaug", "flip": True, "clip_norm": 0.5, "g_batch_multiplier": 2, "r1_weight": 0.1},
            marks=pytest.mark.slow,
        ),
        {"loss": "rpgan", "r1_weight": 0.1, "r2_weight": 0.1, "g_batch_multiplier": 2, "flip": True, "clip_norm": 0.5},
        {"d_steps": 2, "loss": "hinge", "spectral_norm": True, "gp_weight": 1.0, "accumulate": 2},
        pytest.param({"d_steps": 2, "loss": "hinge", "spectral_norm": True, "gp_weight": 1.0}, marks=pytest.mark.slow),
        pytest.param({"arch": "resnet", "width": 0.1, "loss": "hinge", "clip_norm": 0.5}, marks=pytest.mark.slow),
    ],
)
def test_two_replicas_do_as_one(tmp_path, options):
    results = []
    for replicas in (1, 2):
        target = tmp_path / f"{replicas}.npz"
        command = [sys.executable, "-c", SCRIPT, str(replicas), str(target), repr(options)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        results.append(np.load(target))
    one, two = results
    assert one["step"] == two["step"] == 10
    for name in one.files:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-5, err_msg=name)
    for network in ("generator", "discriminator"):
        moved = [
            np.abs(one[name] - one[f"start/{name}"]).max()
            for name in one.files
            if re.match(rf"{network}.*conv_2/kernel", name)
        ]
        assert moved and min(moved) > 1e-4
