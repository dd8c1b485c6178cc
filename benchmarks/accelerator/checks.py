"""Checks of an accelerator, each in a process of its own.

    python -m benchmarks.accelerator.checks NAME

prints a JSON object: `passed`, null for a check that only measures, and `found`, a line about what was found. The device is the first GPU, or the CPU on a machine without one.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import numpy as np
import tensorflow as tf
from PIL import Image

from pixpro_tf.config import Config
from pixpro_tf.data import pipeline
from pixpro_tf.data.sources.folders import FolderSource
from pixpro_tf.data.views.photometric import Photometric
from pixpro_tf.ops.cores import num_cores
from pixpro_tf.storage import checkpoint_files
from pixpro_tf.training.strategy import set_numerics

# Whether the check passed, None for one that only measures, and what was found.
Result = tuple[bool | None, str]

# Sizes are smaller without a GPU.
_ON_CPU = not tf.config.list_physical_devices("GPU")
# Like ImageNet's: 110 KB each.
_WIDTH, _HEIGHT, _IMAGES = 500, 375, 256


def _device() -> str:
    return "/gpu:0" if tf.config.list_physical_devices("GPU") else "/cpu:0"


def xla() -> Result:
    """XLA compiles for the device, also functions of its mathematical library, and computes what TensorFlow computes."""

    def function(x):
        return tf.reduce_sum(tf.math.erf(tf.exp(tf.matmul(x, x, transpose_b=True))), 0)

    with tf.device(_device()):
        x = tf.random.stateless_normal([64, 64], [0, 1]) / 8
        started = time.perf_counter()
        compiled = tf.function(function, jit_compile=True)(x)
        seconds = time.perf_counter() - started
    difference = float(tf.reduce_max(tf.abs(compiled - function(x))))
    where = compiled.device.rpartition("/")[2]
    # The product is true float32 only without TF32, which `set_numerics` turns off.
    return bool(difference < 1e-3) and (
        _ON_CPU or "GPU" in where
    ), f"on {where} in {seconds:.1f} s, largest difference {difference:.1e}"


def golden() -> Result:
    """Two steps of a ResNet-50 in float32 agree with the numbers of the authors' implementation."""
    return _golden("float32")


def golden64() -> Result:
    """The same in float64, in which rounding does not hide anything."""
    return _golden("float64")


def _golden(precision: str) -> Result:
    from tests.support import golden as expected

    steps = expected.two_steps(precision, graph=True)
    losses, gradients, passed = [], [], True
    for number, step in enumerate(steps):
        loss = abs(step["loss"] - float(expected.GOLDEN[f"pixpro/step{number}/loss"]))
        norms = max(
            abs(expected.norm_and_values(step["grad"][name])[0] / value[0] - 1)
            for name, value in expected.entries(number, "grad").items()
        )
        passed &= loss <= expected.LOSS_TOLERANCE[precision][number]
        # In float32, gradients of the second step depend on the rounding of the device: activations near 0 take the other side of a ReLU.
        if number == 0 or precision == "float64":
            passed &= norms <= expected.GRADIENT_TOLERANCE[precision][number]
        losses.append(f"{loss:.1e}")
        gradients.append(f"{norms:.1e}")
    return (
        bool(passed),
        f"loss differs by {', '.join(losses)}; norms of gradients by at most {', '.join(gradients)}",
    )


def replicas() -> Result:
    """Two replicas with half of the images each on one device train the same weights as one replica, in float64."""
    strategy = _two_replicas()
    from tests.support.replicas import CASES, train

    flags, precision = CASES["pixpro_float64"]
    with tempfile.TemporaryDirectory() as folder:
        _write_noise(folder, 16, 80, 64)
        config = Config(
            dataset=f"folder:{folder}",
            num_devices=2,
            image_size=64,
            batch_size=16,
            augmentation="none",
            backbone="resnet10w0.5",
            projector_hidden=64,
            projector_dim=32,
            ema_momentum=0.9,
            **flags,
        )
        _, both = train(config, strategy, precision)
        _, alone = train(config, tf.distribute.OneDeviceStrategy(_device()), precision)
    largest = max(
        np.abs(both[name] - alone[name]).max() / max(np.abs(alone[name]).max(), 1e-6)
        for name in alone
    )
    return bool(largest < 1e-9), f"weights differ by at most {largest:.1e} after five steps"


