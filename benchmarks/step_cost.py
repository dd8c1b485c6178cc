"""Measures the cost of a training step in this process, with this library or with the same algorithm in PyTorch."""

import itertools
import time

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from benchmarks import measuring
from benchmarks.flops import flops_of
from benchmarks.step import PRODUCTS, STEPS_PER_EPOCH, WARM_UP, Case, Cost
from pixpro_tf import build
from pixpro_tf.config import Config
from pixpro_tf.data.parallelism import num_cores
from pixpro_tf.training.strategy import make_strategy, set_numerics


def measure(case: Case) -> Cost:
    """Measures a case in this process."""
    config = case.config()
    set_numerics(config)
    strategy = make_strategy(config.strategy)
    gpus = tf.config.list_physical_devices("GPU")
    batch = random_batch(config, config.batch_size)

    started = time.perf_counter()
    model, step = model_and_step(config, strategy, batch)
    step()
    first_step = time.perf_counter() - started
    for _ in range(WARM_UP):
        step()
    if gpus:
        megabytes = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6
    else:
        megabytes = measuring.memory()["VmHWM"]

    def colours():
        assert model.photometric is not None
        for view in (1, 2):
            last = model.photometric(batch[f"view_{view}"], batch["seed"], view)
        return float(last[0, 0, 0, 0])

    rows = PRODUCTS["GPU" if gpus else "CPU"]
    matrix = tf.cast(tf.random.stateless_normal([rows, rows], [0, 0]), case.precision)

    @tf.function
    def multiply():
        return tf.matmul(matrix, matrix)[0, 0]

    def product():
        return float(multiply())

    product()
    works = [step, product] + ([colours] if config.augment_on == "device" else [])
    seconds, products, *rest = _in_turns(works, case.repeats)
    name = "CPU"
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0])["device_name"]
    # Counted last, because counting leaves a graph in memory.
    flops = flops_of(model.train_step, batch)
    peak = [2 * rows**3 / each for each in products]
    return Cost(name, flops, seconds, peak, rest[0] if rest else [], megabytes, first_step)


def model_and_step(config: Config, strategy, batch) -> tuple:
    """Builds the model of a run, and a function that trains it for one step on a batch, as `fit` does, and returns the loss.

    Args:
        config: flags of the run.
        strategy: strategy of `tf.distribute`.
        batch: batch as a distributed dataset yields it.
    """
    config = config.with_epochs(STEPS_PER_EPOCH)
    with strategy.scope():
        learning_rate = build.build_schedule(config, STEPS_PER_EPOCH)
        model = build.build_compiled_model(config, learning_rate, config.epochs * STEPS_PER_EPOCH)
    train, endless = model.make_train_function(), itertools.repeat(batch)
    return model, lambda: float(train(endless)["loss"])


def _in_turns(works, rounds):
    """Returns the seconds of each function in every round; they take turns, so that other load on the machine affects all."""
    taken = [[measuring.seconds_of(work) for work in works] for _ in range(rounds)]
    return [list(each) for each in zip(*taken, strict=True)]


def random_batch(config: Config, batch_size: int) -> dict:
    """Returns a random batch in the format of the input pipeline."""

    def view(seed):
        shape = [batch_size, config.image_size, config.image_size, config.image_channels.count]
        if config.augment_on == "device":
            levels = tf.random.stateless_uniform(shape, [0, seed], 0, 256, tf.int32)
            return tf.cast(levels, tf.uint8)
        return tf.random.stateless_normal(shape, [0, seed])

    def boxes(*box):
        return tf.constant([box] * batch_size)

    batch = {
        "view_1": view(1),
        "view_2": view(2),
        "box_1": boxes(0.1, 0.1, 0.7, 0.8),
        "box_2": boxes(0.9, 0.2, 0.2, 0.9),
    }
    if config.augment_on == "device":
        batch["seed"] = tf.random.stateless_uniform([batch_size, 2], [0, 3], None, None, tf.int32)
    return batch


def measure_torch(case: Case) -> Cost:
    """Measures the same algorithm in PyTorch, in this process."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from tests.support import reference_torch as reference

    torch.set_num_threads(num_cores())
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    shape = [case.batch_size, 3, case.image_size, case.image_size]
    views = [torch.randn(shape, device=device) for _ in range(2)]
    boxes = [
        torch.tensor([box] * case.batch_size, device=device)
        for box in ([0.1, 0.1, 0.7, 0.8], [0.9, 0.2, 0.2, 0.9])
    ]

    started = time.perf_counter()
    model = reference.PixPro(
        backbone=case.backbone,
        output_stride=Config.output_stride,
        hidden=Config.projector_hidden,
        dim=Config.projector_dim,
        ppm_layers=Config.ppm_layers,
        gamma=Config.gamma,
        positive_threshold=Config.positive_threshold,
        instance_weight=Config.instance_weight,
    ).to(device)
    model.train()
    half = case.precision != "float32"
    if half:
        model = model.to(memory_format=torch.channels_last)
        views = [view.contiguous(memory_format=torch.channels_last) for view in views]
    autocast = torch.autocast(device.type, getattr(torch, case.precision), enabled=half)
    # float16 loses small gradients without it.
    scaler = torch.amp.GradScaler(device.type, enabled=case.precision == "float16")
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    sgd = torch.optim.SGD(trained, lr=1e-3, momentum=Config.momentum)

    def step():
        model.follow(Config.ema_momentum)
        with autocast:
            loss = model.loss(*views, *boxes)
        sgd.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(sgd)
        reference.adapt_gradients(trained, Config.weight_decay, Config.trust_coefficient)
        scaler.step(sgd)
        scaler.update()
        if on_gpu:
            torch.cuda.synchronize()
        return loss.item()

    step()
    first_step = time.perf_counter() - started
    for _ in range(WARM_UP):
        step()
    if on_gpu:
        megabytes = torch.cuda.max_memory_allocated() / 1e6
    else:
        megabytes = measuring.memory()["VmHWM"]
    rows = PRODUCTS["GPU" if on_gpu else "CPU"]
    matrix = torch.randn([rows, rows], device=device, dtype=getattr(torch, case.precision))

    def product():
        return (matrix @ matrix)[0, 0].item()

    product()
    seconds, products = _in_turns([step, product], case.repeats)
    with FlopCounterMode(display=False) as counter:
        step()
    name = torch.cuda.get_device_name() if on_gpu else "CPU"
    peak = [2 * rows**3 / each for each in products]
    return Cost(name, counter.get_total_flops(), seconds, peak, [], megabytes, first_step)
