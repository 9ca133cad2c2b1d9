"""Early ends of a training: by hand, by a dead process, or at the end of its minutes."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning.pytorch as L

from foreframe.base.notes import say


class StopAtOnce(BaseException):
    """A second Ctrl-C. Lightning would end the process at a KeyboardInterrupt."""


class Stops(L.Callback):
    """Ctrl-C, SIGTERM and SIGUSR1 (SLURM's warning before a time limit) finish the step, save and
    stop. A second Ctrl-C stops at once, a third kills. Lightning's own handling of SIGTERM would
    end without saving, and hang with several processes. The end of the minutes stops in the same
    way.

    Python delivers signals to the main thread only, so they do not stop a training in another one.

    Attributes:
        by_hand: a stop was requested, maybe only in this process.
        stopping: at the last step all ranks agreed to stop by hand.
        out_of_time: the minutes are over.
    """

    def __init__(self) -> None:
        self.by_hand = self.stopping = self.out_of_time = False
        self._old_handlers: dict[int, Any] = {}
        self._process = os.getpid()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals in this context, and restore the caller's handlers at its end: after an
        error Lightning calls no hook late enough.
        """
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
                if number := getattr(signal, name, None):  # Windows lacks the last one
                    handler = self._on_interrupt if name == "SIGINT" else self._on_terminate
                    self._old_handlers[number] = signal.signal(number, handler)
        try:
            yield
        finally:
            while self._old_handlers:
                signal.signal(*self._old_handlers.popitem())

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """After Lightning has set its own handler of SIGTERM, which it also resets."""
        if self._old_handlers:
            signal.signal(signal.SIGTERM, self._on_terminate)

    on_validation_start = on_train_start

    def _on_interrupt(self, _: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a loader's worker, just forked: the training decides
            return
        if not self.by_hand:
            self.by_hand = True
            say("\nStopping after this step and a last validation; Ctrl-C again stops at once.")
            return
        while frame and frame.f_code.co_name != "__del__":
            frame = frame.f_back
        if frame is None:  # Python only prints what a __del__ raises
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise StopAtOnce

    def _on_terminate(self, *_: Any) -> None:  # it may arrive twice, for the process and its group
        self.by_hand = True

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        self.out_of_time = module.out_of_time()
        self.stopping = on_any_rank(trainer, self.by_hand)
        if self.stopping:  # else by_hand stays: a signal may have come while the ranks agreed
            self.by_hand = True
        if (self.stopping or self.out_of_time) and steps_after(trainer, batch_index):
            trainer.should_stop = True


def steps_after(trainer: L.Trainer, batch_index: int) -> bool:
    """Whether the optimizer steps after this batch; else gradients accumulate."""
    return trainer.is_last_batch or (batch_index + 1) % trainer.accumulate_grad_batches == 0


def on_any_rank(trainer: L.Trainer, decision: bool) -> bool:
    """True on all ranks if it is on any, since ranks wait for each other."""
    if trainer.world_size == 1:
        return decision
    return bool(trainer.strategy.reduce_boolean_decision(decision, all=False))