def batch_norm() -> Result:
    """Bytes and time of one synchronised batch norm between two replicas, relative to one that is not synchronised."""
    from pixpro_tf.layers.batch_norm import BatchNorm

    set_numerics(Config())
    strategy = _two_replicas()
    shape = [8, 28, 28, 64] if _ON_CPU else [64, 56, 56, 256]

    def seconds(strategy, images):
        with strategy.scope():
            layer = BatchNorm()
            layer.build([None, *shape[1:]])

        # Drawing them would take longer than what is measured.
        given = strategy.experimental_distribute_values_from_function(
            lambda _: tf.random.stateless_normal([images, *shape[1:]], [0, 1])
        )

        def both_passes(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(layer(x, training=True) ** 2)
            return tf.reduce_sum(tape.gradient(loss, x))

        run = tf.function(lambda: strategy.run(both_passes, args=(given,)))
        taken = []
        for _ in range(12):
            started = time.perf_counter()
            for result in strategy.experimental_local_results(run()):
                result.numpy()
            taken.append(time.perf_counter() - started)
        return float(np.median(taken[2:]))

    alone = seconds(tf.distribute.OneDeviceStrategy(_device()), shape[0])
    both = seconds(strategy, shape[0] // 2)
    # Sums of x and of its square, then both sums of the gradient, in float32.
    size = 2 * 2 * shape[-1] * 4
    return None, (
        f"{shape}: {both * 1e3:.2f} ms in two replicas, {alone * 1e3:.2f} ms in one; {size} bytes between replicas in each direction"
    )


def input_rate() -> Result:
    """Pairs of views per second that the cores of this machine prepare, and from how many images on an accelerator waits."""
    set_numerics(Config())
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        _write_noise(folder, _IMAGES // (4 if _ON_CPU else 1), _WIDTH, _HEIGHT)
        for place, photometric in (("host", Photometric(Config.augmentation)), ("device", None)):
            batches = iter(
                pipeline.training_dataset(
                    FolderSource(folder),
                    batch_size=32,
                    image_size=Config.image_size,
                    min_crop_area=Config.min_crop_area,
                    seed=0,
                    photometric=photometric,
                )
            )
            for _ in range(3):
                next(batches)
            done, started = 0, time.perf_counter()
            while (passed := time.perf_counter() - started) < 8.0:
                next(batches)
                done += 32
            rates[place] = done / passed
    texts = [f"{rate:.0f} with --augment_on={place}" for place, rate in rates.items()]
    return None, f"{' and '.join(texts)} pairs/s on {num_cores()} cores"


def resume() -> Result:
    """A run with default flags that is killed and resumed ends with the same weights, bit for bit, as one that is not."""
    steps, every = (12, 4) if _ON_CPU else (400, 20)
    with tempfile.TemporaryDirectory() as folder:
        _write_noise(f"{folder}/images", 64, 96, 80)
        command = [sys.executable, "train.py", f"--dataset=folder:{folder}/images"]
        command += ["--backbone=resnet10w0.5", "--image_size=64", "--batch_size=16", "--epochs=50"]
        command += [f"--max_steps={steps}", f"--checkpoint_every={every}", "--log_every=1"]
        command.append("--strategy=one_device")
        whole, killed = f"{folder}/whole", f"{folder}/killed"
        _finish([*command, f"--run_dir={whole}"])
        process = subprocess.Popen(
            [*command, f"--run_dir={killed}"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        index = pathlib.Path(killed, "checkpoints", f"step-{every}.index")
        # The checkpoint is written in the background.
        for _ in process.stdout:
            if index.exists():
                process.send_signal(signal.SIGKILL)
        process.wait()
        resumed = _finish([*command, f"--run_dir={killed}"])
        newest = [
            checkpoint_files.find_checkpoint(os.path.join(run, "checkpoints"))
            for run in (whole, killed)
        ]
        readers = [tf.train.load_checkpoint(path) for path in newest]
        names = [
            name
            for name in readers[0].get_variable_to_shape_map()
            if "ATTRIBUTES" in name and "save_counter" not in name
        ]
        different = [
            name
            for name in names
            if readers[0].get_tensor(name).tobytes() != readers[1].get_tensor(name).tobytes()
        ]
    at = "resuming from step" in resumed
    return at and not different, (
        f"killed after the checkpoint of step {every}, {'resumed' if at else 'not resumed'}; {len(different)} of {len(names)} tensors differ at step {steps}"
    )


def _finish(command: list[str]) -> str:
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(process.stderr.strip().splitlines()[-1])
    return process.stdout


def _two_replicas() -> tf.distribute.Strategy:
    """Returns a strategy over two logical devices of the same device; must be called before TensorFlow uses it."""
    kind = "CPU" if _ON_CPU else "GPU"
    device = tf.config.list_physical_devices(kind)[0]
    # A logical GPU needs a share of the memory, in megabytes.
    limit = {} if _ON_CPU else {"memory_limit": 4096}
    parts = [tf.config.LogicalDeviceConfiguration(**limit)] * 2
    tf.config.set_logical_device_configuration(device, parts)
    # NCCL does not connect replicas on one GPU.
    return tf.distribute.MirroredStrategy(
        [f"/{kind.lower()}:{index}" for index in range(2)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def _write_noise(folder: str, count: int, width: int, height: int) -> None:
    """Writes JPEGs of smooth noise, of about the size of photographs."""
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for index in range(count):
        coarse = random.integers(0, 256, [height // 4, width // 4, 3], np.uint8)
        fine = random.integers(-24, 25, [height, width, 3])
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.clip(np.asarray(smooth, np.int32) + fine, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(f"{folder}/{index:04d}.jpg", quality=85)


CHECKS = {
    "xla": xla,
    "golden": golden,
    "golden64": golden64,
    "replicas": replicas,
    "resume": resume,
    "input": input_rate,
    "batch_norm": batch_norm,
}

if __name__ == "__main__":
    tf.config.experimental.enable_tensor_float_32_execution(False)
    for gpu in tf.config.list_physical_devices("GPU"):
        if sys.argv[1] not in ("replicas", "batch_norm"):
            tf.config.experimental.set_memory_growth(gpu, True)
    passed, found = CHECKS[sys.argv[1]]()
    print(json.dumps({"passed": passed, "found": found}))
