"""Time, arithmetic and memory of a training step, on one device.

    python -m benchmarks.step
    python -m benchmarks.step --backbones=resnet18,resnet50 --batch_sizes=8,16 --precisions=float32,bfloat16 --jit_modes=ppm,step
    python -m benchmarks.step --recipe=configs/pixpro_fpn.flags --batch_sizes=8,24 --repeats=1

The step is that of `train.py` with the flags of the main recipe, or of `--recipe`, on random views that are in memory. Each row comes from
a process of its own (Linux only, for the memory). `images/s` counts images, of which a step sees two views. `GFLOP/s` counts the
convolutions and matrix products of the method (see `flops.py`), and `of peak` is that against a product of two 4096 x 4096 matrices in the
row's precision, timed after each step. `first step` begins with the making of the model. `MB` is the peak of the whole process, or of the
GPU's memory, before those products; two batch sizes or more also give the memory of each additional image. With --augment_on=device,
`colours` is the share of the photometric work, timed alone.

With --torch, the same algorithm in plain PyTorch (`tests/support/reference_torch.py`: eager, NCHW) in float32.
"""

import argparse
import collections
import dataclasses
import itertools
import json
import statistics
import sys
import time

from benchmarks import measuring
from benchmarks.measuring import positive, positive_numbers
from pixpro_tf.cli.commands import exit_code_of, quiet_tensorflow
from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError
from pixpro_tf.training import command

# What train.py's flags allow.
CHOICES = {field.name: field.metadata["choices"] for field in dataclasses.fields(Config)}
PRODUCT = 4096
# Of the schedules; any number that is not reached.
STEPS_PER_EPOCH = 1000
# Images of each GPU: the recipes' batches of 1024 on eight.
PER_GPU = 128
# Before the steps that count; memory has reached its height then.
WARM_UP = 2


@dataclasses.dataclass(frozen=True)
class Case:
    """What a row is of."""

    backbone: str
    batch_size: int
    precision: str
    jit: str
    augment_on: str = "host"
    image_size: int = 224
    repeats: int = 7
    recipe: str = ""

    def config(self) -> Config:
        """Of a run with the recipe's flags and these."""
        flags = {
            "strategy": "one_device",
            "tpu": "",
            "backbone": self.backbone,
            "batch_size": self.batch_size,
            "precision": self.precision,
            "jit": self.jit,
            "augment_on": self.augment_on,
            "image_size": self.image_size,
        }
        file = [f"--flagfile={self.recipe}"] if self.recipe else []
        found = command.parse(
            ["train.py", *file, *(f"--{name}={value}" for name, value in flags.items())]
        )
        assert found is not None
        return found


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of a case.

    Attributes:
        device: its name.
        flops: of a step.
        seconds: of each step.
        product_flops: FLOP/s of the matrix product after each step.
        colours: seconds of the photometric work, one for each step; none where the step does not do it.
        megabytes: at the peak.
        first_step: seconds.
    """

    device: str
    flops: int
    seconds: list[float]
    product_flops: list[float]
    colours: list[float]
    megabytes: float
    first_step: float

    @property
    def of_peak(self) -> list[float]:
        """Shares of the peak, one for each step."""
        pairs = zip(self.seconds, self.product_flops, strict=True)
        return [self.flops / seconds / peak for seconds, peak in pairs]


def measure(case: Case) -> Cost:
    """Measures in this process."""
    import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

    # isort: split
    import tensorflow as tf

    from benchmarks.flops import flops_of
    from pixpro_tf.training.strategy import make_strategy, set_numerics

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

    matrix = tf.cast(tf.random.stateless_normal([PRODUCT, PRODUCT], [0, 0]), case.precision)

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
    # Last, for it leaves a graph behind.
    flops = flops_of(model.train_step, batch)
    peak = [2 * PRODUCT**3 / each for each in products]
    return Cost(name, flops, seconds, peak, rest[0] if rest else [], megabytes, first_step)


def model_and_step(config: Config, strategy, batch) -> tuple:
    """The model of a run, and a function that makes one step of it on a batch, as `fit` does, and returns the loss.

    Args:
        config: of the run.
        strategy: of `tf.distribute`.
        batch: what a distributed dataset gives.
    """
    from pixpro_tf import build

    with strategy.scope():
        learning_rate = build.build_schedule(config, STEPS_PER_EPOCH)
        model = build.build_compiled_model(config, learning_rate, config.epochs * STEPS_PER_EPOCH)
    train, endless = model.make_train_function(), itertools.repeat(batch)
    return model, lambda: float(train(endless)["loss"])


def _in_turns(works, rounds):
    """Seconds of each work in every round, so that what else the machine does meets all of them."""
    taken = [[measuring.seconds_of(work) for work in works] for _ in range(rounds)]
    return [list(each) for each in zip(*taken, strict=True)]


def random_batch(config: Config, batch_size: int) -> dict:
    """As the pipeline hands it over."""
    import tensorflow as tf

    def view(seed):
        shape = [batch_size, config.image_size, config.image_size, 3]
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
    """The same algorithm in PyTorch, in this process."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from pixpro_tf.data.parallelism import num_cores
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
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    sgd = torch.optim.SGD(trained, lr=1e-3, momentum=Config.momentum)

    def step():
        model.follow(Config.ema_momentum)
        loss = model.loss(*views, *boxes)
        sgd.zero_grad()
        loss.backward()
        reference.adapt_gradients(trained, Config.weight_decay, Config.trust_coefficient)
        sgd.step()
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
    matrix = torch.randn([PRODUCT, PRODUCT], device=device)

    def product():
        return (matrix @ matrix)[0, 0].item()

    product()
    seconds, products = _in_turns([step, product], case.repeats)
    with FlopCounterMode(display=False) as counter:
        step()
    name = torch.cuda.get_device_name() if on_gpu else "CPU"
    peak = [2 * PRODUCT**3 / each for each in products]
    return Cost(name, counter.get_total_flops(), seconds, peak, [], megabytes, first_step)


