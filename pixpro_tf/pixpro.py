"""PixPro as a Keras model: online and momentum networks, propagation, consistency, and the step that trains them."""

import time
from collections.abc import Callable

import tensorflow as tf

from pixpro_tf import diagnostics, geometry, losses
from pixpro_tf.backbones import resnet
from pixpro_tf.blocks import is_large
from pixpro_tf.config import Config
from pixpro_tf.heads import ConvMLP
from pixpro_tf.numerics import at_least_float32, unit_length
from pixpro_tf.optimizers.schedules import EmaSchedule
from pixpro_tf.propagation import PixelPropagation

JIT_MODES = ("ppm", "step", "off")
_pixel_consistency_compiled = tf.function(losses.pixel_consistency, jit_compile=True)


class Encoder(tf.keras.Model):
    """A backbone with the heads that both networks have.

    Args:
        backbone: model that gives the endpoint "c5".
        projector: head of the pixel branch.
        instance_projector: head of the instance branch, or None.

    Call with images `[B, H, W, 3]`. Returns `{"pixel": [B, h, w, C]}`, the projected map, and with an instance branch
    `{"instance": [B, h, w, C]}`, its map.
    """

    def __init__(self, backbone, projector, instance_projector=None, name="encoder"):
        super().__init__(name=name)
        self.backbone = backbone
        self.projector = projector
        self.instance_projector = instance_projector

    def call(self, images, training=None):
        features = self.backbone(images, training=training)["c5"]
        projections = {"pixel": self.projector(features, training=training)}
        if self.instance_projector is not None:
            projections["instance"] = self.instance_projector(features, training=training)
        return projections


