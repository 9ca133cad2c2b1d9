"""Dead loader workers and dead processes of a training: a line each, and exit code 1."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import lightning.pytorch as L
import torch.distributed as dist

from foreframe.base.processes import give_way, is_first_process
from foreframe.training.launchers import CHILDREN, shared_store

LOST = "another process of this training has died or cannot be reached"
BEAT, SILENT = 3, 30  # seconds


class DeadProcessError(RuntimeError):
    """A process of a training has died; the message names it and the command to resume."""


def is_dead_worker(error: BaseException, workers: int) -> bool:
    """Whether an error means that a loader process has died: by torch's message, or by a closed
    connection. (Errors of a Dataset name a "DataLoader worker process".)
    """
    message = str(error)
    if "DataLoader worker process" in message:
        return False
    cut = isinstance(error, EOFError | ConnectionError | FileNotFoundError)
    return "DataLoader worker (pid" in message or (workers > 0 and cut)


class Heartbeat(threading.Thread):
    """A thread that ends this process if another one of its training is gone: the main thread may
    wait for that one within torch, where no exception reaches it.

    Each process counts in the launcher's store; the first one looks at all counts, and the others
    at the first one's. A process that others wait for within torch, for as long as it takes, is
    thus told from one that is gone or cut off.
    """

    def __init__(self, store: dist.Store, rank: int, ranks: int, resume: str) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self.store, self.rank, self.resume = store, rank, resume
        self.over = threading.Event()
        self.watched = range(1, ranks) if rank == 0 else range(1)
        self.silent: dict[int, int] = {}  # seconds, of each that is watched, once all have begun

    def run(self) -> None:
        # Apart, since the store never answers where a link is cut.
        threading.Thread(target=self._beat, daemon=True).start()
        while not self.over.wait(1):  # counted: a machine may sleep
            for rank, child in enumerate(CHILDREN, 1):  # one may die before it has begun
                if child.poll():
                    self.end(f"process {rank} ({child.pid}) of this training has died")
            for rank in self.silent:
                self.silent[rank] += 1
                if self.silent[rank] > SILENT:
                    self.end(f"process {rank} of this training has died or cannot be reached")

    def _beat(self) -> None:
        try:
            if self.rank > 0:
                self.store.set(f"{self.rank}", "0")
            last = {rank: self.store.get(f"{rank}") for rank in self.watched}
            self.silent = dict.fromkeys(self.watched, 0)
            for beat in count(1):
                self.store.set(f"{self.rank}", f"{beat}")
                for rank, before in last.items():
                    last[rank] = self.store.get(f"{rank}")
                    if last[rank] != before:
                        self.silent[rank] = 0
                if self.over.wait(BEAT):
                    return
        except dist.DistError:  # the store has ended
            self.silent = dict.fromkeys(self.watched, SILENT)

    def message(self, what: str) -> str:
        return f"{what}; the last checkpoint stays, go on with: {self.resume}"

    def end(self, what: str) -> None:
        """End this process, and those that it has started, with a line."""
        if self.over.is_set():
            return
        give_way()
        print(f"foreframe: {self.message(what)}", file=sys.stderr, flush=True)
        for child in CHILDREN:
            child.kill()
        sys.stdout.flush()
        os._exit(1)


@contextmanager
def heartbeat(trainer: L.Trainer, resume: str) -> Iterator[None]:
    """Watch the other processes of a distributed training in this context.

    Args:
        resume: how to go on after a fault.

    Raises:
        DeadProcessError: one of them is gone.
    """
    store = shared_store()
    if store is None:
        yield
        return
    watch = Heartbeat(store, trainer.global_rank, trainer.world_size, resume)
    watch.start()
    try:
        yield
        trainer.strategy.barrier()  # before the first one, which keeps the others' store, ends
    except Exception as error:
        if isinstance(error, dist.DistError | ConnectionError) or "gloo" in str(error):
            if is_first_process():
                watch.end(LOST)  # at once: the launcher is about to end this process, too
            raise DeadProcessError(watch.message(LOST)) from error
        raise
    finally:
        watch.over.set()
