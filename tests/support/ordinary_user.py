"""Runs a Python file or module as an ordinary user would, for whom the modes of files hold: root may otherwise read and write everything.

python tests/support/ordinary_user.py FILE --flag=value
"""

import ctypes
import os
import runpy
import struct
import sys

# Of <linux/capability.h>: reading, writing and searching whatever the modes are, and being the owner of every file.
_OVERRIDES = (1, 2, 3)
_VERSION = 0x20080522


def give_up_overrides() -> None:
    """Gives up what lets root override the modes of files, for this thread and those that it starts."""
    if os.geteuid():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _VERSION, 0))
    data = ctypes.create_string_buffer(24)
    if libc.capget(header, data):
        raise OSError(ctypes.get_errno(), "the capabilities cannot be read")
    words = list(struct.unpack("=6I", data.raw))
    for number in _OVERRIDES:
        # The first three words are the effective, permitted and inheritable capabilities 0 to 31.
        words[:3] = [word & ~(1 << number) for word in words[:3]]
    header = ctypes.create_string_buffer(struct.pack("=Ii", _VERSION, 0))
    if libc.capset(header, ctypes.create_string_buffer(struct.pack("=6I", *words))):
        raise OSError(ctypes.get_errno(), "the capabilities cannot be given up")


if __name__ == "__main__":
    give_up_overrides()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
