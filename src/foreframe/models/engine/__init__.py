"""The fast path of recurrent layers: convolutions and elementwise mathematics over many steps, with
the same values and gradients as plain torch. It knows no cell: cells are built from it.

- `Conv2d` is an `nn.Conv2d`. Within `one_pass` its maps lie channels last, its weights are cast to
  autocast's dtype once, and a part that is zero takes no part in the convolution.
- The gradients of its weights are taken of many steps in one convolution, since small
  weight-gradient convolutions are slow. With few weights, on a CPU, it is left to autograd.
- `pointwise` marks the elementwise part of a cell. Only its inputs are stored for the backward
  pass, which computes the rest again. Compiled, it is one kernel forward and one backward;
  otherwise it runs over blocks of pixels.
- `PackedConv2d` is for networks without steps: forecasts keep its weights ready.

`torch_private` has the private functions of torch, each with a fallback.
"""

from foreframe.models.engine.convolutions import Conv2d, one_pass, pass_for
from foreframe.models.engine.elementwise import (
    WORTH,
    channels_last,
    pointwise,
    tanh,
    why_not_compiled,
)
from foreframe.models.engine.packed import LAST, PackedConv2d

__all__ = [
    "LAST", "WORTH", "Conv2d", "PackedConv2d", "channels_last", "one_pass",
    "pass_for", "pointwise", "tanh", "why_not_compiled",
]  # fmt: skip
