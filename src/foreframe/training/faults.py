"""What may break beside a training while it goes on: TensorBoard's events, a loader's worker, one
of several processes.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.data._utils import signal_handling

from foreframe.training.notices import go_on


class DeadProcessError(RuntimeError):
    """A process of a training has died; the message says which, and how to go on."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A full disk, or a folder that has gone, ends the training.

    Raises:
        ValueError: in place of an OSError, with what goes on with this run.
    """
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"cannot write to {folder} ({error.strerror or error}); the last checkpoint stays: "
            f"free some space and go on with: {go_on(folder)}"
        ) from None


class Events(Logger):
    """TensorBoard's events, written at once: torch's SummaryWriter has a thread for that, whose
    errors nobody can catch.
    """

    name, version = "", ""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._records: RecordWriter | None = None

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    @rank_zero_only
    def write(self, summary: Summary, step: int | None) -> None:
        """Write values of one step."""
        event = Event(wall_time=time.time(), step=step, summary=summary)
        with writing(self.folder):
            if self._records is None:
                name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
                # No buffer: what finds no room is seen here, and not when the file is closed.
                self._records = RecordWriter((self.folder / name).open("wb", buffering=0))
                first = Event(wall_time=time.time(), file_version="brain.Event:2")
                self._records.write(first.SerializeToString())
            self._records.write(event.SerializeToString())

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = [Summary.Value(tag=tag, simple_value=v) for tag, v in metrics.items()]
        self.write(Summary(value=values), step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._records is not None:
            self._records.close()
            self._records = None

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """config.yaml has them."""


def poll_workers() -> None:
    """Let torch find out that a loader's worker has died when it waits for a batch, within 5 s. Its
    signal handler would raise that wherever the training is, also where Python can only print it.
    """
    main = threading.current_thread() is threading.main_thread()
    if main and hasattr(signal, "SIGCHLD"):  # not on Windows
        before = signal.getsignal(signal.SIGCHLD)
        signal_handling._set_SIGCHLD_handler()  # once in a process: no loader sets it again
        signal.signal(signal.SIGCHLD, before)


def is_dead_worker(error: BaseException, workers: int) -> bool:
    """Whether a loader process has died: in torch's words, or by the end of the connection through
    which a batch comes. (What goes wrong in a Dataset comes from a "DataLoader worker process".)
    """
    said = str(error)
    if "DataLoader worker process" in said:
        return False
    cut = isinstance(error, EOFError | ConnectionError | FileNotFoundError)
    return "DataLoader worker (pid" in said or (workers > 0 and cut)


class RankWatch(threading.Thread):
    """Ends this process where another one of the training has died: the main thread may wait for
    that one within torch, where no exception reaches it.
    """

    def __init__(self, children: Sequence[Popen], stopped: Callable[[], bool], go_on: str) -> None:
        super().__init__(daemon=True, name="rank-watch")
        self.children, self.stopped, self.go_on = children, stopped, go_on
        self.parent = os.getppid()
        self.over = threading.Event()

    def run(self) -> None:
        first = int(os.environ.get("LOCAL_RANK", 0)) == 0
        while not self.over.wait(0.2):
            # The first process may also be done, a moment before this one.
            if not first and os.getppid() != self.parent and not self.over.wait(2):
                if self.stopped():  # by hand, which the first process has said
                    os._exit(0)
                self._end("the first process of this training has died")
            for number, child in enumerate(self.children, 1):
                code = child.poll()
                if code and not self.over.is_set():
                    died = f"process {number} ({child.pid}) of this training has died"
                    self._end(f"{died} (exit code {code})")

    def _end(self, what: str) -> None:
        line = f"foreframe: {what}; the last checkpoint stays, go on with: {self.go_on}"
        print(line, file=sys.stderr, flush=True)
        for child in self.children:
            if child.poll() is None:
                child.kill()
        sys.stdout.flush()
        os._exit(1)


@contextmanager
def ranks(trainer: L.Trainer, stopped: Callable[[], bool], go_on: str) -> Iterator[None]:
    """The other processes of a training that has several: started, and watched while this lasts.

    Lightning would start them itself, with a watch that kills everything without a word.
    """
    if trainer.world_size == 1:
        yield
        return
    launcher, children = trainer.strategy.launcher, []
    if isinstance(launcher, _SubprocessScriptLauncher):
        if not launcher.cluster_environment.creates_processes_externally:
            launcher._call_children_scripts()
        children = launcher.procs
    watch = RankWatch(children, stopped, go_on)
    watch.start()
    try:
        yield
    except Exception:
        watch.join(4)  # of which the death of another process may be the cause
        for child in children:
            child.kill()
        raise
    finally:
        watch.over.set()
