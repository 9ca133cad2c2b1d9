"""Models, and the one interface that all of them have:

    state         = model.encode(past, state=None)  # past (B,T,C,H,W), any T >= 1
    state         = model.begin(state)              # ready to step
    frames, state = model.step(state)               # the next frame; of some models several
    future        = model.decode(state, steps)      # begin, then steps; any steps >= 1
    model(past, steps) == model.decode(model.encode(past), steps)

Values are in [0,1], as `Scaling` gives them. A state is a flat dict of tensors whose first axis is
the clip, so that it can be kept, split by clip and written to a file; nothing changes it. Its names
and shapes depend on the model and the frames' size alone, from the first frame on. `encode(a)` then
`encode(b, state)` equals `encode(cat(a, b))` to rounding. The future is never an input. A step
draws no random numbers and calls no other library: what it needs of these enters as tensors before
`begin` (`exogenous`).

A model may have `inputs`: further channels of the past, after those that it forecasts. Inputs that
are known in the future, such as heights or the hour of the day, come with the state:
`decode(with_known(state, known), steps)`. A model also has `args` (plain values that rebuild it:
`type(model)(**model.args)`) and `channels` (the C of its frames, or None for any). The test suite
checks all of this for every entry of `MODELS` and every preset.

`building.py` imports the public names, with torch; this file loads neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreframe.models.building import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """Import the public names when one of them is first used."""
    public = import_module("foreframe.models.building")
    if name == "__all__" or name in public.__all__:
        return getattr(public, name)
    raise AttributeError(f"module 'foreframe.models' has no attribute {name!r}")
