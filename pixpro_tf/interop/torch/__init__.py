"""Import and export of PyTorch weights by the authors' names; `python -m pixpro_tf.interop.torch` converts files."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixpro_tf.pretrained.torch_names import (
        load_state_dict,
        state_dict,
        to_torch_layout,
        variables_by_name,
    )

__all__ = ["load_state_dict", "state_dict", "to_torch_layout", "variables_by_name"]


def __getattr__(name: str) -> object:
    # Imported late, because they need TensorFlow, and the command rejects a bad file without waiting for that.
    if name in __all__:
        from pixpro_tf.pretrained import torch_names

        return getattr(torch_names, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
