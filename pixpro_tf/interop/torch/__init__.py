"""PyTorch weights in and out, by the authors' names; `python -m pixpro_tf.interop.torch` converts files."""

from pixpro_tf.interop.torch.names import (
    load_state_dict,
    state_dict,
    to_torch_layout,
    variables_by_name,
)

__all__ = ["load_state_dict", "state_dict", "to_torch_layout", "variables_by_name"]
