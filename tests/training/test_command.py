"""Training command: parsing of the command line into a configuration, and mistakes reported with one line and an exit code."""

import dataclasses
import os
import subprocess
import sys
import time

import pytest

from pixpro_tf.cli import command_line
from pixpro_tf.config import Config, flag
from pixpro_tf.config.hardware import SLURM_VARIABLES
from pixpro_tf.errors import ConfigError
from pixpro_tf.training import command
from tests.conftest import ROOT

FLAGFILES = sorted((ROOT / "configs").rglob("*.flags"))
FOUR_NUMBERS = {"low": "0,1,2,3", "high": "4,5,6,7", "mean": "0,0,0,1", "std": "1,1,1,2"}
FIELDS = {field.name: field for field in dataclasses.fields(Config)}


def parse(*flags):
    config = command_line.parse(Config, list(flags))
    if config is not None:
        config.check_surroundings()
    return config


def refusal(*flags):
    with pytest.raises(ConfigError) as caught:
        parse(*flags)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def flagfile(tmp_path):
    def write(text, name="run.flags"):
        path = tmp_path / name
        path.write_text(text)
        return f"--flagfile={path}"

    return write


def test_no_flags_result_in_the_defaults():
    assert parse() == Config()


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_a_flag_of_its_type(name, monkeypatch):
    for variable in SLURM_VARIABLES:
        monkeypatch.setenv(variable, "1")
    values = {"num_devices": 2, "precision": "bfloat16", "output_stride": 16} | {
        "backbone_layout": "od_api",
        "augment_on": "device",
        "profile_steps": "3,4",
        "schedule": "step",
        "jit": "off",
        "dataset": "scenes/128",
        "augmentation": "none",
        "on_bad_image": "skip",
        "backbone": "resnet18",
        "optimizer": "sgd",
        "strategy": "one_device",
        "lr_drops": "7,8",
        "loss_scale": "128",
        "min_crop_area": 0.5,
        "max_crop_area": 0.5,
        "ema_momentum": 0.5,
        "momentum": 0.5,
        "ppm_layers": 2,
        "warmup_epochs": 3,
        "image_size": 64,
        "batch_size": 64,
        "cache": "ram",
        "data_service": "grpc://host:5050",
        "gradient_accumulation": 4,
        "tpu": "local",
        "cluster": "slurm",
        "lr_scaling": "sqrt",
        "pixel_loss": "pixcontrast",
        "negatives": "both",
        "pixel_levels": "p3,p4",
        "instance_loss": "contrastive",
        "channels": 4,
        # With another range, images must be files.
        "channel_low": (1.5, 2.0, 3.0),
        "channel_high": (4095.0, 5.0, 6.0),
        "channel_mean": (0.1, 0.2, 0.3),
        "channel_std": (0.1, 0.2, 0.3),
    }
    default = FIELDS[name].default
    value = values.get(name)
    if value is None:
        value = not default if isinstance(default, bool) else type(default)(7)
    assert value != default
    # Some flags are rejected unless another flag makes use of them.
    files = {"dataset": f"folder:{ROOT}/tests"}
    used_by = {
        "init_from_other_layout": {"init_from": "runs/other"},
        "tpu": {"strategy": "tpu"},
        "cluster": {"strategy": "multi_worker"},
        "lr_drops": {"schedule": "step"},
        "loss_scale": {"precision": "float16"},
        "temperature": {"pixel_loss": "pixcontrast"},
        "negatives": {"pixel_loss": "pixcontrast"},
        "instance_loss": {"instance_weight": "1"},
        "instance_temperature": {"instance_weight": "1", "instance_loss": "contrastive"},
        "fpn_channels": {"pixel_levels": "p3"},
        "dense_head_layers": {"pixel_levels": "p3"},
        "shared_projector": {"pixel_levels": "p3,p4"},
        "cache_dir": {"cache": "disk"},
        "channels": {f"channel_{key}": text for key, text in FOUR_NUMBERS.items()} | files,
        "channel_low": files,
        "channel_high": files,
    }.get(name, {})
    written = flag.as_written(FIELDS[name], value)
    config = parse(*(f"--{key}={text}" for key, text in used_by.items()), f"--{name}={written}")
    assert getattr(config, name) == value and type(getattr(config, name)) is type(default)
    changed = {key for key, field in FIELDS.items() if getattr(config, key) != field.default}
    assert changed == {name} | used_by.keys()


def test_later_flags_override_the_flag_file(flagfile):
    path = flagfile("# a comment\n--epochs=7\n--gamma=1.5\n")
    assert parse(path).epochs == 7
    config = parse(path, "--epochs=8")
    assert (config.epochs, config.gamma) == (8, 1.5)


def test_flag_file_overrides_earlier_flags(flagfile):
    assert parse("--epochs=8", flagfile("--epochs=7\n")).epochs == 7


@pytest.mark.parametrize("name", ["pixpro_fpn", "configs/pixpro_fpn.flags", "pixpro_fpn.flags"])
def test_flag_files_of_the_package_are_found_in_any_working_directory(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--dataset=imagenet2012", "--data_dir=/data"]
    assert parse(f"--flagfile={name}", *flags).pixel_levels
    # A file of the user has priority.
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "pixpro_fpn.flags").write_text("--epochs=77\n")
    if name.startswith("configs/"):
        assert parse(f"--flagfile={name}", *flags).epochs == 77


