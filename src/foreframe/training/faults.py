"""Faults beside a training: unwritable TensorBoard events, dead loader workers, dead ranks."""

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
    """A process of a training has died; the message names it and the command to resume."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """End the training on a full disk or a missing folder.

    Raises:
        ValueError: in place of an OSError, with the command to resume.
    """
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"cannot write to {folder} ({error.strerror or error}); the last checkpoint stays: "
            f"free some space and go on with: {go_on(folder)}"
        ) from None


class Events(Logger):
    """TensorBoard events, written synchronously: torch's SummaryWriter writes in a thread, whose
    errors cannot be caught.
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
        """Write the values of a step."""
        event = Event(wall_time=time.time(), step=step, summary=summary)
        with writing(self.folder):
            if self._records is None:
                name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
                # No buffer: a full disk raises here rather than when the file is closed.
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
        """Unused: they are in config.yaml."""


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

    def __init__(self, children: Sequence[Popen], stopped: Callable[[], bool], go_on: str) -> None:
        super().__init__(daemon=True, name="rank-watch")
        self.children, self.stopped, self.go_on = children, stopped, go_on
        self.parent = os.getppid()
        self.over = threading.Event()

    def run(self) -> None:
        first = int(os.environ.get("LOCAL_RANK", 0)) == 0
        while not self.over.wait(0.2):
            # The first process may have finished a moment before this one.
            if not first and os.getppid() != self.parent and not self.over.wait(2):
                if self.stopped():  # by hand, as the first process has printed
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
    watch = RankWatch(children, stopped, go_on)
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
