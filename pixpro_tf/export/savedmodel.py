"""Export of a backbone as a Reusable SavedModel, which TF Hub loads without this project.

`hub.load("exported/mine")(images)` takes float32 RGB images in [0, 1] and returns `[B, C]`;
`hub.KerasLayer("exported/mine", trainable=True, dtype="float32", arguments=dict(return_endpoints=True))` returns c2 to c5.
"""

import contextlib
import json
import tarfile
from typing import Any

import tensorflow as tf

from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.cli.outputs import atomic_output, check_output, write_texts
from pixpro_tf.data.views.channels import Channels
from pixpro_tf.errors import RunError
from pixpro_tf.storage import model_card, origins, trained_weights
from pixpro_tf.storage.hub_handles import is_archive
from pixpro_tf.storage.runs import Run
from pixpro_tf.storage.saved_model import averaged_over_replicas, heads_of, reusable

_README = """\
# {title}

A {architecture} without its classifier, {origin}. `model_card.json` contains the details.

The model takes {images} of any size, `[batch, height, width, {inputs}]`, and normalises them itself.

```python
import tensorflow_hub as hub

model = hub.load(HANDLE)  # this folder, or the address of its .tar.gz: https://... or gs://...
vectors = model(images)  # [batch, {channels}]
maps = model(images, return_endpoints=True)  # a dict: {endpoints}
```

To fine-tune the model in Keras 2 (TensorFlow 2.16 and newer require the package tf-keras and `TF_USE_LEGACY_KERAS=1`), use this layer.
It computes in float32 under any precision policy:

```python
backbone = hub.KerasLayer(
    HANDLE, trainable=True, dtype="float32", arguments=dict(return_endpoints=True)
)
```

In Keras 3, use this layer, whose batch norm always uses the running averages:

```python
backbone = keras.layers.TFSMLayer(FOLDER, call_endpoint="feature_maps", dtype="float32")
```

Without Keras, `tf.saved_model.load` returns the same object as `hub.load`. Its `variables`, `trainable_variables` and
`regularization_losses` are lists. Called with `training=True`, it normalises with the statistics of the batch and updates the running
averages. On several GPUs (`tf.distribute`), each replica normalises with the statistics of its own part of the batch, and the running
averages are the mean over the replicas.

A SavedModel is a program: load only SavedModels that you trust.

| output | stride | channels |
|---|---|---|
{outputs}

Licence of the weights: {licence}. SHA-256 of the concatenated bytes of `model.variables`: `{checksum}`.
"""


def export(
    run: str,
    output: str,
    *,
    network: str | None = None,
    include_heads: bool = False,
    allow_unfinished: bool = False,
    licence: str = "",
    overwrite: bool = False,
) -> None:
    """Writes the SavedModel with its model_card.json and README.md, including an FPN and dense head trained with the backbone.

    Args:
        run: folder of a run or of imported weights.
        output: folder to create; a name that ends with .tar.gz or .tgz creates a single archive, as hubs serve them.
        network: network to export, "online" (the default) or "target".
        include_heads: whether to also save the projector and, for the online network, the propagation.
        allow_unfinished: whether to accept a run that has not completed all its steps.
        licence: licence of the weights, for the model card.
        overwrite: whether to replace an existing output.

    Raises:
        UserError: if the run does not contain what to export, or the output cannot be written.
    """
    check_output(run, output, overwrite)
    # A trailing slash must not hide the suffix of an archive.
    output = output.rstrip("/") or output
    network = network or "online"
    opened = Run.open(run)
    progress = opened.progress
    if not allow_unfinished:
        progress.require_finished(run)
    with averaged_over_replicas():
        if include_heads:
            backbone, heads = _with_heads(opened, network)
        else:
            with trained_weights.open_weights(run, network) as weights:
                backbone, neck = trained_weights.restore_with_neck(weights)
            heads = {} if neck is None else {"neck": neck}
    root, signatures = reusable(backbone, **heads)
    card = model_card.compose(
        backbone=backbone,
        network=network,
        heads=heads,
        variables=root.variables,
        config=opened.config,
        description=opened.description,
        step=progress.step,
        total_steps=progress.total_steps,
        metrics=_metrics_at(progress.step, opened.folder.metrics),
        licence=licence or "no licence stated",
    )
    with atomic_output(output, overwrite) as path:
        saved = f"{path}.saved" if is_archive(output) else path
        tf.saved_model.save(root, saved, signatures=signatures)
        model_card.write(card, saved)
        write_texts(saved, {"README.md": _readme(card)})
        if saved != path:
            _pack(saved, path)


def _with_heads(run: Run, network: str) -> "tuple[ResNet, dict[str, tf.keras.layers.Layer]]":
    try:
        model = run.load_model()
    except RunError as error:
        raise RunError(
            f"{run.name} does not contain the heads that --include_heads exports: {error}"
        ) from error
    heads = heads_of(model, network)
    if "projector" not in heads:
        raise RunError(
            f"{run.name} was trained without a pixel loss, whose heads --include_heads exports; remove --include_heads"
        )
    return getattr(model, network).backbone, heads


def _metrics_at(step: int | None, path: str) -> dict[str, Any] | None:
    """Returns the last metrics up to a step; those of later steps are not those of its checkpoint."""
    if step is None or not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "rb") as file:
        lines = file.read().splitlines()
    for line in reversed(lines):
        # A run that was killed may have written an incomplete line.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            metrics = json.loads(line)
            if metrics["step"] <= step:
                return metrics
    return None


def _readme(card: dict[str, Any]) -> str:
    backbone, outputs = card["backbone"], card["outputs"]
    maps = [name for name, shape in outputs.items() if "stride" in shape]
    rows = [
        f"| `{name}` | {shape.get('stride', 'whole image')} | {shape['channels']} |"
        for name, shape in outputs.items()
    ]
    return _README.format(
        title=backbone["architecture"],
        architecture=backbone["architecture"],
        origin=origins.of_card(card),
        channels=outputs["pooled"]["channels"],
        images=_describe(model_card.channels_of(card)),
        inputs=model_card.channels_of(card).count,
        endpoints=", ".join([*maps, "pooled"]),
        outputs="\n".join(rows),
        licence=card["licence"]["weights"],
        checksum=card["weights"]["sha256"],
    )


def _describe(channels: Channels) -> str:
    if channels.is_photograph:
        return "float32 RGB images in [0, 1]"
    return f"float32 images `{channels.scaling}`, limited to [0, 1],"


def _pack(folder: str, path: str) -> None:
    """Packs a folder into an archive with the folder as its root, as hubs serve them, and without user names or ids."""

    def anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        return info

    # Weights hardly compress, so the fastest level is as good as the others.
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(folder, arcname=".", filter=anonymous)
