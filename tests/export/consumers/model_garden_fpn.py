"""Run by TF Model Garden's own environment: a detector restores backbone and decoder by its own means; its features are compared.

    python model_garden_fpn.py EXPORT DATA RESULT

DATA is an .npz with normalised `images`, the experiment's file as `yaml`, and from the FPN that was exported its levels. RESULT is JSON: the
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
