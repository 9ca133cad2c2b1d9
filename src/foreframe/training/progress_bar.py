"""Progress of a training and the time left: a bar on a terminal, else occasional lines."""

import sys
import time
from datetime import timedelta
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import RichProgressBar

from foreframe.training.notices import say, verbose


def progress(bar: bool = True) -> list[L.Callback]:
    """The callback that shows progress, if anything is printed.

    Args:
        bar: whether a bar is allowed; else lines are printed.
    """
    if not verbose():
        return []
    return [Bar() if bar and sys.stdout.isatty() else Lines()]


def time_left(trainer: L.Trainer, module: Any) -> str:
    """Hours, minutes and seconds to the end of the training, at the pace so far."""
    done = module.done
    if trainer.max_steps > 0:
        done = max(done, trainer.global_step / trainer.max_steps)
    if not done:
        return "?"
    return str(timedelta(seconds=int(module.elapsed * max(0.0, 1 / done - 1))))


class Bar(RichProgressBar):
    """Lightning's rich bar with the time to the end of the training."""

    def __init__(self) -> None:
        super().__init__(leave=False)

    def configure_columns(self, trainer: L.Trainer) -> list[Any]:
        """A short bar without the epoch's time, so that loss and time left fit in 80 columns."""
        description, bar, batches, _, speed = super().configure_columns(trainer)
        bar.bar_width = 12
        return [description, bar, batches, speed]

    def get_metrics(self, trainer: L.Trainer, module: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().get_metrics(trainer, module)
        shown.pop("v_num", None)
        if trainer.training and not trainer.sanity_checking:
            shown = {"left": time_left(trainer, module), **shown}
        return shown


class Lines(L.Callback):
    """Progress in logs and notebooks: a line every half minute."""

    every = 30.0

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        if trainer.is_global_zero and time.monotonic() - self._said_at > self.every:
            self._said_at = time.monotonic()
            loss, left = float(outputs["loss"]), time_left(trainer, module)
            say(f"step {trainer.global_step}: loss {loss:.5f}, {left} left")
