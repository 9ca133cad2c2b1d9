"""Watches for common faults: a loss of NaN, blank forecasts, busy processors."""

import time
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from foreframe.clips.frames import fill_missing
from foreframe.models import parts_of
from foreframe.training.notices import say


def diverged(what: str) -> ValueError:
    return ValueError(
        f"the {what}: the training has diverged. The last good checkpoint is kept; go on from "
        "there or start again with a lower --learning_rate, a --clip, or --precision 32-true"
    )


class DivergenceWatch(L.Callback):
    """Stops a training with a loss of NaN or infinity, from which no later step recovers, before
    the next checkpoint keeps it.
    """

    every = 10  # reading the loss makes a GPU wait

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        if trainer.global_step % self.every == 0 and not torch.isfinite(outputs["loss"]):
            raise diverged(f"loss at step {trainer.global_step} is {float(outputs['loss'])}")


class BusyWatch(L.Callback):
    """Prints once if other programs keep the processors busy: a step takes over three times its
    processor time.
    """

    steps, times = 20, 3.0

    def __init__(self) -> None:
        self.noted = False
        # Wall and processor seconds.
        self._began: tuple[float, ...] = (0.0, 0.0)
        self._taken: tuple[float, ...] = (0.0, 0.0)

    def on_train_batch_start(self, *_: Any) -> None:
        self._began = time.perf_counter(), time.process_time()

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        if self.noted or module.device.type != "cpu":
            return
        now = time.perf_counter(), time.process_time()
        each = zip(self._taken, now, self._began, strict=True)
        self._taken = wall, used = tuple(sum + end - begin for sum, end, begin in each)
        if trainer.global_step % self.steps:
            return
        if wall > self.times * used:
            self.noted = True
            say(
                f"step {trainer.global_step}: a step takes {wall / self.steps:.2g} s and uses "
                f"{used / self.steps:.2g} s of a processor: other programs keep the cores busy"
            )
        self._taken = 0.0, 0.0


class BlankWatch(L.Callback):
    """Prints if forecasts are flat while the truth is not, as those of a ConvLSTM often are that
    starts on dark frames and gets stuck.

    A forecast is blank while its contrast (standard deviation within a frame) is below 5 % of the
    truth's.
    """

    first_look, every, last_look = 50, 50, 5_000

    def __init__(self) -> None:
        self.blank_since: int | None = None

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, clips: Tensor, batch_index: int
    ) -> None:
        step = trainer.global_step
        if not self.first_look <= step <= self.last_look or step % self.every:
            return
        truth = parts_of(clips, module.window, module.network.inputs).truth
        truth = fill_missing(truth)[0].float().std(dim=(-2, -1)).mean()
        contrast = outputs["forecast"].float().std(dim=(-2, -1)).mean()
        blank = bool(contrast < 0.05 * truth)
        if blank and self.blank_since is None:
            self.blank_since = step
            also = ", or --loss cross_entropy" if module.network.bounded else ""
            say(
                f"step {step}: forecasts are blank (contrast {float(contrast):.4f}, the truth has "
                f"{float(truth):.4f}). Many runs leave this by themselves after some thousand "
                f"steps; to leave it sooner: --start_at_mean true, a higher --learning_rate{also}. "
                "A line is printed when it ends."
            )
        elif not blank and self.blank_since is not None:
            say(f"step {step}: forecasts are no longer blank.")
            self.blank_since = None
