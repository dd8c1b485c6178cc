"""Backbones as Reusable SavedModels: saving them, and loading them as Keras layers."""

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from pixpro_tf.backbones.fpn import Neck
from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.data.views.photometric import normalize
from pixpro_tf.errors import RunError, first_line
from pixpro_tf.layers.convolution import Convolution, of_inference
from pixpro_tf.layers.heads import Projector
from pixpro_tf.objectives.consistency import PixelConsistency
from pixpro_tf.objectives.pixel import PixelObjective
from pixpro_tf.pixpro import PixPro
from pixpro_tf.storage import checkpoint_files, hub_handles, model_card, trained_weights
from pixpro_tf.storage.model_card import output_name


@contextlib.contextmanager
def averaged_over_replicas() -> Iterator[None]:
    """Context in which variables are created for a SavedModel: running averages become the mean over a consumer's replicas.

    A consumer's replicas compute different running averages from their own images, whereas in this project all replicas compute the same.
    """

    def create(default: Callable[..., tf.Variable], **arguments: Any) -> tf.Variable:
        if arguments.get("synchronization") == tf.VariableSynchronization.ON_READ:
            arguments["aggregation"] = tf.VariableAggregation.MEAN
        return default(**arguments)

    with tf.variable_creator_scope(create):
        yield


