"""Training with Lightning, called by `foreframe.fit`.

This file loads no torch, so that the command line can describe the options fast.
"""

from foreframe.training.options import (
    DataOptions,
    LearningOptions,
    MachineOptions,
    ModelOptions,
    RunOptions,
)

__all__ = ["DataOptions", "LearningOptions", "MachineOptions", "ModelOptions", "RunOptions"]
