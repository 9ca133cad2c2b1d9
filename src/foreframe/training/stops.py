"""When a training ends before its last epoch: by hand, or because its minutes are over."""

import os
import signal
import threading
from typing import Any

import lightning.pytorch as L

from foreframe.training.notices import say


class Stopped(KeyboardInterrupt):
    """Training was stopped by hand, and saved; the message says how to go on."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: nothing went wrong, so no traceback."""
        return [str(self)]


class StopAtOnce(BaseException):
    """A second Ctrl-C. No KeyboardInterrupt: Lightning would take that for itself, and end the
    process its own way.
    """


class Stops(L.Callback):
    """Ctrl-C and SIGTERM let the step in hand finish, save and stop; a second Ctrl-C stops at once,
    a third kills. Lightning's own answer to SIGTERM would end without saving, and with several
    processes wait for ever. So do the minutes, when they are over.

    Python gives signals to the main thread alone: a training in another one is not stopped by them.

    Attributes:
        by_hand: somebody wants it to stop, maybe this process alone knows of that.
        stopping: at the last step all ranks agreed to stop, by hand.
        out_of_time: the minutes are over.
    """

    def __init__(self) -> None:
        self.by_hand = self.stopping = self.out_of_time = False
        self._old_handler: Any = None
        self._process = os.getpid()

    def listen(self) -> None:
        """Take Ctrl-C, until `restore_signal_handlers`."""
        if threading.current_thread() is threading.main_thread():
            self._old_handler = signal.signal(signal.SIGINT, self._on_interrupt)

    def restore_signal_handlers(self) -> None:
        """For whoever called `Trainer.fit`, however that ended: after an error Lightning calls no
        hook late enough.
        """
        if self._old_handler is not None:
            signal.signal(signal.SIGINT, self._old_handler)
            self._old_handler = None

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._listen_to_sigterm()

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._listen_to_sigterm()

    def _listen_to_sigterm(self) -> None:
        """Only now, since Lightning sets its own handler when it begins; it resets it, too."""
        if self._old_handler is not None:
            signal.signal(signal.SIGTERM, self._on_terminate)

    def _on_interrupt(self, *_: Any) -> None:
        if os.getpid() != self._process:  # a loader's worker, just forked: its training decides
            return
        if self.by_hand:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise StopAtOnce
        self.by_hand = True
        say("\nStopping after this step and a last validation; press Ctrl-C again to stop at once.")

    def _on_terminate(self, *_: Any) -> None:  # it may come twice, to the process and to its group
        if not self.by_hand:
            self._on_interrupt()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        self.out_of_time = module.out_of_time()
        self.by_hand = self.stopping = on_any_rank(trainer, self.by_hand)
        if (self.stopping or self.out_of_time) and steps_after(trainer, batch_index):
            trainer.should_stop = True


def steps_after(trainer: L.Trainer, batch_index: int) -> bool:
    """Whether the optimizer steps after this batch; else its gradients wait to be added to."""
    return trainer.is_last_batch or (batch_index + 1) % trainer.accumulate_grad_batches == 0


def on_any_rank(trainer: L.Trainer, decision: bool) -> bool:
    """What one rank decides all do: they would wait for each other for ever."""
    if trainer.world_size == 1:
        return decision
    return bool(trainer.strategy.reduce_boolean_decision(decision, all=False))
