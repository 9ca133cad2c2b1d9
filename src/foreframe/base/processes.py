"""Several processes with one task: ranks, and exchange of values."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

_GROUPS = count()  # equal on all processes


class Stopped(KeyboardInterrupt):
    """Training was stopped by hand, and saved; the message has the command to resume."""

    def _render_traceback_(self) -> list[str]:
        """Show no traceback in notebooks, since nothing went wrong."""
        return [str(self)]


class DeadProcessError(RuntimeError):
    """A process of a training has died; the message has the command to resume."""


def is_first_process() -> bool:
    """Return whether this process prints and writes: the only one of a training, or the first."""
    names = ["RANK"] if "RANK" in os.environ else ["SLURM_PROCID", "LOCAL_RANK"]
    return not any(int(os.environ.get(name, 0)) for name in names)


def give_way() -> None:
    """Wait while the first process reports an error; its launcher then ends the others."""
    if not is_first_process():
        time.sleep(10)


def rank_and_size() -> tuple[int, int]:
    """Return the rank of this process and the number of processes, if torchrun or a training has
    connected them; else (0, 1). Tasks of SLURM may each do something else.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    if dist.is_available() and dist.is_torchelastic_launched():
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return 0, 1


@contextmanager
def process_group() -> Iterator[None]:
    """Connect the processes that torchrun started, and disconnect them at the end."""
    import torch.distributed as dist

    rank, size = rank_and_size()
    if size == 1 or dist.is_initialized():
        yield
        return
    # Under a new name each time: the launcher's store still has the addresses of the last one.
    store = dist.PrefixStore(f"foreframe/{next(_GROUPS)}", next(dist.rendezvous("env://"))[0])
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def all_gather(value: Any) -> list[Any]:
    """Return the value of each process, by rank; all processes call this.

    Raises:
        ConnectionError: another process has ended or cannot be reached.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values = [None] * dist.get_world_size()
    try:
        dist.all_gather_object(values, value)
    except RuntimeError as error:
        raise ConnectionError("another process has ended or cannot be reached") from error
    return values
