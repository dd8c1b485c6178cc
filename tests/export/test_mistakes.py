"""User errors, the same for all exports: a one-line error, a non-zero exit code, and no output."""

import os
import pathlib
import shutil
import subprocess

import pytest

from pixpro_tf.cli.outputs import atomic_output
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.export.commands import detectron2 as detectron2_command
from pixpro_tf.export.commands import keras_hub, model_garden, od_api
from pixpro_tf.export.commands import savedmodel as savedmodel_command
from tests.conftest import ROOT
from tests.support import warm
from tests.support.models import make_run

OD_API_FLAGS = ("--task=voc", "--model=faster_rcnn_resnet50_keras")
# Exports by the names of their modules: command, flag of the source, supported layout, and further flags.
EXPORTS = {
    "savedmodel": (savedmodel_command.main, "--run", "torchvision", ()),
    "detectron2": (detectron2_command.main, "--from", "torchvision", ()),
    "od_api": (od_api.main, "--from", "od_api", OD_API_FLAGS),
    "model_garden": (model_garden.main, "--from", "model_garden", ()),
    "keras_hub": (keras_hub.main, "--from", "torchvision", ()),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Returns a function that creates a run in a layout; the run has completed one of its two epochs."""
    made = {}

    def run(layout):
        if layout not in made:
            folder = tmp_path_factory.mktemp(layout)
            backbone = "resnet18" if layout == "torchvision" else "resnet50"
            made[layout] = make_run(
                folder, finished=False, backbone=backbone, backbone_layout=layout
            )
        return made[layout]

    return run


@pytest.fixture(params=EXPORTS)
def export(request, runs, tmp_path, capsys):
    """Runs an export with flags and returns its exit code and its error output."""
    main, source_flag, layout, flags = EXPORTS[request.param]

    def run(source=None, output=tmp_path / "out" / "there.pkl", *more):
        code = main(
            [f"{source_flag}={source or runs(layout)}", f"--output={output}", *flags, *more]
        )
        return code, capsys.readouterr().err

    run.layout, run.name = layout, request.param
    return run


def assert_one_line(result, *said, code=1):
    found, error = result
    assert found == code
    assert error.startswith("error: ") and error.count("\n") == 1
    for text in said:
        assert text in error


def test_missing_run_gives_a_one_line_error(export, tmp_path):
    assert_one_line(export(tmp_path / "nowhere"), str(tmp_path / "nowhere"))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_run_without_a_checkpoint_gives_a_one_line_error(export, runs, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(runs(export.layout) / "config.json", run)
    assert_one_line(export(run), f"{run} does not contain a checkpoint; train the run until")
    assert list(tmp_path.iterdir()) == [run]


@pytest.mark.slow
def test_unfinished_run_must_be_allowed(export, tmp_path):
    assert_one_line(export(), "has completed 3 of its 6 steps", "--allow_unfinished")
    assert not list(tmp_path.iterdir())
    code, error = export(None, tmp_path / "out.pkl", "--allow_unfinished")
    assert code == 0 and not error
    assert [path.name for path in tmp_path.iterdir()] == ["out.pkl"]


@pytest.mark.slow
def test_existing_output_is_kept_without_overwrite(export, tmp_path):
    output = tmp_path / "mine.pkl"
    output.write_text("mine")
    assert_one_line(
        export(None, output), "already exists; use another path, or add --overwrite", code=2
    )
    assert output.read_text() == "mine"
    code, _ = export(None, output, "--allow_unfinished", "--overwrite")
    assert code == 0
    assert output.is_dir() or output.stat().st_size > 10**7
    assert list(tmp_path.iterdir()) == [output]


def test_output_that_would_replace_the_run_is_rejected(export, runs, tmp_path):
    run = tmp_path / "runs" / "run"
    shutil.copytree(runs(export.layout), run)
    before = sorted(run.rglob("*"))
    for output in (run, run.parent, tmp_path / "elsewhere" / ".." / "runs"):
        result = export(run, output, "--overwrite", "--allow_unfinished")
        assert_one_line(result, f"would replace {run}, which this command reads", code=2)
    assert sorted(run.rglob("*")) == before


def test_remote_output_is_rejected(export):
    assert_one_line(
        export(None, "gs://bucket/model"), "is not a local path; use a local path", code=2
    )


@pytest.mark.slow
def test_output_below_a_file_is_rejected(export, tmp_path):
    (tmp_path / "file").write_text("")
    result = export(None, tmp_path / "file" / "out.pkl", "--allow_unfinished")
    assert_one_line(result, "cannot be written: Not a directory")


@pytest.mark.slow
@pytest.mark.parametrize("part", ["index", "data", "cut"])
def test_damaged_checkpoint_gives_a_one_line_error(export, runs, part, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs(export.layout), run)
    (path,) = (run / "checkpoints").glob("*.index" if part == "index" else "*.data*")
    content = bytearray(path.read_bytes())
    if part == "cut":
        del content[len(content) // 2 :]
    else:
        # Overwrite enough to damage the backbone, wherever it is in the file.
        content[len(content) // 4 :] = bytes(len(content) - len(content) // 4)
    path.write_bytes(content)
    assert_one_line(export(run, tmp_path / "out.pkl", "--allow_unfinished"), "step-3")
    assert list(tmp_path.iterdir()) == [run]


def test_damaged_config_gives_a_one_line_error(export, runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs(export.layout), run)
    (run / "config.json").write_text("{")
    assert_one_line(export(run), "config.json is missing or damaged")


LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
runpy.run_module(sys.argv.pop(1), run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTS)
def test_full_disk_gives_a_one_line_error(name, runs, tmp_path):
    """Simulates a full disk by a limit on file sizes.

    Writes fail in the same way, with a different reason; a full disk would require a separate file system.
    """
    _, source_flag, layout, flags = EXPORTS[name]
    process = subprocess.run(
        warm.python(
            *("-c", LIMITED, f"export.{name}", f"{source_flag}={runs(layout)}"),
            *(f"--output={tmp_path / 'out.pkl'}", "--allow_unfinished", *flags),
        ),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    (line,) = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert (
        f"--output={tmp_path / 'out.pkl'} cannot be written: " in line and "File too large" in line
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["od_api", "model_garden"])
def test_other_layout_is_rejected_with_the_flag_to_pre_train_with(name, runs, tmp_path, capsys):
    main, _, layout, flags = EXPORTS[name]
    other = "model_garden" if layout == "od_api" else "od_api"
    arguments = [f"--from={runs(other)}", f"--output={tmp_path / 'out.pkl'}", *flags]
    assert main([*arguments, "--allow_unfinished"]) == 1
    error = capsys.readouterr().err
    assert f"--backbone_layout={other}, which" in error and error.count("\n") == 1
    assert f"pre-train with --backbone_layout={layout}; --init_from=" in error
    assert error.endswith(" --init_from_other_layout starts from these weights\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("source", ["nofs://bucket/run", "http://127.0.0.1:9/model"])
def test_unreachable_source_gives_a_one_line_error(source, tmp_path, capsys):
    assert detectron2_command.main([f"--from={source}", f"--output={tmp_path / 'out.pkl'}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and source in error and error.count("\n") == 1


@pytest.mark.slow
def test_saved_model_of_an_unfinished_run_must_be_allowed_too(runs, tmp_path, capsys):
    flags = [f"--from={runs('torchvision')}", f"--output={tmp_path / 'model.tgz'}"]
    assert savedmodel_command.main([*flags, "--allow_unfinished"]) == 0
    assert (tmp_path / "model.tgz").is_file()
    flags = [f"--from={tmp_path / 'model.tgz'}", f"--output={tmp_path / 'out.pkl'}"]
    assert detectron2_command.main(flags) == 1
    assert "model.tgz has completed 3 of its 6 steps" in capsys.readouterr().err
    assert detectron2_command.main([*flags, "--allow_unfinished"]) == 0


def test_saved_model_of_another_project_is_rejected(tmp_path, capsys):
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path / "model"))
    arguments = [f"--from={tmp_path / 'model'}", f"--output={tmp_path / 'out.pkl'}"]
    assert detectron2_command.main(arguments) == 1
    assert "a SavedModel with a model_card.json, which contains" in capsys.readouterr().err


def test_parent_folders_are_created_only_with_the_output(tmp_path):
    path = tmp_path / "a" / "b" / "c"
    with pytest.raises(KeyError), atomic_output(str(path)) as made:
        assert not os.path.exists(made)
        raise KeyError
    assert not list(tmp_path.iterdir())
    with atomic_output(str(path)) as made:
        pathlib.Path(made).write_text("done")
        assert not path.exists()
    assert path.read_text() == "done"
    assert [p.name for p in tmp_path.rglob("*")] == ["a", "b", "c"]


def test_output_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(ConfigError, match="already exists"), atomic_output(str(path)) as made:
        pathlib.Path(made).write_text("new")
        path.write_text("mine")
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


def test_broken_link_at_the_output_is_not_replaced(tmp_path):
    link = tmp_path / "out"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="already exists"), atomic_output(str(link)) as made:
        pathlib.Path(made).write_text("new")
    assert link.is_symlink() and list(tmp_path.iterdir()) == [link]


def test_output_that_cannot_be_replaced_is_kept(tmp_path):
    path = tmp_path / "out"
    path.write_text("mine")
    # The block creates nothing, so nothing can be moved to the path.
    with pytest.raises(RunError, match="cannot be written"), atomic_output(str(path), True):
        pass
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ConfigError, match="already exists"), atomic_output("~/out"):
        pass


def test_missing_permission_gives_a_one_line_error(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with (
        pytest.raises(RunError, match="out cannot be written: Permission denied; use another path"),
        atomic_output(str(tmp_path / "out")),
    ):
        pass
