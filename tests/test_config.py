"""Configuration: derived values, and every combination that is rejected."""

import dataclasses
import json
import math
import pathlib
import typing

import pytest

from pixpro_tf.backbones import resnet
from pixpro_tf.config import Config, flag
from pixpro_tf.config.hardware import SLURM_VARIABLES
from pixpro_tf.errors import ConfigError
from tests.support.models import FOUR_CHANNELS

FIELDS = {field.name: field for field in dataclasses.fields(Config)}

REMOTE_TPU = {"strategy": "tpu", "tpu": "my-tpu", "run_dir": "gs://bucket/run"}

# Flags, the flag that the message names with its value, and the alternative that the message offers.
REFUSALS = [
    ({"dataset": ""}, "dataset", "scenes/128"),
    ({"run_dir": ""}, "run_dir", "or remove it for runs/pixpro"),
    ({"dataset": "folder:"}, "dataset", "folder:/path/to/images"),
    ({"dataset": "zip:"}, "dataset", "zip:/path/to/images.zip"),
    ({"dataset": "folder:/no/such/folder"}, "dataset", "/no/such/folder does not exist"),
    ({"dataset": "two words"}, "dataset", "neither a TFDS name nor folder:PATH"),
    ({"dataset": "http://images"}, "dataset", "neither a TFDS name nor folder:PATH"),
    ({"min_crop_area": 0.0}, "min_crop_area", "greater than 0 and at most 1"),
    ({"min_crop_area": 1.5}, "min_crop_area", "greater than 0 and at most 1"),
    ({"min_crop_area": float("nan")}, "min_crop_area", "finite"),
    (
        {"min_crop_area": 0.3, "max_crop_area": 0.2},
        "max_crop_area",
        "at least --min_crop_area=0.3 and at most 1",
    ),
    ({"max_crop_area": 1.5}, "max_crop_area", "at least --min_crop_area=0.08 and at most 1"),
    ({"channels": 0}, "channels", "the minimum is 1"),
    ({"channels": 4}, "channel_low", "(--channels=4, got 3); python -m pixpro_tf.statistics"),
    ({"channel_std": (1.0, 1.0)}, "channel_std", "one number for each channel"),
    ({"channel_std": (0.2, 0.0, 0.2)}, "channel_std", "greater than 0 in every channel"),
    ({"channel_high": (255.0, 0.0, 255.0)}, "channel_high", "greater than --channel_low"),
    ({"channel_mean": (0.5, math.nan, 0.5)}, "channel_mean", "finite"),
    (FOUR_CHANNELS | {"dataset": "scenes/128"}, "dataset", "require folder:PATH or zip:FILE"),
    (FOUR_CHANNELS | {"dataset": "tfrecord:a"}, "dataset", "require folder:PATH or zip:FILE"),
    (FOUR_CHANNELS | {"augmentation": "simclr_grey"}, "augmentation", "--channels=4; use byol"),
    (FOUR_CHANNELS | {"augmentation": "rand_augment"}, "augmentation", "--channels=4; use byol"),
    (FOUR_CHANNELS | {"data_service": "grpc://a:1"}, "data_service", "remove it"),
    (FOUR_CHANNELS | {"probe_every": 5}, "probe_every", "requires 8-bit RGB images"),
    ({"image_size": 0}, "image_size", "the minimum is 1"),
    ({"output_stride": 4}, "output_stride", "8, 16 or 32"),
    ({"image_size": 31}, "image_size", "at least 33"),
    ({"image_size": 15, "output_stride": 16}, "image_size", "at least 17"),
    (
        {"image_size": 7, "output_stride": 8, "backbone_layout": "mirror"},
        "image_size",
        "at least 25",
    ),
    ({"image_size": 32}, "image_size", "at least 33"),
    ({"ppm_layers": 4}, "ppm_layers", "the maximum is 3"),
    ({"ppm_layers": -1}, "ppm_layers", "the minimum is 0"),
    ({"gamma": -1.0}, "gamma", "the minimum is 0"),
    ({"gamma": float("nan")}, "gamma", "finite"),
    ({"gamma": float("inf")}, "gamma", "finite"),
    ({"base_lr": float("inf")}, "base_lr", "finite"),
    ({"positive_threshold": 0.0}, "positive_threshold", "0.7"),
    ({"ema_momentum": 1.1}, "ema_momentum", "between 0 and 1"),
    ({"ema_momentum": -0.1}, "ema_momentum", "between 0 and 1"),
    ({"momentum": 1.0}, "momentum", "less than 1"),
    ({"momentum": -0.1}, "momentum", "less than 1"),
    ({"base_lr": 0.0}, "base_lr", "greater than 0"),
    ({"trust_coefficient": 0.0}, "trust_coefficient", "greater than 0"),
    ({"weight_decay": -1e-4}, "weight_decay", "the minimum is 0"),
    ({"instance_weight": -1.0}, "instance_weight", "the minimum is 0"),
    ({"batch_size": 0}, "batch_size", "the minimum is 1"),
    ({"epochs": 0}, "epochs", "the minimum is 1"),
    ({"epochs": 5, "warmup_epochs": 5}, "warmup_epochs", "at most 4"),
    ({"schedule": "step", "lr_drops": ""}, "lr_drops", "increasing epochs from 1 to 99"),
    ({"schedule": "step", "lr_drops": "80,60"}, "lr_drops", "increasing epochs"),
    ({"schedule": "step", "lr_drops": "60,60"}, "lr_drops", "increasing epochs"),
    ({"schedule": "step", "lr_drops": "0,60"}, "lr_drops", "increasing epochs"),
    ({"schedule": "step", "lr_drops": "60,100"}, "lr_drops", "increasing epochs"),
    ({"schedule": "step", "lr_drops": "sixty"}, "lr_drops", "20,30"),
    ({"schedule": "step", "epochs": 1, "warmup_epochs": 0}, "schedule", "--epochs=2"),
    ({"strategy": "tpu"}, "strategy", "--tpu=NAME"),
    ({"tpu": "local"}, "tpu", "--strategy=tpu"),
    ({"num_devices": 2, "strategy": "one_device"}, "num_devices", "--strategy=one_device"),
    ({"num_devices": 3, "strategy": "mirrored"}, "batch_size", "--batch_size=1023"),
    ({"precision": "float16", "loss_scale": "none"}, "loss_scale", "dynamic or a number"),
    ({"loss_scale": "large"}, "loss_scale", "dynamic or a number"),
    ({"loss_scale": "-2"}, "loss_scale", "greater than 0"),
    ({"loss_scale": "inf"}, "loss_scale", "greater than 0"),
    (
        {"strategy": "tpu", "tpu": "local", "precision": "float16"},
        "precision",
        "--precision=bfloat16",
    ),
    ({"profile_steps": "20"}, "profile_steps", "20,30"),
    ({"profile_steps": "30,20"}, "profile_steps", "20,30"),
    ({"profile_steps": "20,x"}, "profile_steps", "20,30"),
    ({"profile_steps": "0,10"}, "profile_steps", "counted from 1"),
    ({"split": "train", "dataset": "folder:photos"}, "split", "remove it"),
    ({"split": "train", "dataset": "zip:photos.zip"}, "split", "remove it"),
    ({"split": "train", "dataset": "tfrecord:shards/*"}, "split", "remove it"),
    ({"split": "train", "dataset": "photographs"}, "split", "remove it"),
    ({"strategy": "tpu", "tpu": "my-tpu", "run_dir": "runs/a"}, "run_dir", "gs://bucket/run"),
    (REMOTE_TPU | {"data_dir": "/data"}, "data_dir", "gs://bucket/data"),
    (REMOTE_TPU | {"dataset": "folder:/photos"}, "dataset", "--data_service"),
    (REMOTE_TPU | {"dataset": "zip:photos.zip"}, "dataset", "--data_service"),
    (REMOTE_TPU | {"dataset": "tfrecord:/data/*"}, "dataset", "--data_service"),
    (
        {"strategy": "tpu", "tpu": "local", "probe_every": 10},
        "probe_every",
        "pixpro_tf.evaluation.dense",
    ),
    (
        {"run_dir": "runs/lr[0.1]"},
        "run_dir",
        "contains [, which TensorFlow interprets as a pattern",
    ),
    ({"run_dir": "runs/what?"}, "run_dir", "contains ?, which"),
    ({"seed": -1}, "seed", "the minimum is 0"),
    ({"seed": 2**32}, "seed", "the maximum is 4294967295"),
    ({"pixel_weight": 0.0}, "pixel_weight", "--instance_weight=1"),
    ({"pixel_weight": -1.0}, "pixel_weight", "the minimum is 0"),
    ({"temperature": 0.0, "pixel_loss": "pixcontrast"}, "temperature", "greater than 0"),
    ({"instance_temperature": -1.0}, "instance_temperature", "greater than 0"),
    ({"temperature": 0.1}, "temperature", "--pixel_loss=pixpro; remove it"),
    ({"pixel_loss": "pixcontrast", "gamma": 4.0}, "gamma", "unused with --pixel_loss=pixcontr"),
    ({"pixel_loss": "pixcontrast", "ppm_layers": 0}, "ppm_layers", "remove it"),
    ({"instance_loss": "contrastive"}, "instance_loss", "unused with --instance_weight=0"),
    (
        {"instance_weight": 1.0, "instance_temperature": 0.1},
        "instance_temperature",
        "unused with --instance_loss=regression",
    ),
    *(
        ({"pixel_weight": 0.0, "instance_weight": 1.0, name: value}, name, "--pixel_weight=0")
        for name, value in (
            ("pixel_loss", "pixcontrast"),
            ("pixel_levels", "c4,c5"),
            ("projector_layers", 3),
            ("positive_threshold", 1.4),
            ("ppm_layers", 0),
            ("gamma", 1.0),
            ("temperature", 0.1),
        )
    ),
    ({"pixel_levels": ""}, "pixel_levels", "e.g. p3,p4,p5"),
    ({"pixel_levels": "c6"}, "pixel_levels", "e.g. p3,p4,p5"),
    ({"pixel_levels": "p3,p3"}, "pixel_levels", "different maps"),
    ({"pixel_levels": "c4"}, "pixel_levels", "add c5, or a level of an FPN"),
    ({"pixel_levels": "c4,c5"}, "pixel_levels", "--noshared_projector"),
    ({"pixel_levels": "c5,p3"}, "pixel_levels", "--noshared_projector"),
    ({"pixel_levels": "p4,p6"}, "pixel_levels", "lacks p5"),
    ({"pixel_levels": "p5,p7"}, "pixel_levels", "lacks p6"),
    ({"pixel_levels": "p5,p6,p7", "image_size": 128}, "image_size", "at least 129"),
    ({"pixel_levels": "p3", "image_size": 8}, "image_size", "at least 32"),
    ({"pixel_levels": "p3,p4", "output_stride": 16}, "output_stride", "32"),
    ({"shared_projector": False}, "shared_projector", "a single level"),
    ({"fpn_channels": 64}, "fpn_channels", "no FPN"),
    ({"dense_head_layers": 4}, "dense_head_layers", "no FPN"),
    ({"optimizer": "lamb", "momentum": 0.8}, "momentum", "--optimizer=lamb"),
    ({"optimizer": "adamw", "momentum": 0.8}, "momentum", "--optimizer=adamw"),
    (
        {"backbone_layout": "mirror", "pixel_levels": "p3", "dense_head_layers": 1},
        "dense_head_layers",
        "uses zero padding",
    ),
    (
        {"backbone_layout": "mirror", "output_stride": 8, "image_size": 24},
        "image_size",
        "at least 25",
    ),
    ({"propagation": False, "gamma": 4.0}, "gamma", "--nopropagation"),
    ({"pixel_loss": "pixcontrast", "propagation": False}, "propagation", "--pixel_loss"),
    ({"optimizer": "sgd", "trust_coefficient": 0.1}, "trust_coefficient", "--optimizer=sgd"),
    ({"lr_drops": "30"}, "lr_drops", "--schedule=cosine"),
    ({"loss_scale": "128"}, "loss_scale", "--precision=float32"),
    ({"precision": "auto", "loss_scale": "128"}, "loss_scale", "--precision=auto"),
    ({"keep_checkpoints": 0}, "keep_checkpoints", "the minimum is 1"),
]
CHOICES = [name for name, field in FIELDS.items() if field.metadata["choices"]]
MINIMA = [name for name, field in FIELDS.items() if field.metadata["minimum"] is not None]
CLUSTER = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}