class PixPro(tf.keras.Model):
    """Pixel-to-propagation consistency.

    One element of its training data is
    `{"view_1", "view_2": [B, S, S, 3], "box_1", "box_2": [B, 4] float32}`: two views of each image, normalised, and where they lie
    (see `geometry`). With `photometric`, views are uint8 and `"seed": [B, 2] int32` says what to draw.

    Args:
        online: `Encoder` that is trained; its variables exist already.
        target: `Encoder` of the same architecture, which follows it.
        propagation: `PixelPropagation` on the online projections.
        ema_schedule: from the step to the share of the online weights that the target takes over.
        positive_threshold: see `geometry.positive_mask`.
        instance_predictor: head between the online instance projection and its loss; None without instance branch.
        instance_weight: weight of the instance loss.
        photometric: function `(images, seed, view) -> images` for photometric work on the accelerator, or None.
        jit: "step" compiles the whole step with XLA, "ppm" and "off" leave it to TensorFlow. (Whether the propagation alone is
            compiled is `propagation`'s matter.)

    Source: Xie et al., CVPR 2021, and the authors' implementation where the two differ: the loss is -2 times the mean
        similarity for each direction, so it lies in [-4, 4].
    """

    def __init__(
        self,
        online: Encoder,
        target: Encoder,
        propagation: PixelPropagation,
        ema_schedule: Callable[[tf.Tensor], tf.Tensor],
        positive_threshold: float = 0.7,
        instance_predictor: tf.keras.layers.Layer | None = None,
        instance_weight: float = 0.0,
        photometric: Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor] | None = None,
        jit: str = "ppm",
        name: str = "pixpro",
    ):
        super().__init__(name=name)
        if jit not in JIT_MODES:
            raise ValueError(f"jit must be one of {JIT_MODES}, not {jit!r}")
        if bool(instance_weight) != (instance_predictor is not None):
            raise ValueError(
                "instance_weight and instance_predictor go together: give both or neither"
            )
        self.online = online
        self.target = target
        self.propagation = propagation
        self.ema_schedule = ema_schedule
        self.positive_threshold = positive_threshold
        self.instance_predictor = instance_predictor
        self.instance_weight = instance_weight
        self.photometric = photometric
        self.jit = jit
        # Kept in closures: Keras would track a tuple of variables as a part of the model, and save them twice.
        trained = tuple(zip(target.trainable_variables, online.trainable_variables, strict=True))
        everything = tuple(zip(target.variables, online.variables, strict=True))
        if not trained:
            raise ValueError("online and target have no variables yet; call them once before")
        self._trained_pairs = lambda: trained
        self._all_pairs = lambda: everything
        # For the optimiser only: it runs in training mode, and its BN normalises by its own batch.
        self.target.trainable = False

    def call(self, images, training=None):
        """Propagated and target projections of images, and the instance predictions where there is such a branch."""
        online = self._online(images, training)
        return online | {
            f"target_{name}": value
            for name, value in self.target(images, training=training).items()
        }

    def start_target_from_online(self):
        """Makes the target network a copy of the online one, running averages included."""
        for target, online in self._all_pairs():
            target.assign(online)

    @property
    def finished_steps(self) -> int:
        """Steps that the run has made; the optimiser counts them, and a checkpoint holds them."""
        return int(self.optimizer.iterations.numpy())

    def train_step(self, batch):
        """One step on one replica's share of the batch.

        Returns:
            A dict of float32 scalars, equal on all replicas; `docs/metrics.md` explains each.
        """
        replica_context = tf.distribute.get_replica_context()
        step = self.optimizer.iterations
        taken_over = self.ema_schedule(step)
        self._update_target(taken_over)

        views = [self._prepare(batch, 1), self._prepare(batch, 2)]
        targets = [self.target(view, training=True) for view in views]
        variables = self.trainable_variables
        with tf.GradientTape() as tape:
            online = [self._online(view, training=True) for view in views]
            loss, metrics = self._loss(online, targets, batch["box_1"], batch["box_2"])
            # Gradients are summed over replicas, so that each adds its part of the mean over the global batch.
            objective = loss / replica_context.num_replicas_in_sync
            if isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
                objective = self.optimizer.get_scaled_loss(objective)
        gradients = tape.gradient(objective, variables)
        if isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        gradients = replica_context.all_reduce("SUM", gradients)
        self.optimizer.apply_gradients(
            zip(gradients, variables, strict=True), experimental_aggregate_gradients=False
        )

        metrics["loss"] = loss
        metrics = self._mean_over_replicas(metrics)
        metrics["gradient_norm"] = tf.cast(tf.linalg.global_norm(gradients), tf.float32)
        metrics["ema_momentum"] = 1 - taken_over
        return metrics

    def make_train_function(self, force=False):
        """Keras' hook for the function that `fit` calls once a step; this one also measures the wait for data."""
        made = getattr(self, "train_function", None)
        if made is not None and not force:
            return made
        step_function = self.train_step
        if self.jit == "step" and not isinstance(
            self.distribute_strategy, tf.distribute.TPUStrategy
        ):
            step_function = tf.function(step_function, jit_compile=True)

        @tf.function(reduce_retracing=True)
        def train_replicas(batch):
            strategy = self.distribute_strategy
            metrics = strategy.run(step_function, args=(batch,))
            return {
                name: strategy.experimental_local_results(value)[0]
                for name, value in metrics.items()
            }

        def train_function(iterator):
            asked = time.monotonic()
            batch = next(iterator)
            data_wait = time.monotonic() - asked
            return train_replicas(batch) | {"data_wait": data_wait}

        self.train_function = train_function
        return train_function

    def _update_target(self, taken_over):
        def move(target, online, share):
            target.assign_add(tf.cast(share, target.dtype) * (online - target))

        def move_all(strategy, share):
            for target, online in self._trained_pairs():
                strategy.extended.update(target, move, args=(online, share), group=False)

        # Mirrored variables are assigned in cross-replica context; one switch serves all of them.
        tf.distribute.get_replica_context().merge_call(move_all, args=(taken_over,))

    def _prepare(self, batch, view):
        images = batch[f"view_{view}"]
        if self.photometric is None:
            return images
        return self.photometric(images, batch["seed"], view)

    def _online(self, images, training):
        projections = self.online(images, training=training)
        outputs = {"pixel": self.propagation(projections["pixel"], training=training)}
        if self.instance_predictor is not None:
            outputs["instance"] = self.instance_predictor(
                projections["instance"], training=training
            )
        return outputs

    def _loss(self, online, targets, box_1, box_2):
        propagated = [_bins(outputs["pixel"]) for outputs in online]
        target = [_bins(outputs["pixel"]) for outputs in targets]
        height, width = targets[0]["pixel"].shape[1:3]
        dtype = propagated[0].dtype
        bins = [geometry.bins_of(box, height, width) for box in (box_1, box_2)]
        # On a small map the compiled program would be no faster.
        compiled = self.jit == "ppm" and is_large(height * width)
        consistency = _pixel_consistency_compiled if compiled else losses.pixel_consistency
        similarity, pairs = consistency(
            propagated[0], target[1], bins[0], bins[1], self.positive_threshold
        )
        similarity += consistency(
            propagated[1], target[0], bins[1], bins[0], self.positive_threshold
        )[0]
        loss = -2 * tf.reduce_mean(similarity)

        overlapping = tf.cast(pairs > 0, dtype)
        metrics = {
            "consistency": tf.math.divide_no_nan(
                tf.reduce_sum(similarity) / 2, tf.reduce_sum(overlapping)
            ),
            "positive_pairs": tf.reduce_mean(pairs),
            "no_overlap": 1 - tf.reduce_mean(overlapping),
            "feature_spread": diagnostics.feature_spread(target[0]),
            "cross_image_cosine": diagnostics.cross_image_cosine(target[0]),
            "position_share": diagnostics.position_share(target[0]),
        }
        if self.instance_predictor is not None:
            prediction = [_pooled(outputs["instance"]) for outputs in online]
            instance_target = [_pooled(outputs["instance"]) for outputs in targets]
            agreement = losses.instance_consistency(prediction[0], instance_target[1])
            agreement += losses.instance_consistency(prediction[1], instance_target[0])
            instance_loss = -2 * tf.reduce_mean(agreement)
            metrics["pixel_loss"] = loss
            metrics["instance_loss"] = instance_loss
            loss += self.instance_weight * instance_loss
        return loss, metrics

    @staticmethod
    def _mean_over_replicas(metrics):
        """One collective for all of them."""
        context = tf.distribute.get_replica_context()
        values = tf.stack([tf.cast(value, tf.float32) for value in metrics.values()])
        means = context.all_reduce("SUM", values) / context.num_replicas_in_sync
        return dict(zip(metrics, tf.unstack(means), strict=True))


