"""Every file of a run's folder missing, empty, of another kind, unwritable or unreadable: the same weights at the end, or one line."""

import pathlib
import shutil
import subprocess

import numpy as np
import pytest

import pixpro_tf
from pixpro_tf.errors import UserError
from tests.support import tiny_run, warm

ROOT = pathlib.Path(__file__).parent.parent.parent
SHORT, LONG = 10, 14
FLAGS = (
    "--checkpoint_every=4",
    "--keep_every=2",
    "--pictures_every=4",
    "--on_bad_image=skip",
    "--jit=off",
)
# Paths in the folder of a run; of event files, whose names differ from run to run, the first one.
ENTRIES = (
    ".",
    ".lock",
    "bad_images.json",
    "checkpoints",
    "checkpoints/checkpoint",
    "checkpoints/kept",
    "checkpoints/kept/step-8.data-00000-of-00001",
    "checkpoints/kept/step-8.index",
    "checkpoints/step-4.data-00000-of-00001",
    "checkpoints/step-4.index",
    f"checkpoints/step-{SHORT}.data-00000-of-00001",
    f"checkpoints/step-{SHORT}.index",
    "config.json",
    "metrics.jsonl",
    "pictures",
    "pictures/views-0000008.png",
    "tensorboard",
    "tensorboard/run",
    "tensorboard/run/events*",
)
DAMAGES = {
    "missing": lambda path: remove(path),
    "empty": lambda path: remove(path, then=path.mkdir if path.is_dir() else path.touch),
    "other kind": lambda path: remove(path, then=path.touch if path.is_dir() else path.mkdir),
    "broken link": lambda path: remove(path, then=lambda: path.symlink_to("/nowhere/else")),
    "unwritable": lambda path: path.chmod(0o555 if path.is_dir() else 0o444),
    "unreadable": lambda path: path.chmod(0),
}


def remove(path, then=lambda: None):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    then()


def found(run_dir, entry):
    """Returns the path of an entry of a run, which exists."""
    path = run_dir if entry == "." else sorted(run_dir.glob(entry))[0]
    assert path.exists()
    return path


def contents(run_dir):
    """Returns the contents of the files of a run that must never be lost, by their paths."""
    kept = ("checkpoints/**/*", "config.json", "metrics.jsonl", "bad_images.json")
    files = {path for pattern in kept for path in run_dir.glob(pattern) if path.is_file()}
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def train(photos):
    def run(run_dir, steps):
        user = ROOT / "tests/support/ordinary_user.py"
        flags = [f"--dataset=folder:{photos}", *tiny_run.FLAGS, *FLAGS]
        flags += [f"--run_dir={run_dir}", f"--max_steps={steps}"]
        command = warm.python(user, ROOT / "train.py", *flags)
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture(scope="module")
def begun(train, tmp_path_factory):
    """Folder of a run that has stopped, and the weights that it has in the end without damage."""
    folder = tmp_path_factory.mktemp("begun")
    run_dir = folder / "run"
    assert train(run_dir, SHORT).returncode == 0
    whole = shutil.copytree(run_dir, folder / "whole" / "run")
    assert train(whole, LONG).returncode == 0
    return run_dir, tiny_run.weights_of(whole, LONG)


@pytest.mark.thorough
@pytest.mark.parametrize("entry", ENTRIES)
def test_the_run_goes_on_or_says_why_not(begun, train, entry, tmp_path, record_property):
    run_dir, expected = begun
    outcomes = []
    for name, damage in DAMAGES.items():
        copy = shutil.copytree(run_dir, tmp_path / name / "run")
        path = found(copy, entry)
        damage(path)
        result = train(copy, LONG)
        if not path.is_symlink() and path.exists():
            path.chmod(0o755)
        assert "Traceback" not in result.stderr, (name, result.stderr)
        lines = [line for line in result.stderr.splitlines() if "error: " in line]
        if result.returncode == 0:
            assert not lines, (name, lines)
            weights = tiny_run.weights_of(copy, LONG)
            assert weights.keys() == expected.keys()
            assert all(np.array_equal(weights[key], expected[key]) for key in expected), name
        else:
            assert result.returncode in (1, 2) and len(lines) == 1, (name, result.stderr)
            # Everything else is as it was.
            before, after = contents(run_dir), contents(copy)
            damaged = {key for key in before if (copy / key).is_relative_to(path)}
            others = before.keys() - damaged
            assert {key: after.get(key) for key in others} == {key: before[key] for key in others}
        outcomes.append(result.returncode == 0)
    record_property(
        "robustness",
        f"run folder, {entry}: {len(outcomes)} inputs, {sum(outcomes)} resumed, {len(outcomes) - sum(outcomes)} refused",
    )


def values(run_dir):
    return [variable.numpy() for variable in pixpro_tf.load_backbone(str(run_dir)).variables]


@pytest.mark.thorough
def test_the_backbone_is_the_same_or_the_reason_is_said(begun, tmp_path, capsys):
    run_dir, _ = begun
    expected = values(run_dir)
    newest = f"checkpoints/step-{SHORT}"
    for number, entry in enumerate(each for each in ENTRIES if each.startswith(("che", "con"))):
        for name in ("missing", "empty", "other kind", "broken link"):
            copy = shutil.copytree(run_dir, tmp_path / f"{number} {name}" / "run")
            DAMAGES[name](found(copy, entry))
            try:
                backbone = values(copy)
            except UserError as error:
                assert str(tmp_path) in error.line, (entry, name, error.line)
            else:
                if entry != f"{newest}.index":
                    assert all(map(np.array_equal, backbone, expected)), (entry, name)
                    continue
                said = f"{copy / newest} is incomplete; using {copy / 'checkpoints/step-8'}"
                assert capsys.readouterr().out.splitlines() == [said], name
