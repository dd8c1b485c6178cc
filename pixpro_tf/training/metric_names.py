"""Metrics of a run in TensorBoard: their names, what they mean, and the thresholds of the alarms."""

# Features drift towards a constant if bins of different images are more similar than this, or if their spread is smaller than this.
MAX_CROSS_IMAGE_COSINE = 0.8
MIN_FEATURE_SPREAD = 0.4
# If the position in the grid explains more than half of the variance, the network reads the padding, not the image.
MAX_POSITION_SHARE = 0.5

# Name in TensorBoard and description of each metric of `metrics.jsonl`; docs/metrics.md explains them further.
_METRICS = {
    "loss": ("loss/total", "The minimised loss. It alone does not show what has been learnt."),
    "pixel_loss": ("loss/pixel", "Unweighted loss of the pixel objective."),
    "instance_loss": ("loss/instance", "Unweighted loss of the instance objective."),
    "consistency": (
        "pairs/mean_cosine",
        "Mean cosine of positive pairs over the images that have any, in [-1, 1].",
    ),
    "positive_pairs": (
        "pairs/positive_per_image",
        "Number of positive pairs of bins for each image.",
    ),
    "matching_accuracy": (
        "pairs/matching_accuracy",
        "Share of the bins with a positive whose nearest bin in the other view is one.",
    ),
    "matched_bins": ("pairs/matched_bins_per_view", "Number of bins with a positive in a view."),
    "no_overlap": (
        "pairs/images_without_overlap",
        "Share of the images whose views have no positive pair.",
    ),
    "instance_consistency": (
        "instance/mean_cosine",
        "Mean cosine of prediction and target of images, in [-1, 1].",
    ),
    "instance_accuracy": (
        "instance/accuracy",
        "Share of the images whose nearest key in the global batch is their own.",
    ),
    "feature_spread": (
        "alarm/feature_spread",
        "0 for one constant feature, 1 if the features are centred around the origin. "
        f"**Alarm below {MIN_FEATURE_SPREAD:g}**: the features collapse.",
    ),
    "cross_image_cosine": (
        "alarm/cross_image_cosine",
        "Mean cosine of bins of different images. "
        f"**Alarm above {MAX_CROSS_IMAGE_COSINE:g}**: the features collapse.",
    ),
    "position_share": (
        "alarm/position_share",
        "Share of the variance that the position in the grid explains. "
        f"**Alarm above {MAX_POSITION_SHARE:g}**: the network reads the padding, not the image.",
    ),
    "learning_rate": ("optimizer/learning_rate", "Learning rate of the last step."),
    "gradient_norm": (
        "optimizer/gradient_norm",
        "Norm of the gradient, summed over replicas, before weight decay and adaptation.",
    ),
    "ema_momentum": (
        "optimizer/ema_momentum",
        "Share of its own weights that the target network keeps in a step.",
    ),
    "target_generations": (
        "optimizer/target_generations",
        "How many times the online network has renewed the target network so far. Below about 20, methods without negatives learn from a "
        "network that is still nearly random.",
    ),
    "images_per_second": ("speed/images_per_second", "Throughput of the global batch."),
    "data_wait_share": (
        "speed/data_wait_share",
        "Share of the time in which a step waits for images. Above a few per cent, the input pipeline is the bottleneck.",
    ),
}
# Measures of success for the progress line, of which the first one that a run has is shown.
OF_SUCCESS = ("consistency", "matching_accuracy", "instance_consistency", "instance_accuracy")


def scalar_name(metric: str) -> str:
    """Returns the name of a metric in TensorBoard, e.g. `loss/pixel_p3`, or `objective/NAME` for one of a custom objective."""
    if metric.startswith("pixel_loss_"):
        return f"loss/pixel_{metric.removeprefix('pixel_loss_')}"
    return _METRICS[metric][0] if metric in _METRICS else f"objective/{metric}"


def description(metric: str) -> str | None:
    """Returns what TensorBoard says about a metric; None for one of a custom objective."""
    return _METRICS[metric][1] if metric in _METRICS else None
