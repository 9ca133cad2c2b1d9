"""Dead loader workers and dead processes of a training: a line each, and exit code 1."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from subprocess import Popen

import lightning.pytorch as L
import torch.distributed as dist
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch.utils.data._utils import signal_handling

from foreframe.base.processes import give_way, is_first_process
from foreframe.training.launchers import KEYS, connected, several

LOST = "another process of this training has died or cannot be reached"
BEAT, SILENT = 3, 30  # seconds


class DeadProcessError(RuntimeError):
    """A process of a training has died; the message names it and the command to resume."""


def poll_workers() -> None:
    """Let torch detect dead loader workers by polling, within 5 s of waiting for a batch. Its
    signal handler would raise anywhere in the training, also where Python can only print.
    """
    main = threading.current_thread() is threading.main_thread()
    if main and hasattr(signal, "SIGCHLD"):  # not on Windows
        before = signal.getsignal(signal.SIGCHLD)
        signal_handling._set_SIGCHLD_handler()  # once in a process: no loader sets it again
        signal.signal(signal.SIGCHLD, before)


def is_dead_worker(error: BaseException, workers: int) -> bool:
    """Whether an error means that a loader process has died: by torch's message, or by a closed
    connection. (Errors of a Dataset name a "DataLoader worker process".)
    """
    message = str(error)
    if "DataLoader worker process" in message:
        return False
    cut = isinstance(error, EOFError | ConnectionError | FileNotFoundError)
    return "DataLoader worker (pid" in message or (workers > 0 and cut)


def is_lost_process(error: BaseException) -> bool:
    """Whether an error of torch's communication means that another process is gone."""
    return isinstance(error, dist.DistError | ConnectionError) or "gloo" in str(error)


class RankWatch(threading.Thread):
    """A thread that ends this process if another rank has died: the main thread may wait for that
    rank within torch, where no exception reaches it.
    """

    def __init__(self, children: Sequence[Popen], go_on: str) -> None:
        super().__init__(daemon=True, name="rank-watch")
        self.children, self.go_on = children, go_on
        self.parent = os.getppid()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.2):
            if not is_first_process() and os.getppid() != self.parent:
                os._exit(1)  # nobody waits for what the first process was told to do
            for number, child in enumerate(self.children, 1):
                if child.poll() and not self.over.is_set():
                    self.end(f"process {number} ({child.pid}) of this training has died")

    def told(self, what: str) -> str:
        return f"{what}; the last checkpoint stays, go on with: {self.go_on}"

    def end(self, what: str) -> None:
        give_way()
        print(f"foreframe: {self.told(what)}", file=sys.stderr, flush=True)
        for child in self.children:
            child.kill()
        sys.stdout.flush()
        os._exit(1)


class Heartbeat(RankWatch):
    """The same for processes on any machines, which torchrun or SLURM has started: each counts in
    the launcher's store; the first one looks at all counts, and the others at the first one's. A
    process that others wait for within torch, for as long as it takes, is thus told from one that
    is gone or cut off.
    """

    def __init__(self, environment: ClusterEnvironment, go_on: str) -> None:
        super().__init__((), go_on)
        self.store = dist.PrefixStore(f"foreframe/{next(KEYS)}", connected(environment))
        self.rank, ranks = environment.global_rank(), environment.world_size()
        self.watched = range(1, ranks) if self.rank == 0 else range(1)
        self.silent: dict[int, int] = {}  # seconds, of each that is watched, once all have begun

    def run(self) -> None:
        # Apart, since the store never answers where a link is cut.
        threading.Thread(target=self._beat, daemon=True).start()
        while not self.over.wait(1):  # counted: a machine may sleep
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


@contextmanager
def ranks(trainer: L.Trainer, go_on: str) -> Iterator[None]:
    """Start the other processes of a distributed training, and watch them in this context.

    Lightning would start them itself, with a watch that kills everything without a message.
    """
    if trainer.world_size == 1:
        yield
        return
    launcher, children = trainer.strategy.launcher, []
    if isinstance(launcher, _SubprocessScriptLauncher):
        if not launcher.cluster_environment.creates_processes_externally:
            launcher._call_children_scripts()
        children = launcher.procs
    watch = RankWatch(children, go_on)
    if several():
        watch = Heartbeat(trainer.strategy.cluster_environment, go_on)
    watch.start()
    try:
        yield
        trainer.strategy.barrier()  # before the first one, which keeps the others' store, ends
    except Exception as error:
        if several() and is_lost_process(error):
            if is_first_process():
                watch.end(LOST)  # at once: the launcher is about to end this process, too
            raise DeadProcessError(watch.told(LOST)) from error
        watch.join(4 if children else 0)  # the death of another process may be the cause
        for child in children:
            child.kill()
        raise
    finally:
        watch.over.set()
