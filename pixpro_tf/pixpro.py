"""PixPro as a Keras model: the online and target networks, their objectives, and the training step."""

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import tensorflow as tf

from pixpro_tf import keras_arguments
from pixpro_tf.backbones.encoder import Encoder
from pixpro_tf.layers.batch_norm import separate_statistics
from pixpro_tf.objectives import collapse
from pixpro_tf.objectives.base import Maps, Metrics, Objective, View
from pixpro_tf.objectives.pixel import as_bins
from pixpro_tf.ops.graphs import as_written

JIT_MODES = ("ppm", "step", "off")
# Names of the other parts of a checkpoint.
_TAKEN_NAMES = ("online", "target", "optimizer", "save_counter")
# Element of the training data, for all replicas together.
_Element = dict[str, tf.Tensor | tf.distribute.DistributedValues]


class PixPro(tf.keras.Model):
    """Model of an online network that learns from a target network, its own moving average, with one or more objectives.

    Each element of the training data is
    `{"view_1", "view_2": [B, S, S, 3], "box_1", "box_2": [B, 4] float32}`: two views of each image, normalised, and their boxes
    (see `ops.geometry`). With `photometric`, the views are uint8, and `"seed": [B, 2] int32` seeds the augmentation.

    Args:
        online: `Encoder` that is trained; its variables must exist.
        target: `Encoder` of the same architecture, which follows the online network.
        objectives: objectives to train, at least one; their names are keys of the encoders' projectors. The collapse alarms watch the
            projections of the first one.
        ema_schedule: function from the step to the share of the online weights that the target takes over.
        photometric: function `(images, seed, view) -> images` for photometric augmentation on the accelerator, or None.
        jit: scope of XLA compilation: "step" compiles the whole step, "ppm" and "off" leave it to TensorFlow. (The objective decides
            whether the propagation alone is compiled.)
        accumulation: number of micro-batches, the elements of the training data, that one step processes one after the other; it applies
            the mean of their gradients. Batch norm, and losses that compare with other images, see one micro-batch at a time.

    Source: Xie et al., CVPR 2021 (https://arxiv.org/abs/2011.10043).

    Examples:
        >>> import pixpro_tf
        >>> config = pixpro_tf.Config(backbone="resnet10w0.5", projector_hidden=16, projector_dim=8)
        >>> model = pixpro_tf.build_model(config, total_steps=1000)
        >>> [objective.name for objective in model.objectives]
        ['pixel']
    """

    def __init__(
        self,
        online: Encoder,
        target: Encoder,
        objectives: Sequence[Objective],
        ema_schedule: Callable[[tf.Tensor], tf.Tensor],
        photometric: Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor] | None = None,
        jit: str = "ppm",
        accumulation: int = 1,
        name: str = "pixpro",
    ) -> None:
        super().__init__(name=name)
        if jit not in JIT_MODES:
            raise ValueError(f"jit must be one of {JIT_MODES}, not {jit!r}")
        if accumulation < 1:
            raise ValueError(f"accumulation must be at least 1, not {accumulation}")
        names = [objective.name for objective in objectives]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"objectives must contain at least one objective, with different names, not {names}"
            )
        if taken := set(names).intersection(_TAKEN_NAMES):
            raise ValueError(
                f"an objective cannot be named {', '.join(sorted(taken))}, the name of another part of a checkpoint"
            )
        self.online = online
        self.target = target
        self.objectives = list(objectives)
        self.ema_schedule = ema_schedule
        self.photometric = photometric
        self.jit = jit
        self.accumulation = accumulation
        # The tuples are in closures because Keras would track them as parts of the model, and save the variables twice.
        trained = tuple(zip(target.trainable_variables, online.trainable_variables, strict=True))
        everything = tuple(zip(target.variables, online.variables, strict=True))
        if not trained:
            raise ValueError("online and target do not have variables yet; call them once before")
        self._trained_pairs = lambda: trained
        self._all_pairs = lambda: everything
        # This affects the optimizer only: the target runs in training mode, and its BN normalises with the statistics of its own batch.
        self.target.trainable = False

    def compile(
        self,
        optimizer: tf.keras.optimizers.Optimizer,
        *,
        run_eagerly: bool | None = None,
        **others: Any,
    ) -> None:
        """Sets the optimizer only; the losses are those of the objectives.

        Args:
            optimizer: Keras optimizer.
            run_eagerly: whether to run steps without a graph, for debugging.
            others: other arguments of Keras, with values that have no effect.

        Raises:
            ValueError: if an argument has a value that would affect another Keras model but has no effect here.
        """
        keras_arguments.check_compile(others)
        super().compile(optimizer=optimizer, run_eagerly=run_eagerly, jit_compile=False)

    def fit(self, x: Any = None, *others: Any, **settings: Any) -> tf.keras.callbacks.History:
        """Trains as Keras does.

        Args:
            x: dataset of training data, see above.
            others, settings: other arguments of Keras; those about labels, weights of examples and validation must not be set.

        Raises:
            ValueError: if an argument has a value that would affect another Keras model but has no effect here.
        """
        given = inspect.signature(super().fit).bind_partial(x, *others, **settings).arguments
        keras_arguments.check_fit(given)
        if self.accumulation > 1 and given.get("steps_per_epoch") is None:
            x, settings["steps_per_epoch"] = keras_arguments.whole_steps(x, self.accumulation)
        return super().fit(x, *others, **settings)

    def evaluate(self, *_: Any, **__: Any) -> NoReturn:
        """Raises `NotImplementedError`: batches of views have no score; `pixpro_tf.evaluation` evaluates backbones."""
        raise NotImplementedError(
            "PixPro does not support evaluate(); evaluate its backbone with pixpro_tf.evaluation"
        )

    test_on_batch = evaluate

    def train_on_batch(self, *_: Any, **__: Any) -> NoReturn:
        """Raises `NotImplementedError`: a step takes its batches from a dataset."""
        raise NotImplementedError(
            "PixPro does not support train_on_batch(); pass fit() a dataset of one batch"
        )

    def call(self, images: tf.Tensor, training: bool | None = None) -> dict[str, dict[str, Maps]]:
        """Returns the online predictions and the target projections of images, by objective name and by level."""
        if isinstance(images, dict | list | tuple):
            raise TypeError(
                "a PixPro is called with images [B, H, W, C], as for predict(); training data are for fit() only"
            )
        online, target = (
            network(images, training=training)["projections"]
            for network in (self.online, self.target)
        )
        return {
            objective.name: {
                "online": objective(online[objective.name], training=training),
                "target": target[objective.name],
            }
            for objective in self.objectives
        }

    def start_target_from_online(self) -> None:
        """Copies the online network to the target network, including the running averages."""
        for target, online in self._all_pairs():
            target.assign(online)

    @property
    def finished_steps(self) -> int:
        """Number of finished steps of the run, which the optimizer counts and checkpoints contain."""
        return int(self.optimizer.iterations.numpy())

    def train_step(self, batch: dict[str, tf.Tensor]) -> Metrics:
        """Runs one step on one replica's share of the batch.

        Returns:
            Metrics as a dict of float32 scalars, equal on all replicas; `docs/metrics.md` explains each.
        """
        self._update_target()
        gradients, metrics = self._gradients(batch)
        return metrics | self._apply(gradients)

    def _gradients(self, batch: dict[str, tf.Tensor]) -> tuple[list[tf.Tensor], Metrics]:
        """Returns the gradients of one replica's share of the loss, and the mean of the metrics over all replicas."""
        replica_context = tf.distribute.get_replica_context()
        views = [self._prepare(batch, 1), self._prepare(batch, 2)]
        targets = self._on_views(self.target, views)
        variables = self.trainable_variables
        with tf.GradientTape() as tape:
            online = self._on_views(self.online, views)
            loss, metrics = self._loss(online, targets, (batch["box_1"], batch["box_2"]))
            # Gradients are summed over replicas, so each replica contributes its share of the mean over the global batch.
            share = loss / replica_context.num_replicas_in_sync
            if isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
                share = self.optimizer.get_scaled_loss(share)
        gradients = tape.gradient(share, variables)
        if isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        return gradients, self._mean_over_replicas(metrics | {"loss": loss})

    @as_written
    def _apply(self, gradients: list[tf.Tensor]) -> Metrics:
        """Updates the online network with the sum of the gradients over replicas; returns metrics of the update."""
        ema_momentum = 1 - self.ema_schedule(self.optimizer.iterations)
        gradients = tf.distribute.get_replica_context().all_reduce("SUM", gradients)
        self.optimizer.apply_gradients(
            zip(gradients, self.trainable_variables, strict=True),
            experimental_aggregate_gradients=False,
        )
        gradient_norm = tf.cast(tf.linalg.global_norm(gradients), tf.float32)
        return {"gradient_norm": gradient_norm, "ema_momentum": ema_momentum}

    def make_train_function(
        self, force: bool = False
    ) -> Callable[[Iterator[_Element]], dict[str, tf.Tensor | float]]:
        """Returns the function that `fit` calls once per step, a hook of Keras; it also measures the wait for data."""
        made = getattr(self, "train_function", None)
        if made is not None and not force:
            return made
        if self.accumulation == 1:
            train_replicas = self._on_replicas(self.train_step)

            def train(take: Callable[[], _Element]) -> Metrics:
                return train_replicas(take())

        else:
            train = self._make_accumulating_step()

        def train_function(iterator: Iterator[_Element]) -> dict[str, tf.Tensor | float]:
            data_wait = 0.0

            def take() -> _Element:
                nonlocal data_wait
                asked = time.monotonic()
                batch = next(iterator)
                data_wait += time.monotonic() - asked
                return batch

            return train(take) | {"data_wait": data_wait}

        self.train_function = train_function
        return train_function

    def _on_replicas(self, function: Any) -> Callable[..., Any]:
        """Returns a graph that runs a replica function on all replicas, and returns the result of the first replica."""
        strategy = self.distribute_strategy

        def run(*arguments: Any) -> Any:
            result = strategy.run(function, args=arguments)
            return tf.nest.map_structure(
                lambda value: strategy.experimental_local_results(value)[0], result
            )

        if self.run_eagerly:
            return run
        if self.jit == "step" and not isinstance(strategy, tf.distribute.TPUStrategy):
            function = tf.function(function, jit_compile=True)
        return tf.function(run, reduce_retracing=True)

    def _make_accumulating_step(self) -> Callable[..., Metrics]:
        """Returns a step over several micro-batches, as a function of a callable that returns the next micro-batch."""
        # Each replica has its own sums, because replicas exchange gradients once per step. Sums begin at zero in every step, so checkpoints do
        # not need them.
        with self.distribute_strategy.scope():
            sums = [
                tf.Variable(
                    tf.zeros_like(variable),
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.SUM,
                )
                for variable in self.trainable_variables
            ]

        def begin() -> None:
            self._update_target()
            for total in sums:
                total.assign(tf.zeros_like(total))

        def add(batch: dict[str, tf.Tensor]) -> Metrics:
            gradients, metrics = self._gradients(batch)
            for total, gradient in zip(sums, gradients, strict=True):
                total.assign_add(gradient / self.accumulation)
            return metrics

        def finish() -> Metrics:
            metrics = self._apply([tf.identity(total) for total in sums])
            return metrics

        @tf.function
        def mean(parts: Sequence[Metrics]) -> Metrics:
            return {
                name: tf.add_n([part[name] for part in parts]) / len(parts) for name in parts[0]
            }

        begin, add, finish = map(self._on_replicas, (begin, add, finish))

        def train(take: Callable[[], _Element]) -> Metrics:
            begin()
            return mean([add(take()) for _ in range(self.accumulation)]) | finish()

        return train

    @as_written
    def _update_target(self) -> None:
        taken_over = self.ema_schedule(self.optimizer.iterations)

        def move(target: tf.Variable, online: tf.Variable, share: tf.Tensor) -> None:
            target.assign_add(tf.cast(share, target.dtype) * (online - target))

        def move_all(strategy: tf.distribute.Strategy, share: tf.Tensor) -> None:
            for target, online in self._trained_pairs():
                strategy.extended.update(target, move, args=(online, share), group=False)

        # Mirrored variables must be assigned in the cross-replica context; a single switch assigns all of them.
        tf.distribute.get_replica_context().merge_call(move_all, args=(taken_over,))

    @as_written
    def _prepare(self, batch: dict[str, tf.Tensor], view: int) -> tf.Tensor:
        images = batch[f"view_{view}"]
        if self.photometric is None:
            return images
        return self.photometric(images, batch["seed"], view)

    def _on_views(self, network: tf.keras.layers.Layer, views: Sequence[Any]) -> list[Any]:
        """Applies a network to each view in training mode, and returns its results.

        Several replicas process the views as one batch, because they wait for each other in each batch norm; on one replica, the fused
        kernels are faster.
        """
        if tf.distribute.get_strategy().num_replicas_in_sync == 1:
            return [network(view, training=True) for view in views]
        joined = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *views)
        with separate_statistics(len(views), compiled=self.jit == "ppm"):
            outputs = network(joined, training=True)
        flat = [tf.split(output, len(views)) for output in tf.nest.flatten(outputs)]
        return [tf.nest.pack_sequence_as(outputs, parts) for parts in zip(*flat, strict=True)]

    def _loss(
        self,
        online: Sequence[dict[str, dict[str, Any]]],
        target: Sequence[dict[str, dict[str, Any]]],
        boxes: Sequence[tf.Tensor],
    ) -> tuple[tf.Tensor, Metrics]:
        total: tf.Tensor | float = 0.0
        metrics: Metrics = {}
        parts: Metrics = {}
        for objective in self.objectives:
            name = objective.name
            predictions = self._on_views(
                objective, [features["projections"][name] for features in online]
            )
            projections = [features["projections"][name] for features in target]
            losses, found = objective.compare(
                _views(online, predictions, boxes), _views(target, projections, boxes)
            )
            parts[f"{name}_loss"] = tf.reduce_mean(losses)
            total += objective.weight * parts[f"{name}_loss"]
            metrics |= found
        if len(parts) > 1:
            metrics |= parts
        watched = self.objectives[0]
        maps = target[0]["projections"][watched.name]
        return total, metrics | collapse.alarms([as_bins(maps[level]) for level in watched.levels])

    @staticmethod
    @as_written
    def _mean_over_replicas(metrics: Metrics) -> Metrics:
        """Averages all metrics over replicas with one collective operation."""
        context = tf.distribute.get_replica_context()
        values = tf.stack([tf.cast(value, tf.float32) for value in metrics.values()])
        means = context.all_reduce("SUM", values) / context.num_replicas_in_sync
        return dict(zip(metrics, tf.unstack(means), strict=True))


def _views(
    features: Sequence[dict[str, dict[str, Any]]],
    outputs: Sequence[Maps],
    boxes: Sequence[tf.Tensor],
) -> list[View]:
    return [
        View(each["maps"], output, box)
        for each, output, box in zip(features, outputs, boxes, strict=True)
    ]
