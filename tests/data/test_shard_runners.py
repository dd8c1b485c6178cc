"""TFRecord shards written by several processes, in several attempts, to remote storage and on Apache Beam: always the same files."""

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pixpro_tf import tfrecords
from pixpro_tf.cli import write_tfrecords
from pixpro_tf.cli.partial_output import PartialOutput
from pixpro_tf.cli.shard_runners import BEAM
from pixpro_tf.errors import ConfigError, RunError
from tests.conftest import ROOT
from tests.export.conftest import environment
from tests.support.runs import error_line

COUNT = 40
PER_SHARD = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for index in range(COUNT):
        pixels = random.integers(0, 256, [8, 8 + index, 3], np.uint8)
        Image.fromarray(pixels).save(path / f"{index:02d}.png")
    return path


@pytest.fixture(scope="module")
def expected(folder, tmp_path_factory):
    """Files that one process writes."""
    path = tmp_path_factory.mktemp("expected") / "made"
    write_tfrecords.write(f"folder:{folder}", str(path), per_shard=PER_SHARD, num_workers=1)
    return contents(path)


@pytest.fixture(scope="module")
def one_by_one(folder, tmp_path_factory):
    """Files of one image each that one process writes."""
    path = tmp_path_factory.mktemp("one_by_one") / "made"
    write_tfrecords.write(f"folder:{folder}", str(path), per_shard=1, num_workers=1)
    return contents(path)


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def command(folder, output, *flags, images_per_shard=PER_SHARD):
    made = [f"--images=folder:{folder}", f"--output={output}"]
    return [*made, f"--images_per_shard={images_per_shard}", *flags]


