"""Writes images into TFRecord files, which are read from disks and buckets at full speed, as folders of single files are not.

python -m pixpro_tf.tfrecords --images=folder:/data/photos --output=/data/shards
python train.py --flagfile=configs/pixpro.flags --dataset='tfrecord:/data/shards/*'
"""

import sys

from pixpro_tf.cli.commands import (
    Parser,
    exit_code_of,
    quiet_tensorflow,
    refuse_existing,
)


def _run(arguments: list[str]) -> None:
    parser = Parser(
        prog="python -m pixpro_tf.tfrecords", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", required=True, help="folder:PATH or zip:FILE, as of train.py")
    parser.add_argument("--output", required=True, help="folder to make")
    parser.add_argument(
        "--images_per_shard",
        type=int,
        default=1024,
        help="in a file; shards of some 100 MB are read best (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order of the images")
    parser.add_argument("--overwrite", action="store_true", help="replace an output")
    flags = parser.parse_args(arguments)
    refuse_existing("output", flags.output, flags.overwrite)
    quiet_tensorflow()
    from pixpro_tf.cli.write_tfrecords import write

    count = write(
        flags.images,
        flags.output,
        per_shard=flags.images_per_shard,
        seed=flags.seed,
        overwrite=flags.overwrite,
    )
    print(
        f"Written {count} images to {flags.output}; use them as --dataset='tfrecord:{flags.output}/*'"
    )


def main(arguments: list[str]) -> int:
    """Runs a command line, without the command's name; returns the exit code."""
    return exit_code_of(lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