def refusal(**flags):
    with pytest.raises(ConfigError) as caught:
        Config(**flags).check_surroundings()
    return str(caught.value)


@pytest.mark.parametrize(("flags", "named", "offered"), REFUSALS, ids=lambda value: str(value)[:60])
def test_invalid_combination_is_rejected(flags, named, offered):
    text = refusal(**flags)
    value = flags.get(named, FIELDS[named].default)
    given = {True: f"--{named} ", False: f"--no{named} "}
    written = flag.as_written(FIELDS[named], value)
    assert text.startswith(given[value] if isinstance(value, bool) else f"--{named}={written}")
    assert offered in text
    assert "\n" not in text


def test_remote_tpu_requires_a_folder_of_datasets():
    text = refusal(**REMOTE_TPU)
    assert text.startswith("--data_dir is missing, and its default is local to this machine")
    assert "e.g. gs://bucket/data, or --data_service" in text


@pytest.mark.parametrize("name", CHOICES)
def test_unknown_choice_is_rejected_with_a_list_of_the_known_ones(name):
    text = refusal(**{name: "zzz"})
    assert text.startswith(f"--{name}=zzz is unknown; choose one of ")
    assert all(choice in text for choice in FIELDS[name].metadata["choices"])
    assert "did you mean" not in text


