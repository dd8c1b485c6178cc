"""Collects photographs without labels, of materials and of places, from packages of Debian into a folder.

    python -m benchmarks.photographs --data_dir=data --output=data/photographs

The folder gets the textures of the package ufoai-textures that are photographs of materials, and those backgrounds of which the training
images of `composites` are composed: no photograph that composites are scored on.
"""

import dataclasses
import os
import re
import sys
import zipfile

from PIL import Image

from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.outputs import atomic_output, refuse_existing
from pixpro_tf.cli.settings import CheckedSettings, overwrite_flag
from pixpro_tf.config.flag import flag
from pixpro_tf.errors import RunError

_PACKAGE, _ARCHIVE = "ufoai-textures", "games/ufoai/base/0textures.pk3"
# Folders of the archive, chosen by hand: the others are mostly drawn, plain or rendered.
_MATERIALS = (
    "tex_buildings",
    "tex_buildings_snow",
    "tex_ctp1",
    "tex_dirt",
    "tex_doors",
    "tex_mattn",
    "tex_nature",
    "tex_terrain",
    "tex_trak",
)
# Normal, specular and glow maps of other textures, which are computed.
_MAPS = re.compile(r"_(nm|sm|gm)\.\w+$")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Settings of the collection."""

    data_dir: str = flag(
        "data",
        "Data",
        "folder of prepared TFDS datasets, in which packages of Debian are unpacked in the folder debian",
        path=True,
    )
    output: str = flag("data/photographs", "Output", "folder to write", path=True)
    overwrite: bool = overwrite_flag()


def collect(data_dir: str, folder: str) -> dict[str, int]:
    """Writes the photographs into a new folder and returns the number of each kind.

    Args:
        data_dir: folder in which packages are unpacked, if they are not installed.
        folder: folder to write.

    Raises:
        RunError: if a package is missing.
    """
    from pixpro_tf.data.composites.builder import Photographs

    backgrounds = Photographs.find(data_dir).of_split("train")[1]
    archive = _archive(data_dir)
    os.makedirs(os.path.join(folder, "materials"))
    os.makedirs(os.path.join(folder, "places"))
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if is_material(name)]
        for name in names:
            path = os.path.join(folder, "materials", "_".join(name.split("/")[-2:]))
            with open(path, "wb") as file:
                file.write(opened.read(name))
    for path in backgrounds:
        # Two packages have a file of the same name.
        name, _ = os.path.splitext("_".join(path.split(os.sep)[-3:]))
        with Image.open(path) as photograph:
            shown = photograph.convert("RGB")
        # Larger ones only take time.
        shown.thumbnail((1024, 1024), Image.Resampling.LANCZOS)
        shown.save(os.path.join(folder, "places", f"{name}.jpg"), quality=95)
    return {"materials": len(names), "places": len(backgrounds)}


def is_material(name: str) -> bool:
    """Tells whether a file of the archive is a photograph of a material, by its name.

    Examples:
        >>> from benchmarks.photographs import is_material
        >>> is_material("textures/tex_nature/rock.jpg"), is_material("textures/tex_nature/rock_nm.png")
        (True, False)
    """
    return name.count("/") == 2 and name.split("/")[1] in _MATERIALS and not _MAPS.search(name)


def _archive(data_dir: str) -> str:
    from pixpro_tf.data.composites.builder import found

    for path in found([_ARCHIVE], data_dir):
        return path
    raise RunError(
        f"photographs of materials are missing; install {_PACKAGE}, or unpack it without root: `cd {data_dir} && apt-get download {_PACKAGE} && "
        f"dpkg-deb -x {_PACKAGE}_*.deb debian`"
    )


def _run(flags: Settings) -> None:
    refuse_existing("output", flags.output, flags.overwrite)
    with atomic_output(flags.output, flags.overwrite) as folder:
        counts = collect(flags.data_dir, folder)
    kinds = " and ".join(f"{count} of {kind}" for kind, count in counts.items())
    print(f"Wrote {flags.output}: photographs, {kinds}")


main = Command(Settings, __doc__, "python -m benchmarks.photographs", _run)

if __name__ == "__main__":
    sys.exit(main())