def _bins(feature_map):
    """`[B, H, W, C]` to unit vectors `[B, H * W, C]`."""
    batch, height, width, channels = feature_map.shape
    batch = tf.shape(feature_map)[0] if batch is None else batch
    return unit_length(tf.reshape(feature_map, [batch, height * width, channels]))


def _pooled(feature_map):
    """`[B, H, W, C]` to unit vectors `[B, C]`, averaged after the head, as the authors do."""
    return unit_length(tf.reduce_mean(at_least_float32(feature_map), axis=[1, 2]))


def from_config(config: Config, total_steps: int, photometric=None) -> PixPro:
    """The `PixPro` that a run's configuration describes; `total_steps` are those of its EMA schedule."""
    return build(
        backbone=config.backbone,
        backbone_layout=config.backbone_layout,
        output_stride=config.output_stride,
        image_size=config.image_size,
        projector_hidden=config.projector_hidden,
        projector_dim=config.projector_dim,
        ppm_layers=config.ppm_layers,
        gamma=config.gamma,
        positive_threshold=config.positive_threshold,
        instance_weight=config.instance_weight,
        ema_schedule=EmaSchedule(config.ema_momentum, total_steps),
        photometric=photometric,
        jit=config.jit,
    )


def build(
    *,
    backbone: str = "resnet50",
    backbone_layout: str = "torchvision",
    output_stride: int = 32,
    image_size: int = 224,
    projector_hidden: int = 4096,
    projector_dim: int = 256,
    ppm_layers: int = 1,
    gamma: float = 2.0,
    positive_threshold: float = 0.7,
    instance_weight: float = 0.0,
    ema_schedule: Callable[[tf.Tensor], tf.Tensor],
    photometric: Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor] | None = None,
    jit: str = "ppm",
) -> PixPro:
    """A `PixPro` whose variables exist; the target is a copy of the online network.

    Args:
        backbone, backbone_layout, output_stride: see `resnet.ResNet`.
        image_size: S, side of the square views in pixels.
        projector_hidden, projector_dim: channels inside the heads, and of what they give.
        ppm_layers, gamma: see `PixelPropagation`.
        positive_threshold, instance_weight, ema_schedule, photometric, jit: see `PixPro`.
    """

    def encoder(name):
        def head(part):
            return ConvMLP(projector_hidden, projector_dim, name=part)

        network = Encoder(
            resnet.ResNet(backbone, backbone_layout, output_stride),
            head("projector"),
            head("projector_instance") if instance_weight else None,
            name=name,
        )
        network(tf.keras.Input([image_size, image_size, 3]))
        return network

    model = PixPro(
        encoder("online"),
        encoder("target"),
        PixelPropagation(ppm_layers, gamma, jit_compile=jit == "ppm", name="propagation"),
        ema_schedule,
        positive_threshold,
        ConvMLP(projector_hidden, projector_dim, name="predictor") if instance_weight else None,
        instance_weight,
        photometric,
        jit,
    )
    model(tf.keras.Input([image_size, image_size, 3]))
    model.start_target_from_online()
    return model