def table(rows: list[tuple[Case, str, Cost | str]]) -> str:
    """A row for each case: medians, and ranges behind them."""
    lines = [
        f"{'backbone':<17}{'batch':>5}  {'precision':<10}{'jit':<6}{'images/s':>8}  {'s/step':<22}{'GFLOP':>6}{'GFLOP/s':>9}"
        f"  {'of peak':<16}{'peak':>6}{'colours':>9}{'MB':>7}{'first step':>12}"
    ]
    for case, framework, cost in rows:
        mode = framework if framework == "torch" else case.jit
        line = f"{case.backbone:<17}{case.batch_size:>5}  {case.precision:<10}{mode:<6}"
        if isinstance(cost, str):
            lines.append(f"{line}  {cost}")
            continue
        step = statistics.median(cost.seconds)
        seconds = f"{step:.3f} ({measuring.spread(cost.seconds, '.3f')})"
        shares = [100 * share for share in cost.of_peak]
        of_peak = f"{statistics.median(shares):.0f} % ({measuring.spread(shares, '.0f')})"
        colours = f"{statistics.median(cost.colours) / step:.1%}" if cost.colours else ""
        lines.append(
            f"{line}{case.batch_size / step:>8.2f}  {seconds:<22}{cost.flops / 1e9:>6.1f}{cost.flops / 1e9 / step:>9.1f}"
            f"  {of_peak:<16}{statistics.median(cost.product_flops) / 1e9:>6.0f}{colours:>9}{cost.megabytes:>7.0f}"
            f"{cost.first_step:>10.1f} s"
        )
    return "\n".join(lines)


def ratios(rows: list[tuple[Case, str, Cost | str]]) -> str:
    """Of each case that was also run in PyTorch: how many times as many images a second."""
    of_torch = {case: cost for case, framework, cost in rows if framework == "torch"}
    lines = []
    for case, framework, cost in rows:
        other = of_torch.get(dataclasses.replace(case, jit="off", augment_on="host"))
        if framework == "torch" or isinstance(cost, str) or other is None or isinstance(other, str):
            continue
        ratio = statistics.median(other.seconds) / statistics.median(cost.seconds)
        lines.append(
            f"{case.backbone}, {case.batch_size} images, --jit={case.jit}: {ratio:.2f} times PyTorch's images/s"
        )
    return "\n".join(lines)


