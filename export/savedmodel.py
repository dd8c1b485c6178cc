"""A backbone as a Reusable SavedModel, which TF Hub loads without this project.

    python -m export.savedmodel --run=runs/mine --output=exported/mine

`hub.load("exported/mine")(images)` takes images in float32 RGB in [0, 1] and gives `[B, C]`;
`hub.KerasLayer("exported/mine", trainable=True, arguments=dict(return_endpoints=True))` gives c2 to c5.
"""

import sys
from typing import Any

from export.flags import make_parser
from pixpro_tf.commands import atomic_output, exit_code_of, quiet_tensorflow, refuse_existing


def reusable(backbone) -> Any:
    """What has to be saved for a backbone to be reusable.

    Args:
        backbone: a built `ResNet`, in float32.

    Returns:
        A trackable object and its signatures. The object's `__call__(inputs, training=False, return_endpoints=False)` takes
        float32 RGB `[B, H, W, 3]` in [0, 1], of any size, and normalises it; it returns the pooled features `[B, C]`, or a dict of
        the maps "c2" to "c5" and "pooled". It has `variables`, `trainable_variables` and `regularization_losses`.

    Source: the Reusable SavedModel interface of TensorFlow.
    """
    import tensorflow as tf

    from pixpro_tf.data.photometric import normalize

    def endpoints(inputs, training):
        features = backbone(normalize(inputs), training=training)
        return features | {"pooled": tf.reduce_mean(features["c5"], axis=[1, 2])}

    @tf.function
    def call(inputs, training=False, return_endpoints=False):
        found = endpoints(inputs, training)
        return found if return_endpoints else found["pooled"]

    images = tf.TensorSpec([None, None, None, 3], tf.float32, name="inputs")
    for training in (False, True):
        for return_endpoints in (False, True):
            call.get_concrete_function(images, training=training, return_endpoints=return_endpoints)

    @tf.function(input_signature=[images])
    def serving_default(inputs):
        return {"pooled": endpoints(inputs, training=False)["pooled"]}

    @tf.function(input_signature=[images])
    def feature_maps(inputs):
        return endpoints(inputs, training=False)

    root = tf.train.Checkpoint(
        network=backbone,
        __call__=call,
        variables=backbone.variables,
        trainable_variables=backbone.trainable_variables,
        regularization_losses=[],
    )
    return root, {"serving_default": serving_default, "feature_maps": feature_maps}


def export(run: str, output: str, *, network: str = "online", overwrite: bool = False) -> None:
    """Writes the SavedModel.

    Args:
        run: folder of a run, or of imported weights.
        output: folder to make.
        network: "online" or "target".
        overwrite: replace a folder that is there already.

    Raises:
        UserError: if there is nothing to export, or it cannot be written.
    """
    refuse_existing("output", output, overwrite)
    import tensorflow as tf

    from pixpro_tf import trained

    backbone, _ = trained.load_backbone(run, network)
    root, signatures = reusable(backbone)
    with atomic_output(output, overwrite) as folder:
        tf.saved_model.save(root, folder, signatures=signatures)


def main(arguments: list[str]) -> int:
    """Runs a command line; returns the exit code and prints every user's mistake as one line."""
    return exit_code_of(lambda: _run(arguments))


def _run(arguments: list[str]) -> None:
    flags = make_parser("savedmodel", __doc__, "folder to make").parse_args(arguments)
    quiet_tensorflow()
    export(flags.run, flags.output, network=flags.network, overwrite=flags.overwrite)
    print(f"Written: {flags.output}; it loads with hub.load and --init_from={flags.output}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
