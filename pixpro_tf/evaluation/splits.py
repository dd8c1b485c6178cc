"""Splits of a dataset that may have images in common."""


def may_overlap(first: str, second: str) -> bool:
    """Whether parts of two splits belong to the same split of the dataset; slices of one split may overlap.

    Examples:
        >>> from pixpro_tf.evaluation import splits
        >>> splits.may_overlap("train+validation", "validation"), splits.may_overlap("train", "test")
        (True, False)
        >>> splits.may_overlap("train[:80%]", "train[80%:]")
        True
    """
    return bool({*map(_whole, _parts(first))} & {*map(_whole, _parts(second))})


def print_overlap(train_split: str, split: str) -> None:
    """Prints a line if a backbone is scored on images that it is trained on."""
    parts, others = _parts(train_split), _parts(split)
    shared = {*parts} & {*others} or any(
        _whole(one) == _whole(other) and not ("[" in one and "[" in other)
        for one in parts
        for other in others
    )
    if shared:
        print(
            f"--split={split} contains images of --train_split={train_split}: their scores do not tell how well other images are recognised"
        )


def _parts(split: str) -> list[str]:
    return [part.strip() for part in split.split("+")]


def _whole(part: str) -> str:
    return part.partition("[")[0]
