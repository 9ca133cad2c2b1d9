"""Processes that do one thing together: which one this is, and what all of them have found; and
what a call changes for its whole process, until its end.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any

_END: ContextVar[ExitStack | None] = ContextVar("end", default=None)
_GROUPS = count()  # used up alike on all processes


@contextmanager
def undoing() -> Iterator[None]:
    """A call of foreframe; what was given to `at_end` within it is done at its end."""
    with ExitStack() as stack:
        token = _END.set(stack)
        try:
            yield
        finally:
            _END.reset(token)


def at_end(undo: Callable[[], Any]) -> None:
    """Undo something at the end of the call; outside of one it stays."""
    if (stack := _END.get()) is not None:
        stack.callback(undo)


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
    started find each other on the first call, and part when what called this ends; others (of
    SLURM, say) may each do a thing of their own.
    """
    import torch.distributed as dist

    if not dist.is_available() or not (dist.is_initialized() or dist.is_torchelastic_launched()):
        return 0, 1
    if not dist.is_initialized():
        # Under a new name each time: the launcher's store still has the addresses of the last one.
        store, rank, size = next(dist.rendezvous("env://"))
        store = dist.PrefixStore(f"foreframe/joined/{next(_GROUPS)}", store)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
        at_end(dist.destroy_process_group)
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
