"""The fast path of recurrent layers: convolutions and elementwise mathematics over many steps, with
the same values and gradients as plain torch. It knows no cell: cells are built from it.

- `Conv2d` is an `nn.Conv2d`. Within `one_pass` its maps lie channels last, its weights are cast to
  autocast's dtype once, and a part that is zero takes no part in the convolution.
- The gradients of its weights are taken of many steps in one convolution, since small
  weight-gradient convolutions are slow. With few weights, on a CPU, it is left to autograd.
- `pointwise` marks the elementwise part of a cell. Of it only the inputs are kept for the backward
  pass, which computes the rest again. Compiled, it is one kernel forward and one backward; else it
  runs over blocks of pixels.
- `PackedConv2d` and `Sequential` are for networks without steps: forecasts keep weights ready.

What torch has no public name for is in `torch_private`, each with a way without it.
"""

from foreframe.models.engine.convolutions import Conv2d
from foreframe.models.engine.elementwise import (
    WORTH,
    channels_last,
    pointwise,
    tanh,
    why_not_compiled,
)
from foreframe.models.engine.gathering import one_pass, pass_for
from foreframe.models.engine.packed import LAST, PackedConv2d, Sequential

__all__ = [
    "LAST", "WORTH", "Conv2d", "PackedConv2d", "Sequential", "channels_last", "one_pass",
    "pass_for", "pointwise", "tanh", "why_not_compiled",
]  # fmt: skip
