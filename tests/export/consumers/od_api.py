"""Parses exports in an environment with the Object Detection API's own protocol buffers.

    python od_api.py EXPORT DATA RESULT

EXPORT is a folder of exported folders; DATA is not read. RESULT is JSON: the parsed values of each folder.
"""

import json
import os
import pathlib
import sys

# An older protoc generated the package's code than current protobuf versions require.
os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"

from google.protobuf import text_format
from object_detection.protos import pipeline_pb2, string_int_label_map_pb2


def parse(message, path):
    """Parses a file into a message; a field that the API does not know is an error."""
    return text_format.Parse(path.read_text(), message)


def understood(folder):
    config = parse(pipeline_pb2.TrainEvalPipelineConfig(), folder / "pipeline.config")
    labels = parse(string_int_label_map_pb2.StringIntLabelMap(), folder / "label_map.pbtxt")
    kind = config.model.WhichOneof("model")
    model = getattr(config.model, kind)
    extractor = model.feature_extractor
    train = config.train_config
    rate = train.optimizer.momentum_optimizer.learning_rate.manual_step_learning_rate
    norm = extractor.conv_hyperparams.sync_batch_norm
    return {
        "type": extractor.type,
        "num_classes": model.num_classes,
        "labels": {item.name: item.id for item in labels.item},
        "sides": [
            model.image_resizer.keep_aspect_ratio_resizer.min_dimension,
            model.image_resizer.keep_aspect_ratio_resizer.max_dimension,
        ],
        "padding": list(model.image_resizer.keep_aspect_ratio_resizer.per_channel_pad_value),
        "trains_norms": not model.freeze_batchnorm
        if kind == "ssd"
        else extractor.batch_norm_trainable,
        "overrides": extractor.override_base_feature_extractor_hyperparams,
        "norm": [norm.epsilon, norm.decay, norm.scale],
        "activation": extractor.conv_hyperparams.Activation.Name(
            extractor.conv_hyperparams.activation
        ),
        "checkpoint": [
            train.fine_tune_checkpoint,
            train.fine_tune_checkpoint_type,
            train.fine_tune_checkpoint_version,
        ],
        "batch_size": train.batch_size,
        "steps": train.num_steps,
        "rates": [[stage.step, stage.learning_rate] for stage in rate.schedule],
        "warms_up": rate.warmup,
        "predictor_deviation": model.box_predictor.weight_shared_convolutional_box_predictor.conv_hyperparams.initializer.random_normal_initializer.stddev
        if kind == "ssd"
        else None,
        "second_stage": [
            model.first_stage_max_proposals,
            model.second_stage_batch_size,
            model.maxpool_kernel_size,
        ]
        if kind == "faster_rcnn"
        else [],
        "inputs": [
            list(reader.tf_record_input_reader.input_path)
            for reader in (config.train_input_reader, *config.eval_input_reader)
        ],
    }


def main(export, _, result):
    found = {folder.name: understood(folder) for folder in sorted(pathlib.Path(export).iterdir())}
    with open(result, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