def start(*arguments):
    """Starts the command in a process of its own, which SIGINT reaches as it does in a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "pixpro_tf.tfrecords", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_shards(path, count, process):
    deadline = time.monotonic() + 120
    while not path.exists() or len(os.listdir(path)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no shards are written"
        time.sleep(0.005)


def members(group):
    """Processes of a process group that still run."""
    found = subprocess.run(["pgrep", "-g", str(group)], capture_output=True, text=True)
    return found.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM to all", "SIGKILL"])
def test_an_interrupted_command_continues_and_writes_the_same_files(
    folder, one_by_one, tmp_path, default_signals, number
):
    output = tmp_path / "made"
    process = start(*command(folder, output, "--num_workers=2", images_per_shard=1))
    wait_for_shards(tmp_path / "partial_made" / "shards", 2, process)
    if number in ("SIGINT", "SIGTERM to all"):
        # A terminal, or a scheduler, sends it to all processes of the command.
        os.killpg(process.pid, getattr(signal, number.split()[0]))
    else:
        process.send_signal(getattr(signal, number))
    text, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and not output.exists() and "Traceback" not in errors
    if number != "SIGKILL":
        assert "run the same command again to continue" in text
    # No process outlives the command by much, however it ended.
    deadline = time.monotonic() + 30
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert members(process.pid) == []

    found = sorted((tmp_path / "partial_made" / "shards").iterdir())
    assert 2 <= len(found) < len(one_by_one)
    times = {file.name: file.stat().st_mtime_ns for file in found}
    again = command(folder, output, "--num_workers=1", images_per_shard=1)
    text, errors = start(*again).communicate(timeout=120)
    assert f"Continuing {tmp_path / 'partial_made'}" in text, errors
    assert contents(output) == one_by_one
    # Complete shards are not written a second time.
    assert {name: (output / name).stat().st_mtime_ns for name in times} == times
    assert os.listdir(tmp_path) == ["made"]


def test_several_processes_write_the_files_of_one(folder, expected, tmp_path):
    written = write_tfrecords.write(
        f"folder:{folder}", str(tmp_path / "made"), per_shard=PER_SHARD, num_workers=2
    )
    assert written == COUNT and contents(tmp_path / "made") == expected
    assert os.listdir(tmp_path) == ["made"]


def begin(folder, output, shards):
    """Leaves an unfinished output with some shards."""
    plan = write_tfrecords.Plan.of(f"folder:{folder}", 0, PER_SHARD)
    partial = PartialOutput(str(output), False)
    with partial.of(plan):
        for shard in shards:
            write_tfrecords.write_shard(plan, partial.shards, partial.folder, False, shard)
    return partial


@pytest.mark.parametrize(
    "flags", [["--seed=1"], ["--images_per_shard=4"], ["--images=photos"]], ids=str
)
def test_an_unfinished_output_of_other_flags_is_kept(folder, tmp_path, capsys, flags):
    begin(folder, tmp_path / "made", [0, 5])
    before = sorted(os.listdir(tmp_path / "partial_made" / "shards"))
    if flags == ["--images=photos"]:
        (tmp_path / "photos").mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / "photos" / "0.png")
        flags = [f"--images=folder:{tmp_path / 'photos'}"]
    assert tfrecords.main([*command(folder, tmp_path / "made"), *flags]) == 2
    error = capsys.readouterr().err
    assert "partial_made contains shards of other images or other flags" in error
    assert error.count("\n") == 1
    assert sorted(os.listdir(tmp_path / "partial_made" / "shards")) == before


def test_a_folder_of_the_user_with_the_name_of_the_unfinished_output_is_kept(
    folder, tmp_path, capsys
):
    (tmp_path / "partial_made").mkdir()
    (tmp_path / "partial_made" / "mine").write_text("mine")
    assert tfrecords.main(command(folder, tmp_path / "made")) == 2
    assert (
        "partial_made already exists but was not created by this command" in capsys.readouterr().err
    )
    assert (tmp_path / "partial_made" / "mine").read_text() == "mine"
    assert os.listdir(tmp_path) == ["partial_made"]


def test_two_commands_do_not_write_the_same_output(folder, tmp_path, capsys):
    plan = write_tfrecords.Plan.of(f"folder:{folder}", 0, PER_SHARD)
    with PartialOutput(str(tmp_path / "made"), False).of(plan):
        assert tfrecords.main(command(folder, tmp_path / "made")) == 2
        assert "partial_made is in use by another command" in capsys.readouterr().err
        assert (tmp_path / "partial_made" / "shards").is_dir()


def test_an_output_without_all_shards_is_not_finished(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(write_tfrecords, "run_on_this_machine", lambda *_: (x for x in ()))
    begin(folder, tmp_path / "made", [0, 1, 2])
    assert tfrecords.main(command(folder, tmp_path / "made")) == 1
    assert "11 of 14 shards are missing from" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["partial_made"]


def test_a_whole_bucket_is_rejected(folder, capsys):
    assert tfrecords.main(command(folder, "gs://bucket/")) == 2
    assert "--output=gs://bucket/ is a whole bucket; use a folder in it" in capsys.readouterr().err


def test_images_that_were_added_are_written_by_the_next_call_of_the_same_process(folder, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(folder, images)

    def count(name):
        return write_tfrecords.write(
            f"folder:{images}", str(tmp_path / name), per_shard=100, num_workers=1
        )

    assert count("before") == COUNT
    shutil.copy(images / "00.png", images / "more.png")
    assert count("after") == COUNT + 1


def test_images_that_change_between_two_shards_are_noticed(folder, tmp_path):
    plan = write_tfrecords.Plan.of(f"folder:{folder}", 0, PER_SHARD)
    other = write_tfrecords.Plan(plan.images, "of other images", COUNT, 0, PER_SHARD)
    with pytest.raises(RunError, match="these must not change meanwhile"):
        write_tfrecords.write_shard(other, str(tmp_path), str(tmp_path), False, 0)


def test_incomplete_files_do_not_reach_the_output(folder, expected, tmp_path):
    partial = begin(folder, tmp_path / "made", [3])
    (tmp_path / "partial_made" / "images-00004-of-00014.tfrecord.ab12").write_bytes(b"half a shard")
    assert partial.missing(write_tfrecords.Plan.of(f"folder:{folder}", 0, PER_SHARD))[:4] == [
        0,
        1,
        2,
        4,
    ]
    assert tfrecords.main(command(folder, tmp_path / "made", "--num_workers=1")) == 0
    assert contents(tmp_path / "made") == expected


def test_an_existing_output_is_replaced_at_the_end(folder, expected, tmp_path):
    output = tmp_path / "made"
    output.mkdir()
    (output / "old").write_text("old")
    with pytest.raises(ConfigError, match="already exists"):
        write_tfrecords.write(f"folder:{folder}", str(output), per_shard=PER_SHARD)
    write_tfrecords.write(
        f"folder:{folder}", str(output), per_shard=PER_SHARD, overwrite=True, num_workers=1
    )
    assert contents(output) == expected and os.listdir(tmp_path) == ["made"]


def files_of(remote):
    return {
        name: tf.io.gfile.GFile(f"{remote}/{name}", "rb").read()
        for name in tf.io.gfile.listdir(remote)
    }


def test_remote_output_is_written_completed_and_replaced(folder, expected):
    # TensorFlow's file system in memory stands for a bucket: its folders cannot be renamed in one step either.
    output = "ram://test_shard_runners/made"

    def written(**options):
        return write_tfrecords.write(
            f"folder:{folder}", output, per_shard=PER_SHARD, num_workers=1, **options
        )

    assert written() == COUNT and files_of(output) == expected
    with pytest.raises(ConfigError, match=r"^output=ram://.* already exists"):
        written()
    with tf.io.gfile.GFile(f"{output}/old", "w") as file:
        file.write("old")
    written(overwrite=True)
    assert files_of(output) == expected
    assert tf.io.gfile.listdir("ram://test_shard_runners") == ["made"]


def test_a_remote_output_whose_shards_are_half_moved_is_completed(folder, expected):
    output = "ram://test_shard_runners/moved"
    partial = begin(folder, output, range(14))
    plan = write_tfrecords.Plan.of(f"folder:{folder}", 0, PER_SHARD)
    moved = []

    class Interrupted(Exception):
        pass

    def rename(source, target, overwrite):
        if len(moved) == 5:
            raise Interrupted
        moved.append(target)
        original(source, target, overwrite=overwrite)

    original = tf.io.gfile.rename
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.io.gfile, "rename", rename)
        with pytest.raises(Interrupted):
            partial.finish(plan)
    assert len(files_of(output)) == 5
    write_tfrecords.write(f"folder:{folder}", output, per_shard=PER_SHARD, num_workers=1)
    assert files_of(output) == expected
    assert "partial_moved" not in tf.io.gfile.listdir("ram://test_shard_runners")


def test_beam_that_is_not_installed_is_one_line(folder, tmp_path, capsys):
    flags = ["--beam_runner=DirectRunner"]
    assert tfrecords.main(command(folder, tmp_path / "made", *flags)) == 1
    error = capsys.readouterr().err
    assert "--beam_runner=DirectRunner requires Apache Beam; install it with" in error
    assert f'beam = ["{BEAM}"]' in (ROOT / "pyproject.toml").read_text()
    assert error.count("\n") == 1 and os.listdir(tmp_path) == []


@pytest.mark.thorough
def test_beam_writes_the_same_files(folder, expected, tmp_path):
    python = environment("beam", ROOT / "tests" / "data" / "beam.txt")

    def run(output, *flags):
        return subprocess.run(
            [python, "-m", "pixpro_tf.tfrecords", *command(folder, output, *flags)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=600,
        )

    workers = "--beam_options=direct_num_workers=2,direct_running_mode=multi_processing"
    # Two shards are there already.
    begin(folder, tmp_path / "made", [0, 7])
    result = run(tmp_path / "made", "--beam_runner=DirectRunner", workers)
    assert result.returncode == 0, result.stderr
    assert contents(tmp_path / "made") == expected
    for flags, message in (
        (["--beam_runner=NoRunner"], "--beam_runner=NoRunner is not a runner of Beam"),
        (
            ["--beam_runner=DirectRunner", "--beam_options=direct_num_worker=2"],
            "--beam_options=direct_num_worker=2 has no effect",
        ),
        (
            ["--beam_runner=DirectRunner", "--beam_options=direct_num_workers=many"],
            "--beam_options=direct_num_workers=many is rejected by Beam: argument",
        ),
        (
            ["--beam_runner=DirectRunner", "--num_workers=2"],
            "--num_workers=2 is unused with --beam_runner=DirectRunner",
        ),
    ):
        result = run(tmp_path / "other", *flags)
        assert result.returncode == 2 and message in error_line(result)
    # The error of a worker arrives as one line, after the logs of the workers.
    damaged = tmp_path / "images.zip"
    with zipfile.ZipFile(damaged, "w") as archive:
        archive.write(folder / "00.png", "00.png")
    data = bytearray(damaged.read_bytes())
    data[60] ^= 1
    damaged.write_bytes(data)
    result = run(
        tmp_path / "other", "--beam_runner=DirectRunner", workers, f"--images=zip:{damaged}"
    )
    assert result.returncode == 1
    last_line = result.stderr.splitlines()[-1]
    assert last_line.startswith(f"error: --images=zip:{damaged} cannot be read: 00.png: ")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("kept", [0, 40])
def test_a_description_that_a_full_disk_has_cut_is_written_again(folder, expected, tmp_path, kept):
    begin(folder, tmp_path / "made", [])
    described = tmp_path / "partial_made" / "plan.json"
    described.write_text(described.read_text()[:kept])
    assert tfrecords.main(command(folder, tmp_path / "made")) == 0
    assert contents(tmp_path / "made") == expected