def test_flag_file_that_includes_itself_is_rejected(flagfile, tmp_path):
    path = tmp_path / "run.flags"
    assert "includes itself" in refusal(flagfile(f"--epochs=7\n--flagfile={path}\n"))


def test_flag_file_may_include_another(flagfile):
    base = flagfile("--epochs=7\n--gamma=1.5\n", "base.flags")
    config = parse(flagfile(f"{base}\n--epochs=9\n"))
    assert (config.epochs, config.gamma) == (9, 1.5)


def test_boolean_flag_is_switched_off_with_no():
    assert parse("--noresume").resume is False
    assert parse("--resume=false").resume is False
    assert parse("--noresume", "--resume").resume is True


def test_unknown_flag_is_rejected():
    assert refusal("--epoch=3").startswith("--epoch is unknown; did you mean --epochs? --help")


@pytest.mark.parametrize(
    "flag", ["--epochs=many", "--epochs=1.5", "--gamma=two", "--resume=perhaps", "--epochs="]
)
def test_value_of_the_wrong_type_is_rejected(flag):
    name = flag.removeprefix("--").split("=")[0]
    assert name in refusal(flag)


def test_flag_without_a_value_is_rejected():
    assert "epochs" in refusal("--epochs")


@pytest.mark.parametrize("flags", [("folder",), ("--epochs=7", "folder"), ("folder", "--epochs=7")])
def test_positional_argument_is_rejected(flags):
    assert refusal(*flags) == "'folder' is not a flag; write flags as --name=value"


def test_missing_flag_file_is_named_in_the_error():
    assert "/no/such/file.flags" in refusal("--flagfile=/no/such/file.flags")


def test_folder_as_flag_file_is_named_in_the_error(tmp_path):
    assert str(tmp_path) in refusal(f"--flagfile={tmp_path}")


def test_binary_flag_file_is_rejected(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    assert refusal(f"--flagfile={path}").startswith(f"--flagfile={path} is not a text file")


def test_mistake_inside_a_flag_file_is_rejected(flagfile):
    assert "--epoch is unknown" in refusal(flagfile("--epoch=3\n"))


def test_help_returns_no_configuration():
    assert parse("--help") is None
    assert parse("-h") is None


@pytest.mark.parametrize("flags", [("--epoch=3",), ("--epochs=0",), ("folder",)])
def test_mistake_is_reported_in_one_line_with_exit_code_two(flags, capsys):
    assert command.main(list(flags)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1 and captured.err.endswith("\n")


def in_a_process(*flags):
    """Runs a command line in a process; the last line of its output says whether TensorFlow was imported."""
    code = (
        "import sys; from pixpro_tf.training import command; "
        "code = command.main(sys.argv[1:]); "
        "print('tensorflow' in sys.modules); sys.exit(code)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "110"},
        timeout=60,
    )


def test_help_lists_every_flag_without_importing_tensorflow():
    process = in_a_process("--help")
    assert process.returncode == 0 and process.stderr == ""
    lines = process.stdout.splitlines()
    assert lines[-1] == "False"
    heads = [line.strip() for line in lines if line.startswith("  --")]
    groups = [line.removesuffix(":") for line in lines if line.endswith(":") and line[0] != " "]
    assert groups == list(dict.fromkeys(field.metadata["group"] for field in FIELDS.values()))
    expected_heads = []
    for name, field in FIELDS.items():
        head = f"--{name}={flag.as_written(field, field.default) or '(empty)'}"
        if field.type is bool:
            head = f"--[no]{name} ({'on' if field.default else 'off'})"
        unit = field.metadata["unit"]
        expected_heads.append(f"{head}  [{unit}]" if unit else head)
    assert [head for head in heads if "--flagfile" not in head] == expected_heads
    text = " ".join(process.stdout.split())
    for field in FIELDS.values():
        assert field.metadata["help"] in text


def test_output_may_be_closed_early():
    process = subprocess.run(
        f"{sys.executable} train.py --help | head -1",
        cwd=ROOT,
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.stdout == "Pre-trains a visual backbone without labels.\n"
    assert process.stderr == ""


def test_mistake_is_reported_without_importing_tensorflow():
    process = in_a_process("--backbone=resnet51")
    assert process.returncode == 2
    assert process.stdout.split() == ["False"]
    assert process.stderr.startswith("error: --backbone=resnet51 is unknown; did you mean resnet50")
    assert process.stderr.count("\n") == 1


def test_line_appears_in_a_pipe_while_the_command_is_running():
    code = (
        "import time; from pixpro_tf.cli.commands import exit_code_of; "
        "exit_code_of(lambda: print('step 1') or time.sleep(60))"
    )
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    started = time.monotonic()
    with process:
        assert process.stdout.readline() == "step 1\n"
        assert time.monotonic() - started < 50
        process.kill()


def test_help_lines_are_not_longer_than_the_width():
    for width in (60, 100):
        wrapped = [
            line for line in command.main.help_text(width).splitlines() if line[:6] == " " * 6
        ]
        assert max(map(len, wrapped)) <= width


def test_project_has_flag_files():
    assert FLAGFILES


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.stem)
def test_every_flag_file_of_the_project_is_valid(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    # A flag file may refer to a folder of images and to machines that only its user has.
    monkeypatch.setattr(os.path, "isdir", lambda folder: True)
    monkeypatch.setenv(
        "TF_CONFIG",
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}',
    )
    config = parse(f"--flagfile={path}")
    assert config != Config()
    header = path.read_text().split("\n--")[0]
    for word in ("command", "hardware", "data"):
        assert word in header