def reusable(
    backbone: ResNet,
    neck: Neck | None = None,
    projector: Projector | None = None,
    propagation: PixelConsistency | None = None,
) -> tuple[tf.train.Checkpoint, dict[str, Callable[..., dict[str, tf.Tensor]]]]:
    """Returns the object and the signatures to save as a Reusable SavedModel of a backbone.

    Args:
        backbone: built `ResNet`, in float32.
        neck: `Neck` that was trained with the backbone; None omits it.
        projector: `Projector` to save with the backbone; None omits it.
        propagation: `PixelConsistency`, whose propagation is applied to the output of the projector; None omits it.

    Returns:
        A trackable object and its signatures. The object's `__call__(inputs, training=False, return_endpoints=False)` takes
        float32 images `[B, H, W, C]` in [0, 1] with the channels of the backbone, of any size, and normalises them. It returns the pooled features `[B, C]` or, with
        `return_endpoints`, a dict: the maps "c2" to "c5" and "pooled"; with a neck also "p3" and its other levels (and "head_p3" etc.,
        the outputs of its dense head); with heads also "projected" and "propagated", not normalised ("projected_p3" etc. if there are
        several levels). The object has `variables`, `trainable_variables` and `regularization_losses`, which is empty because weight decay
        is the user's choice.

    Source: the Reusable SavedModel interface of TensorFlow.
    """
    parts: dict[str, Any] = {
        "backbone": backbone,
        "neck": neck,
        "projector": projector,
        "propagation": propagation,
    }
    parts = {name: part for name, part in parts.items() if part is not None}
    channels = backbone.channels
    images = tf.TensorSpec([None, None, None, channels.count], tf.float32, name="inputs")

    def endpoints_of(inputs: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        found = backbone(normalize(inputs, channels), training=training)
        maps = dict(found)
        found["pooled"] = tf.reduce_mean(found["c5"], axis=[1, 2])
        if neck is not None:
            pyramid = neck(maps, training=training)
            maps |= neck.last(pyramid)
            found |= pyramid
        if projector is not None:
            made = {"projected": projector(maps, training=training)}
            if propagation is not None:
                made["propagated"] = propagation(made["projected"], training=training)
            for what, by_level in made.items():
                for level, projection in by_level.items():
                    found[output_name(what, level, projector.levels)] = projection
        return found

    # Traced only once for each value of `training`; all public functions below call these two graphs.
    endpoints = tf.function(endpoints_of)
    # The signatures are not differentiated, and have a graph of their own if that of the calls contains functions that XLA must compile.
    compiled = any(
        isinstance(layer, Convolution) and layer.is_compiled
        for part in parts.values()
        for layer in part.submodules
    )

    @tf.function
    def inferred(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        if not compiled:
            return endpoints(inputs, False)
        with of_inference():
            return endpoints_of(inputs, False)

    @tf.function
    def call(
        inputs: tf.Tensor, training: bool = False, return_endpoints: bool = False
    ) -> tf.Tensor | dict[str, tf.Tensor]:
        found = endpoints(inputs, training)
        return found if return_endpoints else found["pooled"]

    for training in (False, True):
        for return_endpoints in (False, True):
            call.get_concrete_function(images, training=training, return_endpoints=return_endpoints)

    @tf.function(input_signature=[images])
    def serving_default(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        if projector is None:
            return {"pooled": inferred(inputs)["pooled"]}
        # Converters such as TensorFlow Lite's do not know the loop of the propagation.
        with of_inference():
            maps = backbone(normalize(inputs, channels), training=False)
        return {"pooled": tf.reduce_mean(maps["c5"], axis=[1, 2])}

    @tf.function(input_signature=[images])
    def feature_maps(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return inferred(inputs)

    root = tf.train.Checkpoint(
        __call__=call,
        variables=[variable for part in parts.values() for variable in part.variables],
        trainable_variables=[v for part in parts.values() for v in part.trainable_variables],
        regularization_losses=[],
        **{name: _weights_of(part) for name, part in parts.items()},
    )
    return root, {"serving_default": serving_default, "feature_maps": feature_maps}


def _weights_of(part: tf.keras.layers.Layer) -> tf.Module:
    """Returns a module with a part's variables, under their names in checkpoints.

    Saving the Keras layer itself would trace each of its layers once more.
    """
    view = tf.train.TrackableView(part)
    originals = view.descendants()
    copies = {
        id(each): each if isinstance(each, tf.Variable) else tf.Module() for each in originals
    }
    for each in originals:
        if not isinstance(each, tf.Variable):
            for name, child in view.children(each).items():
                setattr(copies[id(each)], name, copies[id(child)])
    return copies[id(part)]


def heads_of(model: PixPro, network: str) -> dict[str, tf.keras.layers.Layer]:
    """Returns the parts that are exported beside the backbone of a network, by their names in the export.

    Returns:
        The "neck", if there is one; for a pixel objective also the "projector" and, for the online network, the "propagation".
    """
    encoder = getattr(model, network)
    heads = {"neck": encoder.neck} if encoder.neck is not None else {}
    for objective in model.objectives:
        if isinstance(objective, PixelObjective):
            heads["projector"] = encoder.projectors[objective.name]
            if isinstance(objective, PixelConsistency) and network == "online":
                heads["propagation"] = objective
    return heads


def _save(handle: str, folder: str) -> None:
    """Saves the backbone of a run as a SavedModel."""
    with trained_weights.open_weights(handle) as weights, averaged_over_replicas():
        root, _ = reusable(*trained_weights.restore_with_neck(weights))
    tf.saved_model.save(root, folder)


def load_backbone(
    handle: str, trainable: bool = False, return_endpoints: bool = False
) -> tf.keras.layers.Layer:
    """Loads a backbone as a Keras layer, for `tf.keras.Sequential` and any other Keras model.

    A SavedModel is a program that runs with your permissions: load only those you trust.

        model = tf.keras.Sequential([
            pixpro_tf.load_backbone("exported/mine", trainable=True),
            tf.keras.layers.Dense(10),
        ])

    Args:
        handle: TF Hub-style handle of a SavedModel (a folder, a .tar.gz file, a gs:// path, or an https:// address, whose download is
            kept in `TFHUB_CACHE_DIR`), or the path of a run folder.
        trainable: whether to train the weights; batch norm then normalises with the statistics of each batch.
        return_endpoints: whether to return a dict of the maps "c2" to "c5" and "pooled" instead of the pooled features.

    Returns:
        A `hub.KerasLayer`, in float32 whatever the policy. It takes float32 images `[B, H, W, C]` in [0, 1] with the channels that
        the backbone was trained with, RGB by default, of any size. It can be rebuilt from its configuration (`clone_model`, H5 files)
        if the handle is a folder or an address; the temporary folder of a run or of a local archive no longer exists by then.

    Raises:
        RunError: if the handle does not exist or cannot be loaded.

    Examples:
        >>> import pixpro_tf
        >>> import tensorflow as tf
        >>> backbone = pixpro_tf.load_backbone("exported/mine", trainable=True)  # doctest: +SKIP
        >>> backbone(tf.zeros([1, 224, 224, 3])).shape  # doctest: +SKIP
        TensorShape([1, 2048])
    """
    import tensorflow_hub as hub

    with contextlib.ExitStack() as stack:
        if checkpoint_files.find_checkpoint(handle) is not None:
            folder = stack.enter_context(hub_handles.temporary_folder())
            # A thread of its own is outside of the caller's `strategy.scope()`, in which nothing can be saved.
            with concurrent.futures.ThreadPoolExecutor(max_workers=1) as thread:
                thread.submit(_save, handle, folder).result()
        else:
            folder = stack.enter_context(hub_handles.local_copy(handle))
            model_card.read(folder)
        try:
            return hub.KerasLayer(
                # A layer that is rebuilt from its configuration requests the same address.
                handle if hub_handles.is_hub_address(handle) else folder,
                trainable=trainable,
                arguments={"return_endpoints": return_endpoints},
                dtype=tf.float32,
            )
        except Exception as error:
            raise RunError(
                f"{handle} is not a SavedModel that can be loaded: {first_line(error)}"
            ) from error
