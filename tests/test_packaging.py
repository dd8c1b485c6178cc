"""Tests of the installed package: contents of the wheel, and commands outside a checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

from tests.conftest import ROOT

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # Files of an earlier build, including removed modules, would end up in the next wheel.
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    # The build uses setuptools of this environment, because an isolated one would need a network.
    command = [*PIP, "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, f"--wheel-dir={folder}", ROOT], check=True)
    (path,) = folder.iterdir()
    return path


def test_wheel_contains_only_the_package_and_its_configurations(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    top = {name.split("/")[0] for name in names}
    assert len(top) == 2 and all(name.startswith("pixpro_tf") for name in top)
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "pixpro_tf").rglob("*.py")}
    modules.add("pixpro_tf/py.typed")
    configs = {
        f"pixpro_tf/{path.relative_to(ROOT)}"
        for pattern in ("*.flags", "ablations/*.flags")
        for path in (ROOT / "configs").glob(pattern)
    }
    assert len(configs) > 30
    assert {name for name in names if name.startswith("pixpro_tf/")} == modules | configs


def test_wheel_has_the_version_of_the_package(wheel):
    import pixpro_tf

    assert wheel.name.startswith(f"pixpro_tf-{pixpro_tf.__version__}-")


def install(folder, *arguments):
    """Installs the wheel in a new environment and returns the folder of its commands."""
    venv.create(folder, with_pip=False)
    command = [*PIP, f"--python={folder}", "install", "--quiet", *arguments]
    subprocess.run(command, check=True)
    return folder / "bin"


def train_export_and_load(commands, photos, folder):
    """Trains, exports and loads a backbone as a user of the package does, in a folder outside any checkout."""

    def run(*command):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        process = subprocess.run(
            list(map(str, command)),
            cwd=folder,
            env=environment | {"PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    run(
        *(commands / "pixpro-train", "--flagfile=demo", f"--dataset=folder:{photos}"),
        *("--backbone=resnet10w0.5", "--image_size=32", "--batch_size=8", "--max_steps=2"),
        *("--projector_hidden=16", "--projector_dim=8", "--run_dir=run"),
    )
    assert "--[no]include_heads" in run(commands / "pixpro-export", "savedmodel", "--help")
    run(
        *(commands / "pixpro-export", "savedmodel", "--from=run", "--output=exported"),
        "--allow_unfinished",
    )
    code = (
        "import pixpro_tf; layer = pixpro_tf.load_backbone('exported'); print(pixpro_tf.__file__)"
    )
    assert str(commands.parent) in run(commands / "python", "-c", code)


@pytest.mark.slow
def test_an_installed_package_trains_and_exports(wheel, photos, tmp_path):
    commands = install(tmp_path / "env", "--no-deps", str(wheel))
    # The dependencies come from this environment.
    (packages,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    train_export_and_load(commands, photos, tmp_path)


@pytest.mark.slow
@pytest.mark.thorough
def test_an_installed_package_includes_its_dependencies(wheel, photos, tmp_path):
    train_export_and_load(install(tmp_path / "env", str(wheel)), photos, tmp_path)


def test_machines_with_tpus_have_all_dependencies():
    def names(file, wanted):
        lines = (ROOT / file).read_text().splitlines()
        pinned = [line for line in lines if line and not line.startswith("#") and wanted(line)]
        return {re.split("[=<>;]", line)[0] for line in pinned}

    current = names("requirements.txt", lambda line: 'python_version < "3.12"' not in line)
    on_tpus = names("requirements-tpu.txt", lambda line: True)
    assert current - {"tensorflow"} == on_tpus - {"tensorflow-tpu", "libtpu"}


def test_the_path_of_a_python_may_contain_spaces(tmp_path):
    (tmp_path / "my python").mkdir()
    path = tmp_path / "my python" / "python"
    path.symlink_to(sys.executable)
    command = [ROOT / "scripts" / "find_python", path]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(path)


KERAS = """
import os, sys, types
sys.modules["keras"] = types.ModuleType("keras")
sys.version_info = (3, 13)
import pixpro_tf.keras2
pixpro_tf.keras2.select_keras_2()
"""


WITHOUT_TENSORFLOW = """
import os, sys
sys.version_info = (3, 13)
import pixpro_tf.keras2
pixpro_tf.keras2.select_keras_2()
print(os.environ["TF_USE_LEGACY_KERAS"])
"""


@pytest.mark.parametrize("variable", ["0", "TRUE", "False", ""])
def test_another_choice_of_keras_is_replaced_before_tensorflow_is_imported(variable):
    """TensorFlow takes every value but 1, true and True for Keras 3, with which no network could be built."""
    environment = os.environ | {"TF_USE_LEGACY_KERAS": variable, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert process.stdout == "1\n", process.stderr


@pytest.mark.parametrize(
    ("variable", "accepted"), [("1", True), ("True", True), ("0", False), ("TRUE", False)]
)
def test_keras_3_beside_keras_2_is_accepted_where_it_was_chosen(variable, accepted):
    environment = os.environ | {"TF_USE_LEGACY_KERAS": variable, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KERAS]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert (process.returncode == 0) == accepted, process.stderr
    assert accepted or "tf.keras is Keras 3 in this process" in process.stderr
