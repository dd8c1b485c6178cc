"""Runs the command of an export's README on one's own boxes, at a small size, in the environment of TF Model Garden.

    python model_garden_labels.py EXPORT DATA RESULT

DATA is an .npz with the name of the `experiment` and of its file, `yaml`. RESULT is JSON: the losses of training and the scores of the evaluation.
"""

import glob
import json
import os
import subprocess
import sys

import numpy as np
import tensorflow as tf

SIDE = 128


def scalars(folder):
    """Returns the last value of each scalar in the TensorBoard files of a folder."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "*tfevents*"))):
        for event in tf.compat.v1.train.summary_iterator(path):
            for value in event.summary.value:
                if value.HasField("tensor"):
                    number = tf.make_ndarray(value.tensor)
                    if number.ndim == 0 and number.dtype.kind == "f":
                        found[value.tag] = float(number)
    return found


def main(export, data, result):
    data = np.load(data)
    experiment, file = str(data["experiment"]), str(data["yaml"])
    # Only sizes are changed, for a machine without accelerators.
    overrides = [
        f"task.model.input_size=[{SIDE},{SIDE},3]",
        "task.train_data.global_batch_size=2",
        "task.validation_data.global_batch_size=2",
        "task.train_data.shuffle_buffer_size=10",
        "runtime.distribution_strategy=one_device",
        "runtime.num_gpus=0",
    ]
    command = [sys.executable, "-m", "official.vision.train", f"--experiment={experiment}"]
    command += [f"--config_file={file}", "--mode=train_and_eval", "--model_dir=training"]
    command += [f"--params_override={','.join(overrides)}"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=export)
    assert process.returncode == 0, process.stderr[-5000:]
    training = os.path.join(export, "training")
    found = {
        "train": scalars(os.path.join(training, "train")),
        "evaluation": scalars(os.path.join(training, "validation")),
    }
    with open(result, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
