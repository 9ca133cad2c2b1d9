"""Training with Lightning: `foreframe.fit` is the door.

What stands here loads without torch, so that the command line can describe the options at once.
"""

from foreframe.training.options import (
    DataOptions,
    LearningOptions,
    MachineOptions,
    ModelOptions,
    RunOptions,
)

__all__ = ["DataOptions", "LearningOptions", "MachineOptions", "ModelOptions", "RunOptions"]
