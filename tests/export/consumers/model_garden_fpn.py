"""Compares the features of a detector that restores backbone and decoder itself, in the environment of TF Model Garden.

    python model_garden_fpn.py EXPORT DATA RESULT

DATA is an .npz with normalised `images`, the name of the experiment file as `yaml`, and the levels of the exported FPN. RESULT is JSON: the
largest difference of each level relative to its largest value.
"""

import json
import sys

import numpy as np
from model_garden import initialized_task


def main(export, data, result):
    data = np.load(data)
    _, _, model = initialized_task(export, str(data["yaml"]))
    levels = model.decoder(model.backbone(data["images"], training=False), training=False)
    errors = {}
    for level, value in levels.items():
        wanted = data[f"p{level}"]
        errors[f"p{level}"] = float(np.abs(value - wanted).max() / np.abs(wanted).max())
    with open(result, "w") as file:
        json.dump(errors, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
