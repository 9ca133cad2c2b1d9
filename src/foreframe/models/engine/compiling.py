"""Whether the elementwise part of cells can be compiled here, and from when on that pays."""

from functools import cache
from importlib.util import find_spec

import torch

from foreframe.base.notes import warn

# Values of a cell's first map after which a process on a CPU compiles what it computes from them:
# so far it has taken about as long as compiling will, which may take 12 seconds, so that a process
# loses half of its time to it at the worst. About 25 forecasts of 4 clips by `tutorial`.
PAYS = 2**32
WORTH = 2**17  # values of a layer's map from which compiling is earned back within a minute


@cache
def why_not_compiled(device: str) -> str:
    """Why the elementwise part cannot be compiled for "cpu" or "cuda" here, in a line; "" where it
    can.

    On a CPU that takes a C++ compiler, on CUDA triton and a GPU that is not too old. Finding out
    takes some seconds, once.
    """
    if device == "cuda" and find_spec("triton") is None:
        return "triton is not installed"
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(8, device=device))
    except Exception as error:  # of torch's, of the operating system's, as it happens to fail
        if device == "cuda":
            return (str(error).splitlines() or [type(error).__name__])[0]
        return "there is no C++ compiler here that works (g++, or what CXX names)"
    return ""


@cache
def compiles(device: str) -> bool:
    """Whether compiling works here; said in a line, once."""
    why = why_not_compiled(device)
    if not why and device == "cpu":
        warn(
            "recurrent cells are compiled from here on, which so long a run pays back; --compile "
            "false, or model.compiled = False in Python, leaves that out"
        )
    if why and device == "cuda" and find_spec("triton") is not None:
        warn(f"recurrent cells are not compiled, and slower for it: {why}")
    return not why
