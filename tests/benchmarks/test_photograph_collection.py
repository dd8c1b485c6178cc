"""Photographs without labels that are collected from packages of Debian."""

import os
import zipfile

import pytest
from PIL import Image

from benchmarks import photographs
from pixpro_tf.data.composites import builder

NATURE = "textures/tex_nature"


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Unpacked packages with the names of the real ones, and with contents that say what they are."""
    archive = tmp_path / "debian/usr/share" / photographs._ARCHIVE
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("rock.jpg", "rock_nm.png", "rock_sm.jpg", "rock_gm.png", "old_nm_wall.png"):
            file.writestr(f"{NATURE}/{name}", name)
        file.writestr("textures/tex_terrain/rock.jpg", "another")
        file.writestr("textures/tex_pics/painting.jpg", "drawn")
        file.writestr("textures/rock.jpg", "of no folder")
    paths = []
    for folder in ("a/here", "b/here"):
        path = tmp_path / folder / "home.png"
        path.parent.mkdir(parents=True)
        Image.new("RGBA", (3000, 1500 * len(paths) + 20)).save(path)
        paths.append(str(path))
    found = builder.Photographs({}, paths)
    monkeypatch.setattr(builder.Photographs, "find", lambda data_dir: found)
    monkeypatch.setattr(
        builder.Photographs, "of_split", lambda self, split: ([], self.backgrounds[:2])
    )
    return tmp_path


def test_photographs_are_collected_without_computed_maps(packages, capsys):
    output = packages / "photographs"
    flags = [f"--data_dir={packages}", f"--output={output}"]
    assert photographs.main(flags) == 0
    assert "3 of materials and 2 of places" in capsys.readouterr().out
    names = ["tex_nature_old_nm_wall.png", "tex_nature_rock.jpg", "tex_terrain_rock.jpg"]
    assert sorted(os.listdir(output / "materials")) == names
    assert (output / "materials" / "tex_terrain_rock.jpg").read_text() == "another"
    assert sorted(os.listdir(output / "places")) == ["a_here_home.jpg", "b_here_home.jpg"]
    with Image.open(output / "places" / "b_here_home.jpg") as shown:
        assert shown.size == (1024, 519) and shown.mode == "RGB"
    assert photographs.main(flags) == 2
    assert "already exists; use another path, or add --overwrite" in capsys.readouterr().err


def test_a_missing_package_is_named_with_what_to_do(packages, capsys, monkeypatch):
    monkeypatch.setattr(photographs, "_ARCHIVE", "games/nothing.pk3")
    assert photographs.main([f"--data_dir={packages}", f"--output={packages / 'out'}"]) == 1
    error = capsys.readouterr().err
    assert "apt-get download ufoai-textures" in error and error.count("\n") == 1
    assert not (packages / "out").exists()
