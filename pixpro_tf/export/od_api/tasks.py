"""Fine-tuning tasks: classes, datasets and schedules."""

import dataclasses

from pixpro_tf.errors import ConfigError
from pixpro_tf.export.label_map import Label, number

_VOC_NAMES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep sofa train "
    "tvmonitor"
)
VOC_CLASSES = tuple(_VOC_NAMES.split())
# COCO numbers its 80 classes from 1 to 90 and skips these numbers.
_COCO_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_COCO_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,bench,bird,cat,"
    "dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,"
    "baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,"
    "sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,"
    "remote,keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
COCO_CLASSES = tuple(_COCO_NAMES.split(","))


# Number of steps that the API trains at a time; it checks its schedule and checkpoints in between.
STEPS_AT_ONCE = 100


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Fine-tuning schedule of a detector.

    Attributes:
        batch_size: global batch size, in images.
        rate: peak learning rate.
        steps: number of steps of the whole fine-tuning.
        drops: steps after which the learning rate falls to a tenth.
        warmup_steps: number of steps over which the learning rate rises from a thousandth.
        min_side, max_side: size of an image as the detector sees it, in pixels. The shorter side has the first length, unless the longer
            side would exceed the second.
    """

    batch_size: int
    rate: float
    steps: int
    drops: tuple[int, ...]
    warmup_steps: int
    min_side: int = 800
    max_side: int = 1333

    def changed(
        self,
        batch_size: int | None = None,
        steps: int | None = None,
        min_side: int | None = None,
        max_side: int | None = None,
    ) -> "Schedule":
        """Returns the schedule with other sizes.

        The learning rate scales with the batch size, the drops scale with the number of steps, and the warm-up is at most a tenth of the
        steps.

        Raises:
            ConfigError: if a number is not positive, the number of steps is not a multiple of 100, or the sides are in the wrong order.
        """
        given = {
            "batch_size": batch_size,
            "steps": steps,
            "min_side": min_side,
            "max_side": max_side,
        }
        for name, value in given.items():
            if value is not None and value < 1:
                raise ConfigError(f"--{name}={value} is too small; the minimum is 1")
        if steps and steps % STEPS_AT_ONCE:
            raise ConfigError(
                f"--steps={steps} is not a multiple of {STEPS_AT_ONCE}, the number of steps that the API trains at a time; "
                f"use {-(-steps // STEPS_AT_ONCE) * STEPS_AT_ONCE}"
            )
        scale = 1.0 if steps is None else steps / self.steps
        changed = Schedule(
            batch_size or self.batch_size,
            self.rate * (batch_size or self.batch_size) / self.batch_size,
            steps or self.steps,
            tuple(max(round(drop * scale), 1) for drop in self.drops),
            max(min(self.warmup_steps, (steps or self.steps) // 10), 1),
            min_side or self.min_side,
            max_side or self.max_side,
        )
        if changed.min_side > changed.max_side:
            raise ConfigError(
                f"--min_side={changed.min_side} is greater than --max_side={changed.max_side}; use a larger --max_side, or a smaller --min_side"
            )
        return changed

    @property
    def checkpoint_every(self) -> int:
        """Number of steps between checkpoints, at most 1000; it divides the steps, because the API saves none at the end."""
        choices = range(STEPS_AT_ONCE, 1000 + 1, STEPS_AT_ONCE)
        return max(every for every in choices if self.steps % every == 0)


# The paper's schedules: VOC for 24k steps, COCO for 90k (1x), both with batch size 16 and Detectron2's warm-ups.
_VOC = Schedule(16, 0.02, 24_000, (18_000, 22_000), 100)
_COCO = Schedule(16, 0.02, 90_000, (60_000, 80_000), 1_000)
_VOC_ORIGIN = "the paper's schedule for VOC: 24k steps of 16 images, learning rate 0.02, a tenth of it after 18k and a hundredth after 22k"


@dataclasses.dataclass(frozen=True)
class Task:
    """Fine-tuning task, one of `TASKS`.

    Attributes:
        labels: classes; empty if the user names them.
        train, evaluation: TFDS datasets and their splits.
        schedule: schedule of Faster R-CNN.
        origin: source of the schedule, for the reader of a configuration.
    """

    labels: tuple[Label, ...]
    train: tuple[tuple[str, str], ...]
    evaluation: tuple[tuple[str, str], ...]
    schedule: Schedule
    origin: str


TASKS = {
    "voc": Task(
        number(VOC_CLASSES),
        (("voc/2007", "train+validation"), ("voc/2012", "train+validation")),
        (("voc/2007", "test"),),
        _VOC,
        _VOC_ORIGIN,
    ),
    "coco": Task(
        tuple(
            Label(number, name)
            for number, name in zip(
                (i for i in range(1, 91) if i not in _COCO_UNUSED), COCO_CLASSES, strict=True
            )
        ),
        (("coco/2017", "train"),),
        (("coco/2017", "validation"),),
        _COCO,
        "the paper's 1x schedule for COCO: 90k steps of 16 images, learning rate 0.02, a tenth of it after 60k and a hundredth after 80k",
    ),
    "custom": Task((), (), (), _VOC, _VOC_ORIGIN),
}


@dataclasses.dataclass(frozen=True)
class Data:
    """Data of a detector; the defaults are those of the task.

    Attributes:
        classes: names of the classes, for the task custom.
        dataset: TFDS dataset with boxes, for the task custom.
        train_split, evaluation_split: splits of the dataset.
        data_dir: folder of prepared TFDS datasets.
        labels, images, evaluation_labels, evaluation_images, box_orientation: one's own labels for the task custom; see `boxes.read_parts`.
        label_map: file that numbers the classes, for the task custom; empty numbers them from 1.
        records: whether to write the images as TFRecords for the API.
    """

    classes: tuple[str, ...] = ()
    dataset: str = ""
    train_split: str = "train"
    evaluation_split: str = "validation"
    data_dir: str = ""
    labels: str = ""
    images: str = ""
    evaluation_labels: str = ""
    evaluation_images: str = ""
    box_orientation: str = ""
    label_map: str = ""
    records: bool = False
