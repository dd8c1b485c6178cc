"""Exports to Detectron2: names, layouts, and unsupported backbones."""

import pickle

import numpy as np
import pytest

from pixpro_tf.backbones import resnet
from pixpro_tf.export import detectron2
from pixpro_tf.export.commands import detectron2 as detectron2_command
from pixpro_tf.pretrained import torch_names
from pixpro_tf.storage import trained_weights
from pixpro_tf.storage.runs import Run
from tests.support.models import OTHER_MEAN, make_run

# Detectron2's names in a bottleneck ResNet, taken from its modules: a stem, and stages res2 to res5 of blocks with three convolutions.
# The first block of a stage has a projected shortcut, and each convolution contains a norm.
NORM = ("weight", "bias", "running_mean", "running_var")


def detectron2_names(blocks, depth):
    convolutions = ["stem.conv1"]
    for stage, count in enumerate(blocks):
        for block in range(count):
            prefix = f"res{stage + 2}.{block}"
            convolutions += [f"{prefix}.conv{number + 1}" for number in range(depth)]
            if block == 0 and (depth == 3 or stage > 0):
                convolutions.append(f"{prefix}.shortcut")
    found = {f"{name}.weight" for name in convolutions}
    return found | {f"{name}.norm.{part}" for name in convolutions for part in NORM}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "blocks", "depth"),
    [("resnet18", (2, 2, 2, 2), 2), ("resnet50", (3, 4, 6, 3), 3)],
)
def test_names_are_the_same_as_in_detectron2(backbone, blocks, depth):
    state = torch_names.state_dict(resnet.build(backbone))
    assert detectron2.to_detectron2(state).keys() == detectron2_names(blocks, depth)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), backbone="resnet18")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["online", "target"])
def test_pickle_contains_the_weights_in_the_layout_of_pytorch(run, tmp_path, network):
    path = tmp_path / "backbone.pkl"
    flags = [f"--from={run}", f"--output={path}", f"--network={network}"]
    assert detectron2_command.main(flags) == 0
    with open(path, "rb") as file:
        content = pickle.load(file)
    assert content["matching_heuristics"] is True and "__author__" in content
    backbone = trained_weights.restore_backbone(str(run), network)
    kernel = backbone.stages[1][0].convolutions[0].kernel.numpy()
    array = content["model"]["res3.0.conv1.weight"]
    assert type(array) is np.ndarray and array.shape == (128, 64, 3, 3)
    assert array[5, 7, 0, 2] == kernel[0, 2, 7, 5]
    scale = backbone.stages[3][1].norms[1].gamma.numpy()
    np.testing.assert_array_equal(content["model"]["res5.1.conv2.norm.weight"], scale)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"backbone": "resnet10"}, "--backbone=resnet10, which Detectron2 does not support"),
        ({"backbone": "resnet18d"}, "--backbone=resnet18d, which Detectron2 does not support"),
        ({"backbone": "resnet18", "output_stride": 8}, "pre-train with --output_stride=32 or 16"),
        (
            {"backbone": "resnet18", "output_stride": 16},
            "is a resnet18 with --output_stride=16, which",
        ),
        (
            {"backbone": "resnet18", "backbone_layout": "od_api"},
            "pre-train with --backbone_layout=torchvision",
        ),
    ],
    ids=str,
)
def test_unsupported_backbone_is_rejected(tmp_path, capsys, flags, said):
    run = make_run(tmp_path / "run", **flags)
    output = tmp_path / "backbone.pkl"
    assert detectron2_command.main([f"--from={run}", f"--output={output}"]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize(
    ("backbone", "stride", "lines"),
    [
        ("resnet50", 32, {"DEPTH: 50", "STRIDE_IN_1X1: False", "NORM: SyncBN"}),
        ("resnet50", 16, {"DEPTH: 50", "RES5_DILATION: 2"}),
        ("resnet34", 32, {"DEPTH: 34", "RES2_OUT_CHANNELS: 64"}),
        ("resnet50w2", 32, {"DEPTH: 50", "STEM_OUT_CHANNELS: 128", "RES2_OUT_CHANNELS: 512"}),
        ("resnext101_32x8d", 32, {"DEPTH: 101", "NUM_GROUPS: 32", "WIDTH_PER_GROUP: 8"}),
    ],
)
def test_settings_match_the_backbone(backbone, stride, lines):
    found = detectron2.settings(backbone, stride)
    assert {f"MODEL.RESNETS.{line}" for line in lines} <= set(found)
    assert any("RES5_DILATION" in line for line in found) == (stride == 16)


def test_settings_have_the_mean_and_deviation_of_the_run(tmp_path, capsys):
    # Detectron2's own values, those of ImageNet.
    found = detectron2.settings("resnet18", 32)
    assert "MODEL.PIXEL_MEAN: [123.675, 116.28, 103.53]" in found
    assert "MODEL.PIXEL_STD: [58.395, 57.12, 57.375]" in found
    run = make_run(tmp_path / "run", backbone="resnet18", **OTHER_MEAN)
    assert detectron2_command.main([f"--from={run}", f"--output={tmp_path / 'out.pkl'}"]) == 0
    printed = capsys.readouterr().out
    assert "MODEL.PIXEL_MEAN: [25.5, 178.5, 102.0]" in printed
    assert "MODEL.PIXEL_STD: [12.75, 76.5, 25.5]" in printed


@pytest.mark.slow
def test_neck_is_exported_with_the_names_of_detectron2(tmp_path, capsys):
    neck_flags = {"pixel_levels": "p3,p4,p5,p6,p7", "fpn_channels": 8, "dense_head_layers": 2}
    run = make_run(tmp_path / "run", backbone="resnet18", image_size=160, **neck_flags)
    assert detectron2_command.main([f"--from={run}", f"--output={tmp_path / 'neck.pkl'}"]) == 0
    with open(tmp_path / "neck.pkl", "rb") as file:
        model = pickle.load(file)["model"]
    # Layers of Detectron2's FPN, LastLevelP6P7 and RetinaNetHead, whose towers are sequences of convolutions and ReLUs.
    layers = [f"fpn_{part}{level}" for part in ("lateral", "output") for level in (3, 4, 5)]
    layers += ["top_block.p6", "top_block.p7"]
    layers += [f"head.{tower}_subnet.{index}" for tower in ("cls", "bbox") for index in (0, 2)]
    wanted = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert {name for name in model if "fpn" in name or "top" in name or "head" in name} == wanted
    assert model["fpn_lateral4.weight"].shape == (8, 256, 1, 1)
    assert model["top_block.p6.weight"].shape == (8, 512, 3, 3)
    source = Run.open(str(run)).load_model()
    kernel = source.online.neck.dense_head.convolutions[1].kernel.numpy()
    np.testing.assert_array_equal(model["head.bbox_subnet.2.weight"], kernel.transpose(3, 2, 0, 1))
    printed = capsys.readouterr().out
    assert "build_retinanet_resnet_fpn_backbone" in printed
    assert "MODEL.FPN.IN_FEATURES: [res3, res4, res5]" in printed


@pytest.mark.parametrize("name", ["mine.pth", "mine"])
def test_names_that_detectron2_does_not_recognise_are_refused(tmp_path, capsys, name):
    flags = ["--from=runs/nowhere", f"--output={tmp_path / name}"]
    assert detectron2_command.main(flags) == 2
    assert f"--output={tmp_path / name} must end in .pkl" in capsys.readouterr().err
