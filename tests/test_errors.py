"""Errors for users: the part of another library's message that is shown."""

import errno
import os

import pytest

from pixpro_tf.errors import first_line, why_unwritable


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one\ntwo", "one"),
        (
            "{{function_node __wrapped__SaveV2_device_/job:localhost/device:CPU:0}} /disk/part; No space left on device [Op:SaveV2]",
            "/disk/part; No space left on device",
        ),
        ("Table is closed [Op:RestoreV2] name: ", "Table is closed"),
        (
            "Graph execution error:\n\nDetected at node Pad defined at (most recent call last):\n  File x.py\n\nToo wide: 9 of 8\n"
            "\t [[{{node Pad}}]] [Op:__inference_f_12]",
            "Too wide: 9 of 8",
        ),
        ("Graph execution error:\n\nIt failed", "It failed"),
        (
            "{{function_node __wrapped__IteratorGetNext_device_CPU:0}} assertion failed: [the image [1] has 9 x 9 pixels]\n\t [[{{node Assert}}]]",
            "the image [1] has 9 x 9 pixels",
        ),
        (
            "Graph execution error:\n\nDetected at node Assert\n\nassertion failed: [not equal] [Condition x == y:] [x = ] [1]\n\t [[{{node Assert}}]]",
            "not equal",
        ),
        (
            "Expected 'tf.Tensor(False, shape=(), dtype=bool)' to be true. Summarized data: b'the image has 9 x 9 pixels'",
            "the image has 9 x 9 pixels",
        ),
        (
            "Expected 'tf.Tensor(False, shape=(), dtype=bool)' to be true. Summarized data: b\"it's large\"",
            "it's large",
        ),
        (
            "{{function_node __wrapped__IteratorGetNext}} ValueError: damaged: a.png\nTraceback (most recent call last):\n\n  File x.py",
            "damaged: a.png",
        ),
        (
            "{{function_node __wrapped__IteratorGetNext}} Error in user-defined function passed to ParallelMapDatasetV2:1 transformation with "
            "iterator: Iterator::Root::Prefetch::ParallelMapV2: ValueError: damaged: a.png\nTraceback (most recent call last):\n\n  File x.py",
            "damaged: a.png",
        ),
        (
            "{{function_node __wrapped__IteratorGetNext}} Error in user-defined function passed to MapDataset:6 transformation with iterator: "
            "Iterator::Root::ParallelMapV2: Unknown image file format.\n\t [[{{node DecodePng}}]] [Op:IteratorGetNext] name: ",
            "Unknown image file format.",
        ),
        ("names in {{braces}} stay", "names in {{braces}} stay"),
        ("", "ValueError"),
    ],
)
def test_first_line_of_another_librarys_error_is_unwrapped(text, said):
    assert first_line(ValueError(text)) == said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            "No space left on device; free some space, then run the same command again",
        ),
        (
            RuntimeError("/a/b; No space left on device [Op:SaveV2]"),
            "/a/b; No space left on device; free some space, then run the same command again",
        ),
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/a/b"),
            "Permission denied; make it writable, or use another path",
        ),
    ],
)
def test_advice_after_a_failed_write_suits_the_reason(error, said):
    assert why_unwritable(error) == said
