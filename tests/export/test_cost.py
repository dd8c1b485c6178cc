"""Time and memory of the exports of a ResNet-50; `pytest -s` prints the numbers."""

import pytest

from tests.support.models import make_run
from tests.support.runs import cost_of

OD_API_FLAGS = ("--task=coco", "--model=faster_rcnn_resnet50_fpn_keras")


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("module", "source", "layout", "name", "flags"),
    [
        ("savedmodel", "--run", "torchvision", "model", ("--include_heads",)),
        ("savedmodel", "--run", "torchvision", "model.tar.gz", ()),
        ("detectron2", "--from", "torchvision", "model.pkl", ()),
        ("od_api", "--from", "od_api", "detector", OD_API_FLAGS),
        ("model_garden", "--from", "model_garden", "garden", ()),
    ],
    ids=["savedmodel", "archive", "detectron2", "od_api", "model_garden"],
)
def test_resnet50_is_exported_within_a_minute_and_three_gigabytes(
    module, source, layout, name, flags, tmp_path
):
    run = make_run(tmp_path / "run", backbone="resnet50", backbone_layout=layout)
    seconds, size = cost_of(
        f"export.{module}", f"{source}={run}", f"--output={tmp_path / name}", *flags
    )
    assert seconds < 60
    assert size < 3e9
