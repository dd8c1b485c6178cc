"""Paths with odd characters, relative, with a slash at the end or behind links: commands work, or say in one line why not."""

import os
import shutil
import tempfile

import pytest

import pixpro_tf
from pixpro_tf.cli import command_line
from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError, RunError, UserError, why_unusable
from pixpro_tf.evaluation import compare, correspondence, visualize
from pixpro_tf.export.commands import od_api, savedmodel
from pixpro_tf.export.commands import torch as torch_command
from pixpro_tf.storage.runs import Run
from tests.support.models import make_run

USABLE = {
    "space": "a b",
    "newline": "a\nb",
    "snowman": "a\u2603",
    "dash": "-a",
    "quotes": "a'\"b",
    "colon": "a:b",
    "percent": "a%41",
    "tilde": "~a",
    "comma": "a,b",
    "equals": "a=b",
    "hash": "a#b",
    "braces": "a{b,c}",
    "dots": "a..b.",
}
UNUSABLE = {
    "star": "a*b",
    "question mark": "a?b",
    "brackets": "a[0]",
    "bracket": "a]",
    "backslash": "a\\b",
    "bytes": os.fsdecode(b"a\xff"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run") / "run", backbone="resnet10w0.5")


@pytest.mark.parametrize("kind", USABLE)
def test_runs_and_outputs_have_any_other_name(kind, run, tmp_path):
    folder = tmp_path / USABLE[kind]
    shutil.copytree(run, folder / "run")
    output = folder / "out.safetensors"
    assert torch_command.main([f"--from={folder / 'run'}", f"--output={output}"]) == 0
    assert output.stat().st_size > 10_000
    assert pixpro_tf.Config(run_dir=str(folder), init_from=str(folder / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["newline", "snowman", "quotes"])
def test_saved_models_have_any_other_name(kind, run, tmp_path):
    output = tmp_path / USABLE[kind] / "saved"
    assert savedmodel.main([f"--from={run}", f"--output={output}"]) == 0
    weights = tmp_path / "weights.safetensors"
    assert torch_command.main([f"--from={output}", f"--output={weights}"]) == 0


@pytest.mark.parametrize("kind", ["relative", "slash", "link", "home"])
def test_a_path_is_written_in_any_way(kind, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(run, tmp_path / "here" / "run")
    (tmp_path / "link").symlink_to(tmp_path / "here")
    given = {
        "relative": "here/../here/run",
        "slash": "here/run//",
        "link": "link/run",
        "home": "~/here/run",
    }
    output = {
        "relative": "./out.safetensors",
        "slash": f"{tmp_path}//out.safetensors",
        "link": "link/../out.safetensors",
        "home": "~/out.safetensors",
    }
    assert torch_command.main([f"--from={given[kind]}", f"--output={output[kind]}"]) == 0
    assert (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_tensorflow_cannot_use_is_rejected_in_one_line(kind, run, tmp_path, capsys):
    name = UNUSABLE[kind]
    bad = str(tmp_path / name)
    shutil.copytree(run, bad)
    good, output = str(run), str(tmp_path / "out")
    labels = "--labels=a.json"
    commands = [
        (savedmodel.main, "from", [f"--from={bad}", f"--output={output}"]),
        (savedmodel.main, "output", [f"--from={good}", f"--output={bad}"]),
        (torch_command.main, "output", [f"--from={good}", f"--output={bad}.safetensors"]),
        (
            od_api.main,
            "data_dir",
            [
                f"--from={good}",
                f"--output={output}",
                f"--data_dir={bad}",
                "--task=voc",
                "--model=faster_rcnn_resnet50_keras",
            ],
        ),
        (
            correspondence.main,
            "output",
            [f"--from={good}", "--dataset=photographs", f"--output={bad}"],
        ),
        (visualize.main, "from", [f"--from={bad}", "--images=photographs", f"--output={output}"]),
        (compare.main, "from", [f"--from={good}", f"--from={bad}", labels]),
    ]
    for main, flag, arguments in commands:
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: --{flag}=") and "TensorFlow" in line
        assert line.endswith("; use a path without it")
    for flag in ("run_dir", "data_dir", "cache_dir", "init_from"):
        cache = ["--cache=disk"] if flag == "cache_dir" else []
        with pytest.raises(ConfigError, match=f"^--{flag}=.*TensorFlow"):
            command_line.parse(Config, [f"--{flag}={bad}", *cache])
    for function in (Run.open, pixpro_tf.load_backbone):
        with pytest.raises(UserError, match=r"TensorFlow .*; rename the folder$"):
            function(bad)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_temporary_folder_that_tensorflow_cannot_use_is_named(kind, run, tmp_path, monkeypatch):
    folder = tmp_path / UNUSABLE[kind]
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.delenv("TFHUB_CACHE_DIR", raising=False)
    archive = tmp_path / "saved.tar.gz"
    archive.touch()
    for handle in (str(run), str(archive), "https://example.org/model"):
        with pytest.raises(RunError, match=r"TMPDIR=.*TensorFlow.*; set TMPDIR to another folder"):
            pixpro_tf.load_backbone(handle)
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(folder))
    with pytest.raises(RunError, match="set TFHUB_CACHE_DIR to another folder"):
        pixpro_tf.load_backbone("https://example.org/model")
    assert not os.listdir(folder)


def test_addresses_may_contain_a_query():
    assert not why_unusable("https://example.org/model?tf-hub-format=compressed")
    assert not why_unusable("gs://bucket/run")


def test_a_message_is_one_line_whatever_the_name_of_a_file():
    error = RunError("a\nb\udcff does not exist", of="from")
    assert error.line == "--from=a\\nb\\udcff does not exist"
