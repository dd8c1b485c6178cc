"""Errors for users: the part of another library's message that is shown."""

import pytest

from pixpro_tf.errors import first_line


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
        ("names in {{braces}} stay", "names in {{braces}} stay"),
        ("", "ValueError"),
    ],
)
def test_first_line_of_another_librarys_error_is_unwrapped(text, said):
    assert first_line(ValueError(text)) == said
