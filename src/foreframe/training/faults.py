"""What may break beside a training while it goes on: TensorBoard's events, a loader's worker, one
of several processes.
"""

import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from subprocess import Popen
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyExperiment
from lightning.pytorch.strategies.launchers import subprocess_script
from lightning.pytorch.utilities import rank_zero_only
from torch.multiprocessing import reductions
from torch.utils.data.dataloader import _BaseDataLoaderIter

from foreframe.training.notices import say


class Events(TensorBoardLogger):
    """TensorBoard's events and nothing else: config.yaml says what ran, an hparams.yaml beside it
    would be empty.

    A full disk or a folder that has gone ends the events, with a line, and not the training.
    """

    lost = False

    def write(self, what: Callable[[Any], None]) -> None:
        """Call `what` with torch's SummaryWriter, as long as that can write."""
        if self.lost:
            return
        try:
            what(self.experiment)
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.lost = True
        why = error.strerror or error
        say(
            f"TensorBoard's events cannot be written ({why}) and are left out from here on; the "
            "training goes on"
        )

    @property
    def experiment(self) -> Any:
        """torch's SummaryWriter, or what swallows everything where there is no room for its
        file.
        """
        try:
            return DummyExperiment() if self.lost else TensorBoardLogger.experiment.fget(self)
        except OSError as error:
            self._lose(error)
            return DummyExperiment()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            self.write(lambda board, name=name, value=value: board.add_scalar(name, value, step))  # type: ignore[misc]

    @rank_zero_only
    def save(self) -> None:
        self.write(lambda board: board.flush())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._experiment is not None:
            self.write(lambda board: board.flush())
            self.write(lambda board: board.close())


@contextmanager
def quiet_writer() -> Iterator[None]:
    """TensorBoard writes in a thread, whose failure comes back to whoever writes next; here its
    traceback is left out.
    """
    shown = threading.excepthook

    def show(args: threading.ExceptHookArgs) -> None:
        if not (
            type(args.thread).__name__ == "_AsyncWriterThread"
            and isinstance(args.exc_value, OSError)
        ):
            shown(args)

    threading.excepthook = show
    try:
        yield
    finally:
        threading.excepthook = shown


# torch's words: "DataLoader worker (pid 7) is killed by signal: Killed.", "DataLoader worker
# (pid(s) 7, 8) exited unexpectedly".
WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: ([\w ]+)|exited)"
)


def dead_worker(error: BaseException) -> str:
    """Which loader process has died, in words; "" where this is another error."""
    match = WORKER.search(str(error))
    if match is None:
        # It may be gone, unnoticed, when a batch that it has announced is fetched from it.
        fetched = any(
            frame.f_globals.get("__name__") == reductions.__name__
            for frame, _ in traceback.walk_tb(error.__traceback__)
        )
        cut = fetched and isinstance(error, OSError | EOFError)
        return "a loader process has ended before it had handed a batch over" if cut else ""
    reasons = {
        "": "has ended by itself",
        "Killed": "was killed, as the system does where memory runs out "
        "(fewer --workers take less)",
        "Bus error": "has found no room in shared memory (/dev/shm; fewer --workers take less)",
    }
    how = reasons.get(match[2] or "", f"was ended by a signal: {match[2]}")
    return f"a loader process ({match[1]}) {how}"


@contextmanager
def quiet_workers() -> Iterator[None]:
    """A worker that dies while its loader is thrown away is no loss: no traceback of what Python
    cannot raise there, nor where it dies while its loader is made, and torch throws that away
    without what it had not come to. One that is missed is told of by `dead_worker`.
    """
    shown = sys.unraisablehook

    def show(args: "sys.UnraisableHookArgs") -> None:
        error = args.exc_value
        half = isinstance(error, AttributeError) and isinstance(error.obj, _BaseDataLoaderIter)
        if error is None or not (half or dead_worker(error)):
            shown(args)

    sys.unraisablehook = show
    try:
        yield
    finally:
        sys.unraisablehook = shown


class Companions(threading.Thread):
    """Looks after the processes of a training: where one has died, the others would wait for it for
    a long time.

    Lightning looks too, every five seconds, and then kills everything without a word: its own watch
    is kept from starting.
    """

    def __init__(
        self, children: Callable[[], Sequence[Popen]], stopped: Callable[[], bool], go_on: str
    ) -> None:
        super().__init__(daemon=True, name="companions")
        self.children, self.stopped, self.go_on, self.parent = (
            children,
            stopped,
            go_on,
            os.getppid(),
        )
        self.over = threading.Event()

    def run(self) -> None:
        first = int(os.environ.get("LOCAL_RANK", 0)) == 0
        while not self.over.wait(0.2):
            # The first process may also be done, a moment before this one.
            if not first and os.getppid() != self.parent and not self.over.wait(2):
                if self.stopped():  # by hand, which the first process has told of
                    os._exit(0)
                self._end("the first process of this training has died")
            for number, child in enumerate(self.children(), 1):
                code = child.poll()
                if code and not self.over.is_set():
                    how = (
                        f"killed by {signal.Signals(-code).name}"
                        if code < 0
                        else f"exit code {code}"
                    )
                    self._end(f"process {number} ({child.pid}) of this training has died ({how})")

    def _end(self, what: str) -> None:
        print(
            f"foreframe: {what}; the last checkpoint stays, go on with: {self.go_on}",
            file=sys.stderr,
            flush=True,
        )
        for child in self.children():
            if child.poll() is None:
                child.kill()
        sys.stdout.flush()
        os._exit(2)  # the main thread may wait for the dead one, where no exception reaches it

    def settle(self) -> None:
        """After an error that the death of another process may be the cause of: time to find that
        out.
        """
        if self.is_alive():
            time.sleep(4)


@contextmanager
def companions(trainer: L.Trainer, stopped: Callable[[], bool], go_on: str) -> Iterator[None]:
    """While several processes train: `Companions`, and no other words where one of them has died,
    unless it was `stopped`.
    """
    if trainer.world_size == 1:
        yield
        return
    watch = Companions(lambda: getattr(trainer.strategy.launcher, "procs", ()), stopped, go_on)
    watch.start()
    theirs = subprocess_script._launch_process_observer
    subprocess_script._launch_process_observer = lambda children: None
    try:
        yield
    except Exception:
        watch.settle()
        raise
    finally:
        subprocess_script._launch_process_observer = theirs
        watch.over.set()
