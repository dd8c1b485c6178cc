"""Pre-trained projections, whose similarities are the propagation weights, and these weights."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from pixpro_tf.config import Config
from pixpro_tf.data.views.photometric import normalize
from pixpro_tf.errors import RunError
from pixpro_tf.evaluation.sources import RANDOM
from pixpro_tf.layers.propagation import similarity
from pixpro_tf.objectives.pixel import PixelObjective
from pixpro_tf.ops.numerics import unit_length
from pixpro_tf.pretrained.reading import is_pretrained
from pixpro_tf.storage import hub_handles, model_card
from pixpro_tf.storage.checkpoint_files import find_checkpoint
from pixpro_tf.storage.runs import Run
from pixpro_tf.storage.saved_model import load_backbone


@dataclasses.dataclass(frozen=True)
class Projections:
    """Projections from which the propagation weights are computed.

    Attributes:
        function: function from images float `[B, H, W, 3]` in 0..255 to projections `[B, h, w, C]`.
        gamma: sharpness of the similarity in the propagation.
        name: name to show to users.
    """

    function: Callable[[tf.Tensor], tf.Tensor]
    gamma: float
    name: str


def find_projections(source: str, network: str = "") -> Projections | None:
    """Finds the projections of a run, or of a SavedModel that was exported with its heads.

    Args:
        source: run, handle or random weights; see `evaluation.sources.load_backbone`.
        network: network of a run, "online" or "target"; empty for the online one.

    Returns:
        The projections of the first level; None for random, published or imported weights, a run without pixel loss, or a SavedModel without heads.

    Raises:
        RunError: if the weights are not found.
    """
    if source.startswith(RANDOM) or is_pretrained(source):
        return None
    if find_checkpoint(source) is not None:
        return _of_run(source, network or "online")
    return _of_saved_model(source)


def _of_run(run: str, network: str) -> Projections | None:
    try:
        model = Run.open(run).load_model()
    except RunError:
        # Imported weights are a backbone without heads; loading the backbone raises an error if they cannot be read.
        return None
    objectives = [each for each in model.objectives if isinstance(each, PixelObjective)]
    if not objectives:
        return None
    encoder, objective = getattr(model, network), objectives[0]
    level = objective.levels[0]

    def function(images: tf.Tensor) -> tf.Tensor:
        found = encoder(normalize(images / 255.0, encoder.backbone.channels), training=False)
        return found["projections"][objective.name][level]

    gamma = getattr(objective, "gamma", Config.gamma)
    return Projections(function, gamma, f"projections of {level}")


def _of_saved_model(handle: str) -> Projections | None:
    with hub_handles.local_copy(handle) as folder:
        card = model_card.read(folder) or {"heads": {}}
        heads = card["heads"]
    if "projector" not in heads:
        return None
    levels = heads["projector"]["levels"]
    layer = load_backbone(handle, return_endpoints=True)
    output = model_card.output_name("projected", levels[0], levels)
    gamma = heads.get("propagation", {}).get("gamma", Config.gamma)
    return Projections(
        lambda images: layer(images / 255.0)[output], gamma, f"projections of {levels[0]}"
    )


def propagation_weights(maps: tf.Tensor, gamma: float, bins: tf.Tensor) -> tf.Tensor:
    """Computes the weights with which all bins of an image are propagated to some of its bins.

    Args:
        maps: float `[B, h, w, C]`, feature maps that are compared.
        gamma: sharpness of the similarity.
        bins: int `[B, Q]`, row-major indices of the bins that receive the others.

    Returns:
        Weights `[B, Q, h, w]` in [0, 1]; 1 at the bin itself.

    Source: Xie et al., CVPR 2021 (https://arxiv.org/abs/2011.10043), equation 3.
    """
    shape = tf.shape(maps)
    unit = unit_length(tf.reshape(maps, [shape[0], -1, maps.shape[-1]]))
    weights = similarity(tf.gather(unit, bins, batch_dims=1), unit, gamma)
    return tf.reshape(weights, [shape[0], -1, shape[1], shape[2]])