@pytest.mark.parametrize("name", MINIMA)
def test_number_below_the_minimum_is_rejected(name):
    minimum = FIELDS[name].metadata["minimum"]
    text = refusal(**{name: minimum - 1})
    assert text == f"--{name}={minimum - 1} is too small; the minimum is {minimum}"


@pytest.mark.parametrize(
    ("flag", "typed", "meant"),
    [
        ("backbone", "resnet5", "resnet50"),
        ("backbone", "resnext101_32x8", "resnext101_32x8d"),
        ("augmentation", "mocov2", "moco_v2"),
        ("optimizer", "lasr", "lars"),
        ("strategy", "mirored", "mirrored"),
    ],
)
def test_similar_name_is_suggested(flag, typed, meant):
    assert f"did you mean {meant}? " in refusal(**{flag: typed})


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"dataset": "scenes/128"},
        {"dataset": "voc/2007+2012"},
        {"dataset": "coco/2017:1.1.0"},
        {"dataset": "folder:gs://bucket/images"},
        {"dataset": "zip:images.zip"},
        {"dataset": "tfrecord:gs://bucket/[a-c]*/images-?"},
        {"image_size": 33},
        {"image_size": 16, "output_stride": 8},
        {"warmup_epochs": 0, "epochs": 1},
        {"epochs": 6, "warmup_epochs": 5},
        {"min_crop_area": 1.0},
        {"min_crop_area": 0.2, "max_crop_area": 0.2},
        {"ema_momentum": 0.0},
        {"ema_momentum": 1.0},
        {"momentum": 0.0},
        {"ppm_layers": 3, "gamma": 0.0},
        {"schedule": "step", "lr_drops": "1,99", "warmup_epochs": 1},
        {"pixel_loss": "pixcontrast", "temperature": 0.1, "pixel_levels": "p3"},
        {"instance_weight": 1.0, "instance_loss": "contrastive", "instance_temperature": 0.1},
        {"pixel_weight": 0.0, "instance_weight": 1.0},
        {"pixel_levels": "c4", "instance_weight": 1.0},
        {"pixel_levels": "c4,c5", "shared_projector": False},
        {"pixel_levels": "c5,p3", "shared_projector": False, "dense_head_layers": 4},
        {"pixel_levels": "p2,p3,p4,p5,p6,p7", "image_size": 129, "fpn_channels": 64},
        {"strategy": "tpu", "tpu": "local", "precision": "bfloat16"},
        REMOTE_TPU | {"data_dir": "gs://bucket/data"},
        REMOTE_TPU | {"dataset": "folder:gs://bucket/photos"},
        REMOTE_TPU | {"data_service": "grpc://10.0.0.2:5050"},
        {"strategy": "mirrored", "num_devices": 4},
        {"precision": "float16"},
        {"precision": "float16", "loss_scale": "128"},
        {"profile_steps": "1,2"},
    ],
    ids=str,
)
def test_valid_combination_is_accepted(flags):
    config = Config(**flags)
    assert all(getattr(config, name) == value for name, value in flags.items())


