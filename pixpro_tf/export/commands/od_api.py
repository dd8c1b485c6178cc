"""A backbone for the TF Object Detection API: checkpoint, pipeline.config, label map and records.

python -m export.od_api --from=runs/mine --output=exported/detector --task=voc --model=faster_rcnn_resnet50_keras
"""

import sys

from pixpro_tf.cli.commands import exit_code_of, quiet_tensorflow
from pixpro_tf.export.flags import check_output, make_parser
from pixpro_tf.export.od_api.pipeline import MODELS
from pixpro_tf.export.od_api.tasks import TASKS, Data

_SIZES = {
    "batch_size": "images a step, over all replicas; the rate follows it",
    "steps": "length of the fine-tuning; the drops of the rate follow it",
    "min_side": "of an image, in pixels: its shorter side, unless the longer one gets too long",
    "max_side": "of an image, in pixels: the most that its longer side may have",
}


def main(arguments: list[str]) -> int:
    """Runs a command line; returns the exit code and prints every user's mistake as one line."""
    return exit_code_of(lambda: _run(arguments))


def _run(arguments: list[str]) -> None:
    parser = make_parser("od_api", __doc__, "folder to make")
    parser.add_argument("--task", required=True, choices=tuple(TASKS), help="what to detect")
    parser.add_argument("--model", required=True, choices=tuple(MODELS), help="detector")
    parser.add_argument(
        "--depth",
        type=int,
        choices=(50, 101, 152),
        help="of the ResNet (default: the backbone's)",
    )
    parser.add_argument("--classes", default="", help="for --task=custom: names, as cat,dog")
    parser.add_argument(
        "--dataset",
        default=Data.dataset,
        help="for --task=custom: TFDS dataset with boxes, as scenes/128; gives classes and records",
    )
    parser.add_argument(
        "--train_split", default=Data.train_split, help="of --dataset (default: %(default)s)"
    )
    parser.add_argument(
        "--evaluation_split",
        default=Data.evaluation_split,
        help="of --dataset (default: %(default)s)",
    )
    parser.add_argument(
        "--data_dir",
        default=Data.data_dir,
        help="where TFDS keeps prepared datasets (default: ~/tensorflow_datasets)",
    )
    parser.add_argument(
        "--records", action="store_true", help="write the images as the API's TFRecords too"
    )
    for name, text in _SIZES.items():
        parser.add_argument(f"--{name}", type=int, help=text)
    flags = vars(parser.parse_args(arguments))
    check_output(flags["source"], flags["output"], flags["overwrite"])
    quiet_tensorflow()
    from pixpro_tf.export.od_api.exporting import export

    classes = tuple(name.strip() for name in flags.pop("classes").split(",") if name.strip())
    data = Data(
        classes=classes,
        **{
            name: flags.pop(name)
            for name in ("dataset", "train_split", "evaluation_split", "data_dir", "records")
        },
    )
    sizes = {name: flags.pop(name) for name in _SIZES}
    export(**flags, data=data, sizes=sizes)
    print(f"Written: {flags['output']}; its README.md has the API's commands")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
