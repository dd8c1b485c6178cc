"""Flags of the limits for files that others have made; commands have those of the files that they read."""

import dataclasses

from pixpro_tf.config.flag import LIMITS, flag
from pixpro_tf.data.limits import Limits


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class ImageLimits:
    """Largest images that are read."""

    max_megapixels: int = flag(
        Limits.max_megapixels,
        LIMITS,
        "largest image that is decoded, by the size in its header: decoding takes 17 bytes a pixel; images with more than three "
        "channels have as many fewer pixels",
        unit="megapixels",
        minimum=1,
        fixed=False,
    )
    max_image_megabytes: int = flag(
        Limits.max_image_megabytes,
        LIMITS,
        "largest file, archive member or record with an image that is read",
        unit="MB",
        minimum=1,
        fixed=False,
    )


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class DownloadLimits:
    """Largest and longest downloads."""

    max_download_gigabytes: int = flag(
        Limits.max_download_gigabytes,
        LIMITS,
        "largest download, and largest archive of a SavedModel when it is unpacked",
        unit="GB",
        minimum=1,
        fixed=False,
    )
    max_download_minutes: int = flag(
        Limits.max_download_minutes,
        LIMITS,
        "time after which a download ends; a server that sends nothing for a minute ends it earlier",
        unit="minutes",
        minimum=1,
        fixed=False,
    )