def memory_by_image(rows: list[tuple[Case, str, Cost | str]]) -> str:
    """Memory of each additional image, and of a GPU's share of the batch: one line for all cases that differ only in batch size."""
    peaks: dict[tuple[Case, str], dict[int, float]] = collections.defaultdict(dict)
    for case, framework, cost in rows:
        if isinstance(cost, Cost):
            alike = dataclasses.replace(case, batch_size=0), framework
            peaks[alike][case.batch_size] = cost.megabytes
    lines = []
    for (case, framework), by_size in peaks.items():
        small, large = min(by_size), max(by_size)
        if small == large:
            continue
        each = (by_size[large] - by_size[small]) / (large - small)
        mode = framework if framework == "torch" else f"--jit={case.jit}"
        lines.append(
            f"{case.backbone}, {case.precision}, {mode}: {each:.0f} MB an image, {by_size[small] - small * each:.0f} MB beside; "
            f"{(by_size[small] + (PER_GPU - small) * each) / 1e3:.1f} GB with {PER_GPU} images"
        )
    return "\n".join(lines)


def _cases(flags) -> list[tuple[Case, str]]:
    cases = []
    for backbone in flags.backbones:
        for batch_size in flags.batch_sizes:
            sizes = {
                "image_size": flags.image_size,
                "repeats": flags.repeats,
                "recipe": flags.recipe,
            }
            for precision in flags.precisions:
                for jit in flags.jit_modes:
                    case = Case(backbone, batch_size, precision, jit, flags.augment_on, **sizes)
                    cases.append((case, "tensorflow"))
            if flags.torch:
                case = Case(backbone, batch_size, "float32", "off", **sizes)
                cases.append((case, "torch"))
    return cases


def _several_of(flag):
    choices = CHOICES[flag]

    def parse(text):
        found = [part.strip() for part in text.split(",")]
        for each in found:
            if each not in choices:
                raise argparse.ArgumentTypeError(
                    f"{each} is not known; choose from {', '.join(choices)}"
                )
        return found

    return parse


def main(arguments: list[str]) -> None:
    """Runs a command line, without the command's name."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", type=_several_of("backbone"), default=["resnet50"])
    parser.add_argument("--batch_sizes", type=positive_numbers, default=[8])
    parser.add_argument("--precisions", type=_several_of("precision"), default=["float32"])
    parser.add_argument("--jit_modes", type=_several_of("jit"), default=["ppm"])
    parser.add_argument("--augment_on", default="host", choices=CHOICES["augment_on"])
    parser.add_argument("--image_size", type=positive, default=224, help="side of a view")
    parser.add_argument("--repeats", type=positive, default=7, help="steps timed of each case")
    parser.add_argument(
        "--recipe",
        default="",
        help="flag file of the run to measure; the flags of this command override it",
    )
    parser.add_argument("--torch", action="store_true", help="PyTorch too")
    parser.add_argument("--json", help="file to write the results to")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--framework", help=argparse.SUPPRESS)
    flags = parser.parse_args(arguments)
    if flags.torch and flags.recipe:
        raise ConfigError("--torch measures the main recipe only; leave out --recipe")
    quiet_tensorflow()
    if flags.case:
        case = Case(**json.loads(flags.case))
        cost = measure_torch(case) if flags.framework == "torch" else measure(case)
        print(json.dumps(vars(cost)))
        return

    rows: list[tuple[Case, str, Cost | str]] = []
    for case, framework in _cases(flags):
        found = measuring.apart(
            "benchmarks.step", f"--case={json.dumps(vars(case))}", f"--framework={framework}"
        )
        rows.append((case, framework, found if isinstance(found, str) else Cost(**found)))
    devices = {cost.device for _, _, cost in rows if isinstance(cost, Cost)}
    print(", ".join(sorted(devices)))
    print(table(rows))
    if by_image := memory_by_image(rows):
        print(by_image)
    if flags.torch:
        print(ratios(rows))
    if flags.json:
        results = [
            {"framework": framework, "case": vars(case), "cost": _plain(cost)}
            for case, framework, cost in rows
        ]
        with open(flags.json, "w") as file:
            json.dump(results, file, indent=2)


def _plain(cost):
    return cost if isinstance(cost, str) else vars(cost)


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(sys.argv[1:])))
