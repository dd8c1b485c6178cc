"""Measures the cost of a step of the same algorithm in PyTorch, in a process without TensorFlow, whose memory would count too."""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import measuring
from benchmarks.step import PRODUCTS, WARM_UP, Case, Cost
from pixpro_tf.config import Config
from pixpro_tf.ops.cores import num_cores
from tests.support import reference_torch as reference


def measure(case: Case) -> Cost:
    """Measures the same algorithm in PyTorch, in this process."""
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
    seconds, products = measuring.in_turns([step, product], case.repeats)
    with FlopCounterMode(display=False) as counter:
        step()
    name = torch.cuda.get_device_name() if on_gpu else "CPU"
    peak = [2 * rows**3 / each for each in products]
    return Cost(name, counter.get_total_flops(), seconds, peak, [], megabytes, first_step)