def test_only_an_existing_folder_is_accepted(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    Config(dataset=f"folder:{tmp_path}/images").check_surroundings()
    monkeypatch.setenv("HOME", str(tmp_path))
    Config(dataset="folder:~/images").check_surroundings()
    (tmp_path / "file").touch()
    assert "does not exist" not in refusal(dataset="folder:")
    assert refusal(dataset=f"folder:{tmp_path}/file").endswith(
        f"{tmp_path}/file is a file, not a folder; use an existing folder"
    )
    assert refusal(dataset=f"folder:{tmp_path}/none").endswith(
        f"{tmp_path}/none does not exist; use an existing folder"
    )


def test_run_can_be_described_without_its_images():
    assert Config(dataset="folder:/nowhere/images").dataset == "folder:/nowhere/images"


# Vertex AI and Kubeflow describe a cluster like this.
WITH_CHIEF = {"chief": ["host0:1"], "worker": ["host1:1"]}


@pytest.mark.parametrize(
    "cluster",
    [
        CLUSTER,
        {"cluster": WITH_CHIEF, "task": {"type": "chief", "index": 0}, "environment": "cloud"},
        {"cluster": WITH_CHIEF, "task": {"type": "worker", "index": 0}},
        {"cluster": {"chief": ["host0:1"]}, "task": {"type": "chief", "index": 0}},
    ],
)
def test_cluster_is_read_from_the_environment(monkeypatch, cluster):
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    Config(strategy="multi_worker").check_surroundings()


@pytest.mark.parametrize("role", ["ps", "evaluator", "master"])
def test_unsupported_roles_are_rejected(monkeypatch, role):
    for cluster, task in (
        (WITH_CHIEF, {"type": role, "index": 0}),
        (WITH_CHIEF | {role: ["host2:1"]}, {"type": "worker", "index": 0}),
    ):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
        text = refusal(strategy="multi_worker")
        assert text.startswith(
            f"--strategy=multi_worker does not support the role {role} in TF_CONFIG"
        )


def test_slurm_without_a_job_step_is_rejected_before_tensorflow_waits(monkeypatch):
    for name in SLURM_VARIABLES:
        monkeypatch.setenv(name, "1")
    config = Config(strategy="multi_worker", cluster="slurm")
    config.check_cluster()
    monkeypatch.delenv("SLURM_PROCID")
    with pytest.raises(
        ConfigError, match="of which SLURM_PROCID is not set; start the command with srun"
    ):
        config.check_cluster()


def test_multi_worker_strategy_without_tf_config_is_rejected(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    text = refusal(strategy="multi_worker")
    assert text.startswith("--strategy=multi_worker needs the environment variable TF_CONFIG")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        json.dumps({"cluster": CLUSTER["cluster"]}),
        json.dumps({"cluster": {"worker": 3}, "task": CLUSTER["task"]}),
        json.dumps(CLUSTER | {"task": {"type": "worker", "index": 2}}),
        json.dumps(CLUSTER | {"task": {"type": "chief", "index": 0}}),
        json.dumps(CLUSTER | {"task": {"type": "worker", "index": -1}}),
        json.dumps(CLUSTER | {"task": {"type": "worker", "index": "0"}}),
        json.dumps(CLUSTER | {"cluster": {"chief": ["a:1", "b:1"], "worker": ["c:1"]}}),
    ],
)
def test_unreadable_cluster_is_rejected(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    message = refusal(strategy="multi_worker")
    assert message.startswith(f"--strategy=multi_worker cannot read TF_CONFIG={text!r}")


def test_paths_may_be_objects(tmp_path):
    config = Config(dataset=pathlib.Path("folder:/photos"), run_dir=tmp_path)
    assert (config.dataset, config.run_dir) == ("folder:/photos", str(tmp_path))
    assert json.loads(json.dumps(config.to_dict()))["run_dir"] == str(tmp_path)


def test_configuration_is_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().epochs = 3


def test_peak_learning_rate_scales_with_the_batch_size():
    # The main recipe has a base learning rate of 1.0 for 256 images, and a batch size of 1024.
    assert Config().peak_rate == 4.0
    assert Config(base_lr=0.5, batch_size=64).peak_rate == 0.125


def test_square_root_scaling_is_that_of_the_authors():
    # They use 2.828 for 512 images; see issue 5 of their repository.
    assert Config(lr_scaling="sqrt").peak_rate == 4.0
    assert Config(lr_scaling="sqrt", batch_size=512).peak_rate == pytest.approx(2.828, abs=5e-4)
    assert Config(lr_scaling="sqrt", base_lr=0.5, batch_size=64).peak_rate == 0.5


@pytest.mark.parametrize(
    ("image_size", "output_stride", "level", "bins"),
    [
        (224, 32, "c5", 7),
        (224, 16, "c5", 14),
        (224, 8, "c5", 28),
        (225, 32, "c5", 8),
        (33, 32, "c5", 2),
        (224, 16, "c4", 14),
        (224, 8, "c2", 56),
        (224, 32, "p3", 28),
        (225, 32, "p7", 2),
    ],
)
def test_map_size_is_the_image_size_over_the_stride_rounded_up(
    image_size, output_stride, level, bins
):
    config = Config(image_size=image_size, output_stride=output_stride)
    assert config.map_size(level) == bins


def test_map_in_figures_is_the_coarsest_that_is_compared():
    assert Config().pictured_map_size == 7
    assert Config(pixel_levels="p3,p4").pictured_map_size == 14
    assert Config(pixel_weight=0.0, instance_weight=1.0, image_size=96).pictured_map_size == 3


def test_lists_are_parsed_from_text():
    config = Config(schedule="step", lr_drops="60, 80", profile_steps="20,30")
    assert config.lr_drop_epochs == [60, 80]
    assert config.profile_range == (20, 30)
    assert Config().profile_range is None


def test_batch_size_that_cannot_be_split_is_rejected_with_one_that_can():
    config = Config(batch_size=10)
    config.check_replicas(5)
    with pytest.raises(ConfigError, match=r"--batch_size=10 .* 4 replicas.*--batch_size=8$"):
        config.check_replicas(4)
    with pytest.raises(ConfigError, match=r"--batch_size=16$"):
        config.check_replicas(16)


def test_dict_contains_all_flags():
    config = Config(epochs=7)
    assert config.to_dict().keys() == FIELDS.keys()
    assert Config(**config.to_dict()) == config
    assert json.loads(json.dumps(config.to_dict())) == config.to_dict()


def test_flags_that_differ_from_another_run_are_listed_with_both_values():
    config = Config(gamma=1.0, backbone="resnet18", seed=1)
    there = Config().to_dict()
    expected = [
        "--backbone=resnet18 (the run has resnet50)",
        "--gamma=1.0 (the run has 2.0)",
        "--seed=1 (the run has 0)",
    ]
    assert sorted(config.differing_flags(there)) == expected
    assert config.differing_flags(config.to_dict()) == []


def test_flags_that_may_change_on_resuming_are_not_listed():
    config = Config(log_every=1, max_steps=5, run_dir="elsewhere", jit="off", keep_checkpoints=9)
    assert config.differing_flags(Config().to_dict()) == []


def test_flags_that_another_version_lacks_or_adds_are_ignored():
    there = Config(gamma=1.0).to_dict() | {"removed_flag": 3}
    del there["backbone"]
    assert Config(backbone="resnet18").differing_flags(there) == ["--gamma=2.0 (the run has 1.0)"]


@pytest.mark.parametrize("stride", resnet.OUTPUT_STRIDES)
def test_supported_output_strides_are_accepted(stride):
    assert Config(output_stride=stride).output_stride == stride


@pytest.mark.parametrize("name", FIELDS)
def test_every_flag_has_a_group_and_a_help_text(name):
    metadata = FIELDS[name].metadata
    assert metadata["group"] and metadata["help"]
    kind = FIELDS[name].type
    assert type(FIELDS[name].default) is (typing.get_origin(kind) or kind)
