"""Processes that do one thing together: which one this is, and what all of them have found."""

import os
import time
from typing import Any


def is_first_process() -> bool:
    """Whether this is the only process of a training, or the one that prints and writes."""
    names = ["RANK"] if "RANK" in os.environ else ["SLURM_PROCID", "LOCAL_RANK"]
    return not any(int(os.environ.get(name, 0)) for name in names)


def give_way() -> None:
    """Let the first process tell of a fault that all of them find: its launcher then ends the
    others.
    """
    if not is_first_process():
        time.sleep(10)


def joined() -> tuple[int, int]:
    """The number of this process and how many there are, (0, 1) of one alone. Those that torchrun
    started find each other on the first call; others (of SLURM, say) may each do a thing of their
    own.
    """
    import torch.distributed as dist

    if not dist.is_available() or not (dist.is_initialized() or dist.is_torchelastic_launched()):
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return dist.get_rank(), dist.get_world_size()


def gathered(value: Any) -> list[Any]:
    """The value of each process, in their order; all of them call this.

    Raises:
        ConnectionError: another process has ended or cannot be reached.
    """
    import torch.distributed as dist

    _, processes = joined()
    if processes == 1:
        return [value]
    values = [None] * processes
    try:
        dist.all_gather_object(values, value)
    except RuntimeError as error:
        raise ConnectionError("another process has ended or cannot be reached") from error
    return values
