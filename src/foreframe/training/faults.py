"""Dead loader workers and dead processes of a training: a line each, and exit code 1."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from subprocess import Popen

import lightning.pytorch as L
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch.utils.data._utils import signal_handling

from foreframe.training.notices import is_first_process


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
                    self._end(f"process {number} ({child.pid}) of this training has died")

    def _end(self, what: str) -> None:
        stays = f"the last checkpoint stays, go on with: {self.go_on}"
        print(f"foreframe: {what}; {stays}", file=sys.stderr, flush=True)
        for child in self.children:
            child.kill()
        sys.stdout.flush()
        os._exit(1)


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
    watch.start()
    try:
        yield
    except Exception:
        watch.join(4)  # the death of another process may be the cause
        for child in children:
            child.kill()
        raise
    finally:
        watch.over.set()
