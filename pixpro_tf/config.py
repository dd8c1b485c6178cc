"""What a run is, in one frozen dataclass: each field is one flag, with its type, default, unit and help.

Nothing here imports TensorFlow, so that a mistake in a flag is reported at once.
"""

import dataclasses
import difflib
import functools
import json
import math
import os
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from pixpro_tf.errors import ConfigError

BACKBONES = (
    "resnet10w0.5",
    "resnet10",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet18d",
    "resnet34d",
    "resnet50d",
    "resnet101d",
    "resnet152d",
    "resnet50w2",
    "resnext101_32x8d",
    "resnext152_32x8d",
)
# What --dataset begins with where it is not TFDS that keeps the images.
OF_FILES = ("folder:", "zip:", "tfrecord:")
AUGMENTATIONS = (
    "byol",
    "byol_symmetric",
    "moco_v2",
    "simclr",
    "simclr_grey",
    "inst_disc",
    "rand_augment",
    "none",
)


_Value = TypeVar("_Value", bound=bool | int | float | str)


def _flag(
    default: _Value,
    group: str,
    help_text: str,
    *,
    choices: Sequence[str] | None = None,
    unit: str = "",
    minimum: float | None = None,
    fixed: bool = True,
) -> _Value:
    """A field that is a flag.

    Args:
        default: which also gives the type.
        group: heading under which `--help` shows it.
        help_text: what it does.
        choices: values allowed, of a string flag.
        unit: shown in the help.
        minimum: smallest value allowed, of a number.
        fixed: whether a run keeps the value for life; others may change when it is resumed.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "group": group,
            "help": help_text,
            "choices": choices,
            "unit": unit,
            "minimum": minimum,
            "fixed": fixed,
        },
    )


@dataclasses.dataclass(frozen=True)
class Config:
    """One pre-training run. See `python train.py --help`, which is made from these fields."""

    dataset: str = _flag(
        "imagenet2012",
        "Data",
        "images to learn from: a TFDS name (imagenet2012, coco/2017, voc/2007+2012), folder:PATH with JPEG and PNG files at any "
        "depth, zip:FILE with such files in one archive, tfrecord:GLOB with records "
        "that pixpro_tf.tfrecords has written, or the embedded scenes/128, scenes/256 and scenes/128_plain, which build themselves",
    )
    data_dir: str = _flag(
        "",
        "Data",
        "where TFDS keeps prepared datasets; empty for its default, ~/tensorflow_datasets",
        fixed=False,
    )
    split: str = _flag(
        "",
        "Data",
        "split of a TFDS dataset; empty for all its training images (scenes: unlabelled)",
    )
    image_size: int = _flag(224, "Data", "side of the square views", unit="pixels", minimum=1)
    min_crop_area: float = _flag(0.08, "Data", "smallest area of a crop", unit="share of the image")
    max_crop_area: float = _flag(1.0, "Data", "largest area of a crop", unit="share of the image")
    augmentation: str = _flag(
        "byol",
        "Data",
        "photometric policy; byol treats the two views differently, byol_symmetric both by the mean of that; simclr_grey leaves no colour",
        choices=AUGMENTATIONS,
    )
    augment_on: str = _flag(
        "host",
        "Data",
        "where photometric work runs: in the input pipeline, or in the training step on the accelerator",
        choices=("host", "device"),
        fixed=False,
    )
    on_bad_image: str = _flag(
        "stop",
        "Data",
        "stop: a file that cannot be read as an image ends the run with its name; "
        "skip: all files are decoded once before the run, the bad ones named, counted and left out",
        choices=("stop", "skip"),
    )
    shuffle_buffer: int = _flag(
        8192,
        "Data",
        "reach of the shuffling within TFRecord files, TFDS's too; folders and archives are shuffled as a whole",
        unit="images",
        minimum=1,
    )
    data_service: str = _flag(
        "",
        "Data",
        "where pixpro_tf.data_service makes the views, as grpc://host1:5050,grpc://host2:5050; it reads the images from the same paths; "
        "empty makes them in this process",
        fixed=False,
    )
    cache: str = _flag(
        "off",
        "Data",
        "where encoded images are kept after a first reading of all of them: ram, or disk, which later runs share; for images that come "
        "over a network",
        choices=("off", "ram", "disk"),
        fixed=False,
    )
    cache_dir: str = _flag(
        "~/.cache/pixpro_tf",
        "Data",
        "of --cache=disk, on this machine; known by the images' names, so delete it where they change",
        fixed=False,
    )
    data_workers: int = _flag(
        0,
        "Data",
        "images decoded in parallel on a host; 0 is one for each of its cores, or with --data_service what tf.data chooses there",
        minimum=0,
        fixed=False,
    )

    backbone: str = _flag("resnet50", "Model", "network to pre-train", choices=BACKBONES)
    backbone_layout: str = _flag(
        "torchvision",
        "Model",
        "torchvision: symmetric padding, stride on the 3x3; od_api: symmetric padding, stride on the first 1x1, for the TF "
        "Object Detection API; model_garden: SAME padding, stride on the 3x3, for TF Model Garden; mirror: as torchvision, padded by the "
        "mirrored map, for small views, where zeros tell every bin its place; only SavedModels take it along",
        choices=("torchvision", "od_api", "model_garden", "mirror"),
    )
    output_stride: int = _flag(
        32,
        "Model",
        "32, 16 or 8: below 32 the last stages dilate instead of striding",
        unit="pixels",
    )
    zero_init_residual: bool = _flag(
        True,
        "Model",
        "the last BN scale of every residual block starts at 0, as the authors' does; at 1 the loss of a short run falls sooner",
    )
    pixel_levels: str = _flag(
        "c5",
        "Model",
        "maps that the pixel loss compares: c2 to c5 of the backbone, p2 to p7 of an FPN that is pre-trained with it; as p3,p4,p5",
    )
    fpn_channels: int = _flag(256, "Model", "of every level", unit="channels", minimum=1)
    dense_head_layers: int = _flag(
        0,
        "Model",
        "3x3 convolutions behind every level of the FPN, as dense detectors have four; 0 is none",
        minimum=0,
    )
    projector_hidden: int = _flag(
        4096,
        "Model",
        "channels inside the projector (the paper says 2048)",
        unit="channels",
        minimum=1,
    )
    projector_dim: int = _flag(256, "Model", "channels of a projection", unit="channels", minimum=1)
    projector_layers: int = _flag(
        2, "Model", "1x1 convolutions of the pixel projector", unit="layers", minimum=1
    )
    projector_final_norm: bool = _flag(
        False,
        "Model",
        "BN behind the projectors' last layer too, which keeps small batches from drifting to a constant",
    )
    shared_projector: bool = _flag(
        True, "Model", "one projector and propagation for all levels, or one for each"
    )
    ema_momentum: float = _flag(
        0.99, "Model", "momentum of the target network in step 0; a cosine takes it to 1"
    )
    init_from: str = _flag(
        "",
        "Model",
        "weights to start from: a run's folder, a checkpoint, a SavedModel, or a TF Hub handle (folder, .tar.gz, gs://, https://); "
        "a SavedModel is a program: load only those you trust",
    )

    pixel_weight: float = _flag(
        1.0,
        "Objectives",
        "weight of the pixel loss; 0 leaves the instance branch alone",
        minimum=0,
    )
    pixel_loss: str = _flag(
        "pixpro",
        "Objectives",
        "pixpro: a propagated bin predicts those of the same place; pixcontrast: it tells them from the others, without propagation",
        choices=("pixpro", "pixcontrast"),
    )
    propagation: bool = _flag(
        True,
        "Objectives",
        "pixpro: a bin predicts by what is propagated to it; without it, by its own transform alone",
    )
    ppm_layers: int = _flag(
        1,
        "Objectives",
        "pixpro: layers of the transform g in the propagation module, 0 to 3",
        minimum=0,
    )
    gamma: float = _flag(
        2.0, "Objectives", "pixpro: sharpness of the similarity in the propagation", minimum=0
    )
    temperature: float = _flag(0.3, "Objectives", "of pixcontrast")
    positive_threshold: float = _flag(
        0.7, "Objectives", "largest distance of a positive pair", unit="bin diagonals"
    )
    instance_weight: float = _flag(
        0.0, "Objectives", "weight of the instance loss; 0 is without the branch", minimum=0
    )
    instance_loss: str = _flag(
        "regression",
        "Objectives",
        "regression: an image predicts its other view, as in the authors' code; contrastive: it tells that from the other images of "
        "the global batch, the paper's SimCLR*",
        choices=("regression", "contrastive"),
    )
    instance_temperature: float = _flag(0.2, "Objectives", "of --instance_loss=contrastive")
    optimizer: str = _flag(
        "lars",
        "Optimisation",
        "lamb comes from tensorflow-addons, on Python 3.10 and 3.11; adamw suits small batches and short runs",
        choices=("lars", "sgd", "lamb", "adamw"),
    )
    batch_size: int = _flag(
        1024, "Optimisation", "global batch, over all replicas", unit="images", minimum=1
    )
    gradient_accumulation: int = _flag(
        1,
        "Optimisation",
        "parts of the batch that are computed one after the other, with the activations of one in memory; batch normalisation and "
        "--instance_loss=contrastive see one part at a time",
        unit="parts",
        minimum=1,
    )
    epochs: int = _flag(
        100, "Optimisation", "length of the schedules, and of the run", unit="epochs", minimum=1
    )
    base_lr: float = _flag(
        1.0, "Optimisation", "peak rate per 256 images: the rate is base_lr * batch_size / 256"
    )
    schedule: str = _flag(
        "cosine", "Optimisation", "how the rate falls after the warm-up", choices=("cosine", "step")
    )
    lr_drops: str = _flag(
        "60,80", "Optimisation", "where --schedule=step multiplies the rate by 0.1", unit="epochs"
    )
    warmup_epochs: int = _flag(
        5, "Optimisation", "linear warm-up from a hundredth of the rate", unit="epochs", minimum=0
    )
    weight_decay: float = _flag(
        1e-5,
        "Optimisation",
        "lars, lamb, adamw: of weights with more than one dimension; sgd: of all",
        minimum=0,
    )
    momentum: float = _flag(0.9, "Optimisation", "of lars and sgd")
    trust_coefficient: float = _flag(0.001, "Optimisation", "of lars")
    steps_per_epoch: int = _flag(
        0, "Optimisation", "0 is every image once", unit="steps", minimum=0
    )
    max_steps: int = _flag(
        0,
        "Optimisation",
        "stop after this many steps and leave the schedules as they are; 0 is the whole run",
        unit="steps",
        minimum=0,
        fixed=False,
    )

    strategy: str = _flag(
        "auto",
        "Hardware",
        "auto: mirrored where there are several GPUs, else one_device; multi_worker reads TF_CONFIG; tpu needs --tpu",
        choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"),
        fixed=False,
    )
    tpu: str = _flag("", "Hardware", "name or address of the TPU, local on a TPU VM", fixed=False)
    num_devices: int = _flag(
        0,
        "Hardware",
        "devices that mirrored uses on this machine: GPUs, or without any, logical CPUs; 0 is all GPUs",
        minimum=0,
        fixed=False,
    )
    precision: str = _flag(
        "float32",
        "Hardware",
        "of the networks; losses, norms, propagation and all state stay float32",
        choices=("float32", "bfloat16", "float16"),
    )
    loss_scale: str = _flag(
        "dynamic", "Hardware", "of --precision=float16: dynamic, none or a number"
    )
    jit: str = _flag(
        "ppm",
        "Hardware",
        "what XLA compiles: the propagation, the whole step (best on GPUs and TPUs, slow on CPUs), or nothing",
        choices=("ppm", "step", "off"),
        fixed=False,
    )

    run_dir: str = _flag("runs/pixpro", "Run", "folder of the run, made if missing", fixed=False)
    resume: bool = _flag(
        True,
        "Run",
        "go on from the folder's last checkpoint; without it the folder must be new",
        fixed=False,
    )
    seed: int = _flag(0, "Run", "of weights, order of images, crops and colours", minimum=0)
    checkpoint_every: int = _flag(
        0,
        "Run",
        "between checkpoints; 0 is at the ends of epochs, at most every three minutes",
        unit="steps",
        minimum=0,
        fixed=False,
    )
    keep_checkpoints: int = _flag(
        3, "Run", "how many of the last ones stay", unit="checkpoints", minimum=1, fixed=False
    )
    keep_every: int = _flag(
        0,
        "Run",
        "keep every n-th checkpoint for good; 0 is none",
        unit="checkpoints",
        minimum=0,
        fixed=False,
    )
    log_every: int = _flag(
        20, "Run", "between progress lines", unit="steps", minimum=1, fixed=False
    )
    pictures_every: int = _flag(
        0,
        "Run",
        "between pictures of the views; 0 is at the ends of epochs, at most every three minutes",
        unit="steps",
        minimum=0,
        fixed=False,
    )
    probe_every: int = _flag(
        0,
        "Run",
        "between looks at what the features are good for: mIoU of a linear layer on them, on scenes/128; 0 is never",
        unit="steps",
        minimum=0,
        fixed=False,
    )
    profile_steps: str = _flag(
        "", "Run", "FIRST,LAST step of a TensorBoard profile, as 20,30; empty is none", fixed=False
    )
    deterministic: bool = _flag(
        True,
        "Run",
        "the same numbers from the same flags, bit for bit; costs speed on GPUs, and does not cover them with --jit=step",
        fixed=False,
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_field(field, getattr(self, field.name))
        _check_combinations(self)

    @property
    def peak_rate(self) -> float:
        """Learning rate at the end of the warm-up."""
        return self.base_lr * self.batch_size / 256

    @property
    def lr_drop_epochs(self) -> list[int]:
        """Epochs at which a step schedule drops the rate."""
        return _integers("lr_drops", self.lr_drops)

    @property
    def profile_range(self) -> tuple[int, int] | None:
        """First and last profiled step, or None."""
        if not self.profile_steps:
            return None
        first, last = _integers("profile_steps", self.profile_steps)
        return first, last

    @property
    def data_services(self) -> list[str]:
        """Addresses of the data service; none where the run makes its views by itself."""
        return [part.strip() for part in self.data_service.split(",") if part.strip()]

    @property
    def pixel_level_names(self) -> list[str]:
        """Maps that the pixel loss compares."""
        return [part.strip() for part in self.pixel_levels.split(",") if part.strip()]

    @property
    def fpn_levels(self) -> list[str]:
        """Those of them that an FPN gives."""
        if not self.pixel_weight:
            return []
        return [level for level in self.pixel_level_names if level.startswith("p")]

    def stride_of(self, level: str) -> int:
        """Pixels from one bin of a level's map to the next."""
        stride = 2 ** int(level[1:])
        return stride if level.startswith("p") else min(stride, self.output_stride)

    def map_size(self, level: str) -> int:
        """Side of the square map of a level, in bins."""
        return -(-self.image_size // self.stride_of(level))

    @property
    def pictured_map_size(self) -> int:
        """Side of the coarsest map whose bins the losses compare."""
        return min(map(self.map_size, self.pixel_level_names if self.pixel_weight else ["c5"]))

    def check_surroundings(self) -> None:
        """Raises `ConfigError` unless this machine has what the flags name: the images' folder, the cluster's TF_CONFIG.

        Apart from the other checks, for a run can be described and exported where its images are not.
        """
        if self.dataset.startswith("folder:"):
            path = os.path.expanduser(self.dataset.removeprefix("folder:"))
            if "://" not in path and not os.path.isdir(path):
                what = "is a file" if os.path.exists(path) else "does not exist"
                _refuse(self, "dataset", f"names no folder: {path} {what}")
        if self.strategy == "multi_worker":
            _check_cluster(self, os.environ.get("TF_CONFIG", ""))

    def check_replicas(self, replicas: int) -> None:
        """Raises `ConfigError` unless the parts of a batch can be split over `replicas` devices."""
        shares = replicas * self.gradient_accumulation
        if self.batch_size % shares:
            below = self.batch_size // shares * shares or shares
            over = f"{replicas} replicas"
            if self.gradient_accumulation > 1:
                parts = f"the {self.gradient_accumulation} parts of --gradient_accumulation"
                over = f"{parts} on {over}" if replicas > 1 else parts
            raise ConfigError(
                f"--batch_size={self.batch_size} cannot be split over {over}; "
                f"give a multiple of {shares}, for example --batch_size={below}"
            )

    def to_dict(self) -> dict[str, Any]:
        """All flags and their values."""
        return dataclasses.asdict(self)

    def changed_flags(self) -> list[str]:
        """Flags that a run keeps for life and that are not at their defaults, `--gamma=1.0`."""
        return [
            f"--{field.name}={getattr(self, field.name)}"
            for field in dataclasses.fields(self)
            if field.metadata["fixed"] and getattr(self, field.name) != field.default
        ]

    def differing_flags(self, other: dict[str, Any]) -> list[str]:
        """Flags that a run keeps for life and that differ from another run's.

        Args:
            other: what `to_dict` gave for it, perhaps in another version.

        Returns:
            A text for each, `--gamma=2.0 (there: 1.0)`.
        """
        return [
            f"--{field.name}={getattr(self, field.name)} (there: {other[field.name]})"
            for field in dataclasses.fields(self)
            if field.metadata["fixed"]
            and field.name in other
            and getattr(self, field.name) != other[field.name]
        ]


def _integers(name: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(
            f"--{name}={text} is no list of whole numbers; write it as 20,30"
        ) from None


def _check_field(field: dataclasses.Field, value: Any) -> None:
    choices, minimum = field.metadata["choices"], field.metadata["minimum"]
    if choices and value not in choices:
        close = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"--{field.name}={value} is not known; {hint}choose one of {', '.join(choices)}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"--{field.name}={value} is no finite number")
    if minimum is not None and not value >= minimum:
        raise ConfigError(f"--{field.name}={value} is too small; give at least {minimum}")


def _check_objectives(config: Config) -> None:
    """What is learnt, and that no flag of it goes unheard."""

    refuse = functools.partial(_refuse, config)

    if config.ppm_layers > 3:
        refuse("ppm_layers", "is too deep; give 0 to 3")
    if not config.positive_threshold > 0:
        refuse(
            "positive_threshold",
            "leaves no positive pair; give a number above 0, the paper's is 0.7",
        )
    for name, usual in (("temperature", 0.3), ("instance_temperature", 0.2)):
        if not getattr(config, name) > 0:
            refuse(name, f"is no temperature; give a number above 0, {usual} is usual")
    if not config.pixel_weight and not config.instance_weight:
        refuse("pixel_weight", "leaves nothing to learn; give --instance_weight=1 with it")
    of_pixels = [
        "pixel_loss",
        "pixel_levels",
        "projector_layers",
        "positive_threshold",
        "propagation",
        "ppm_layers",
        "gamma",
        "temperature",
    ]
    _check_used(config, config.pixel_weight > 0, of_pixels, "--pixel_weight=0")
    loss = f"--pixel_loss={config.pixel_loss}"
    _check_used(config, config.pixel_loss == "pixpro", ["propagation", "ppm_layers", "gamma"], loss)
    _check_used(config, config.propagation, ["gamma"], "--nopropagation")
    _check_used(config, config.pixel_loss == "pixcontrast", ["temperature"], loss)
    of_instances = ["instance_loss", "instance_temperature"]
    _check_used(config, config.instance_weight > 0, of_instances, "--instance_weight=0")
    contrastive = config.instance_loss == "contrastive"
    loss = f"--instance_loss={config.instance_loss}"
    _check_used(config, contrastive, ["instance_temperature"], loss)


def _check_levels(config: Config) -> None:
    """That the maps of the pixel loss exist, have bins to compare, and reach all that is trained."""

    refuse = functools.partial(_refuse, config)

    levels = config.pixel_level_names
    unknown = [level for level in levels if not re.fullmatch("c[2-5]|p[2-7]", level)]
    if not levels or unknown or len(set(levels)) < len(levels):
        refuse("pixel_levels", "must be different maps of c2 to c5 and p2 to p7, as p3,p4,p5")
    fpn = config.fpn_levels
    _check_used(config, bool(fpn), ["fpn_channels", "dense_head_layers"], "no FPN (--pixel_levels)")
    _check_used(config, len(levels) > 1, ["shared_projector"], "a single level (--pixel_levels)")
    if config.shared_projector and len(levels) > 1 and len(fpn) < len(levels):
        refuse(
            "pixel_levels",
            "has maps of different channels, which no projector can share; add --noshared_projector",
        )
    for level, below in (("p7", "p6"), ("p6", "p5")):
        if level in fpn and below not in fpn:
            refuse("pixel_levels", f"lacks {below}, which {level} is made from; add it")
    if not fpn and "c5" not in levels and not config.instance_weight:
        refuse("pixel_levels", "leaves the stages behind untrained; add c5, or a level of an FPN")
    if fpn and config.output_stride != 32:
        refuse("output_stride", "leaves an FPN no coarser maps to add; give 32 with p2 to p7")
    if config.backbone_layout == "mirror":
        _check_mirroring(config)
    for level in levels if config.pixel_weight else ["c5"]:
        if config.map_size(level) < 2:
            refuse(
                "image_size",
                f"gives a map {level} of a single bin, which has nothing to compare; "
                f"give at least {config.stride_of(level) + 1}",
            )


def _check_data_service(config: Config) -> None:
    addresses = config.data_services
    if not addresses or not all(re.fullmatch(r"grpc://[^/\s]+:\d+", each) for each in addresses):
        _refuse(config, "data_service", "must be addresses as grpc://host1:5050,grpc://host2:5050")
    if config.dataset.startswith("zip:"):
        _refuse(
            config,
            "data_service",
            "cannot read archives; give folder:PATH, or make shards by pixpro_tf.tfrecords",
        )
    if config.cache != "off":
        _refuse(config, "cache", "is of this process, which --data_service relieves; leave it out")


def _check_mirroring(config: Config) -> None:
    """That every map is larger than what it is padded by, and that all that is trained is padded so."""
    if config.dense_head_layers:
        _refuse(
            config, "dense_head_layers", "pads by zeros; leave it out of --backbone_layout=mirror"
        )
    dilation = 32 // config.output_stride
    if config.map_size("c5") < dilation:
        least = config.output_stride * (dilation - 1) + 1
        _refuse(
            config, "image_size", f"gives maps that are too small to mirror; give at least {least}"
        )


def _check_used(config: Config, used: bool, names: list[str], by: str) -> None:
    """Refuses flags that were given and that nothing would hear."""
    if used:
        return
    for name in names:
        if getattr(config, name) != getattr(Config, name):
            _refuse(config, name, f"is not used by {by}; leave it out")


def _check_combinations(config: Config) -> None:
    """What no single field can tell."""

    refuse = functools.partial(_refuse, config)

    if not config.dataset:
        refuse(
            "dataset",
            "names nothing; give a TFDS name, folder:PATH, zip:FILE, tfrecord:GLOB or scenes/128",
        )
    if config.dataset.startswith(OF_FILES):
        if config.dataset in OF_FILES:
            refuse(
                "dataset",
                "lacks a path; write folder:/path/to/images, zip:/path/to/images.zip or 'tfrecord:/path/to/shards/*'",
            )
    elif "//" in config.dataset or not re.fullmatch(
        r"[A-Za-z_][\w]*([/:][\w.+\-/:*]+)?", config.dataset
    ):
        refuse(
            "dataset",
            "is neither a TFDS name nor folder:PATH, zip:FILE, tfrecord:GLOB or scenes/128",
        )
    if not 0 < config.min_crop_area <= 1:
        refuse("min_crop_area", "is no share of an image; give a number above 0, at most 1")
    if not config.min_crop_area <= config.max_crop_area <= 1:
        refuse(
            "max_crop_area",
            f"must be from --min_crop_area={config.min_crop_area:g} to 1, the whole image",
        )
    if config.data_service:
        _check_data_service(config)
    if config.cache != "off" and config.tpu not in ("", "local"):
        refuse(
            "cache", f"is of this machine, and --tpu={config.tpu} reads on its own; leave it out"
        )
    if "://" in config.cache_dir:
        refuse("cache_dir", "is an address; give a folder of this machine")
    _check_used(config, config.cache == "disk", ["cache_dir"], f"--cache={config.cache}")
    if config.output_stride not in (8, 16, 32):
        refuse("output_stride", "is not built; give 8, 16 or 32")
    if config.image_size < config.output_stride:
        refuse(
            "image_size",
            f"is smaller than one bin of the feature map (--output_stride={config.output_stride}); "
            f"give at least {config.output_stride}",
        )
    _check_objectives(config)
    _check_levels(config)
    if config.seed >= 2**32:
        refuse("seed", "is too large; give a number below 2**32")
    if not 0 <= config.ema_momentum <= 1:
        refuse("ema_momentum", "is no momentum; give a number from 0 to 1, the paper's is 0.99")
    if not 0 <= config.momentum < 1:
        refuse("momentum", "is no momentum; give a number from 0 up to, but not, 1")
    if not config.base_lr > 0:
        refuse("base_lr", "does not train; give a number above 0")
    if not config.trust_coefficient > 0:
        refuse("trust_coefficient", "does not train; give a number above 0, the paper's is 0.001")
    optimizer = f"--optimizer={config.optimizer}"
    _check_used(config, config.optimizer in ("lars", "sgd"), ["momentum"], optimizer)
    _check_used(config, config.optimizer == "lars", ["trust_coefficient"], optimizer)
    schedule = f"--schedule={config.schedule}"
    _check_used(config, config.schedule == "step", ["lr_drops"], schedule)
    if config.warmup_epochs >= config.epochs and config.warmup_epochs:
        refuse(
            "warmup_epochs",
            f"leaves nothing of --epochs={config.epochs}; give at most {config.epochs - 1}",
        )
    if config.schedule == "step":
        drops = config.lr_drop_epochs
        if not drops or drops != sorted(set(drops)) or drops[0] < 1 or drops[-1] >= config.epochs:
            refuse("lr_drops", f"must be rising epochs between 1 and {config.epochs - 1}, as 60,80")
    if config.strategy == "tpu" and not config.tpu:
        refuse("strategy", "needs the TPU's name; add --tpu=NAME, or --tpu=local on a TPU VM")
    if config.tpu and config.strategy != "tpu":
        refuse("tpu", f"is not used by --strategy={config.strategy}; add --strategy=tpu")
    if pattern := re.search(r"[*?\[\]\\]", config.run_dir):
        refuse(
            "run_dir", f"has a {pattern[0]}, which TensorFlow takes for a pattern; give one without"
        )
    if config.tpu not in ("", "local") and "://" not in config.run_dir:
        refuse(
            "run_dir",
            f"is on this machine, and --tpu={config.tpu} writes on its own; give a folder that both reach, as gs://bucket/run",
        )
    if config.split and config.dataset.startswith(OF_FILES):
        refuse(
            "split", f"is of TFDS datasets, and --dataset={config.dataset} is none; leave it out"
        )
    if config.num_devices and config.strategy not in ("auto", "mirrored"):
        refuse("num_devices", f"is not used by --strategy={config.strategy}; leave it out")
    config.check_replicas(max(config.num_devices, 1))
    if config.instance_loss == "contrastive" and config.batch_size == config.gradient_accumulation:
        refuse(
            "gradient_accumulation",
            "leaves --instance_loss=contrastive no other image to compare with; give fewer parts",
        )
    if config.precision == "float16" and config.loss_scale == "none":
        refuse(
            "precision",
            "without loss scaling loses small gradients; use --loss_scale=dynamic, or --precision=bfloat16",
        )
    if config.loss_scale not in ("dynamic", "none") and not _is_positive_number(config.loss_scale):
        refuse("loss_scale", "is not known; give dynamic, none or a number above 0")
    precision = f"--precision={config.precision}"
    _check_used(config, config.precision == "float16", ["loss_scale"], precision)
    if config.strategy == "tpu" and config.precision == "float16":
        refuse("precision", "does not run on TPUs; use --precision=bfloat16")
    if config.profile_steps:
        steps = _integers("profile_steps", config.profile_steps)
        if len(steps) != 2 or not 1 <= steps[0] < steps[1]:
            refuse("profile_steps", "must be the first and the last step, counted from 1, as 20,30")


def _refuse(config: Config, name: str, reason: str) -> None:
    raise ConfigError(f"--{name}={getattr(config, name)} {reason}")


# Of a cluster's processes. All of them train; the chief, or without one the first worker, writes.
_ROLES = {"chief", "worker"}


def _check_cluster(config: Config, text: str) -> None:
    if not text:
        _refuse(
            config,
            "strategy",
            "needs the environment variable TF_CONFIG with the cluster's workers and this one's index; "
            "see https://www.tensorflow.org/guide/distributed_training#TF_CONFIG",
        )
    try:
        cluster = json.loads(text)
        addresses = {role: list(cluster["cluster"][role]) for role in cluster["cluster"]}
        role, index = cluster["task"]["type"], cluster["task"]["index"]
        others = sorted({role, *addresses} - _ROLES)
        valid = bool(others) or 0 <= index < len(addresses[role])
    except (ValueError, KeyError, TypeError):
        others, valid = [], False
    if others:
        _refuse(
            config,
            "strategy",
            f"has no work for a {others[0]}, which TF_CONFIG={text!r} names; its cluster may have one chief, and workers",
        )
    if not valid:
        _refuse(
            config,
            "strategy",
            f"cannot read TF_CONFIG={text!r}; it must be JSON like "
            '{"cluster": {"worker": ["host1:port", "host2:port"]}, "task": {"type": "worker", "index": 0}}',
        )


def _is_positive_number(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
