"""Progress of a training, pictures, and notes on problems."""

import math
import sys
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import RichProgressBar
from torch import Tensor

from foreframe.base.notes import listener, say
from foreframe.base.progress import repeating
from foreframe.clips.frames import missing_where_unseen
from foreframe.models import parts_of
from foreframe.training.loggers import log_picture
from foreframe.visuals import strip, write_png


def progress_callbacks(bar: bool) -> list[L.Callback]:
    """The callbacks that show progress, if anything is printed.

    Args:
        bar: whether a bar is allowed; else lines are printed.
    """
    if not listener().verbose:
        return []
    return [Pace(), Bar() if bar and sys.stdout.isatty() else Lines()]


def time_left(trainer: L.Trainer, module: Any) -> str:
    """Hours, minutes and seconds to the end of the training, at the pace so far."""
    if not trainer.global_step:
        return "?"
    step = module.elapsed / trainer.global_step
    return str(timedelta(seconds=int(seconds_left(trainer, module, step))))


def seconds_left(trainer: L.Trainer, module: Any, step: float) -> float:
    """Seconds to the end of the training at `step` seconds per step, without validation."""
    steps = module.planned_steps
    if trainer.max_steps > 0:
        steps = min(steps, trainer.max_steps)
    left = step * (steps - trainer.global_step)
    minutes = module.learning.minutes
    return max(0.0, left if minutes is None else min(left, 60 * minutes - module.elapsed))


class Bar(RichProgressBar):
    """Lightning's rich bar with the time to the end of the training."""

    def __init__(self) -> None:
        super().__init__(leave=False)

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch + 1}".ljust(len(self.validation_description))

    def get_metrics(self, trainer: L.Trainer, module: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().get_metrics(trainer, module)
        shown.pop("v_num", None)
        if trainer.training and not trainer.sanity_checking:
            shown = {"left": time_left(trainer, module), **shown}
        return shown


class Lines(L.Callback):
    """Progress in logs and notebooks: a line every few seconds."""

    def __init__(self) -> None:
        self._loss, self._lines = math.nan, ExitStack()

    def setup(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        self._lines.enter_context(repeating(lambda: self._say(trainer, module)))

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        self._loss = outputs["loss"]

    def teardown(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        self._lines.close()

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        self._lines.close()

    def _say(self, trainer: L.Trainer, module: Any) -> None:
        training = f"loss {self._loss:.5f}, {time_left(trainer, module)} left"
        say(f"step {trainer.global_step}: {training if trainer.training else 'validation'}")


class Pace(L.Callback):
    """Prints seconds per step, the expected end and the peak memory once, after ten batches."""

    batches, warm_up = 10, 2  # the first ones warm up caches, compilers and memory

    def __init__(self) -> None:
        self._ends: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        if len(self._ends) == self.batches:
            return
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        self._ends.append(time.monotonic())
        if len(self._ends) == self.batches:
            times = zip(self._ends[self.warm_up :], self._ends[self.warm_up - 1 :], strict=False)
            step = trainer.accumulate_grad_batches * median(end - began for end, began in times)
            end = datetime.now() + timedelta(seconds=seconds_left(trainer, module, step))
            say(
                f"step {trainer.global_step}: {step:.2g} s per step, expected end {end:%d %b %H:%M}"
                f"{peak_memory(module.device.type)}"
            )


def peak_memory(device: str) -> str:
    """The peak memory of this process in words; "" if neither CUDA nor Linux reports it."""
    status = Path("/proc/self/status")
    if device == "cuda":
        mib = torch.cuda.max_memory_allocated() / 2**20
    elif device == "cpu" and status.exists():
        mib = int(status.read_text(encoding="ascii").split("VmHWM:")[1].split()[0]) / 1024
    else:
        return ""
    return f", peak memory {mib:,.0f} MiB"


class Pictures(L.Callback):
    """Every `every` steps a picture of the batch's first clip, in RUN/pictures and in the loggers
    that show pictures.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, clips: Tensor, batch_index: int
    ) -> None:
        step = trainer.global_step
        if not trainer.is_global_zero or (step % self.every and step != 1):
            return
        clip = clips[:1].float()
        parts = parts_of(clip, module.window, module.network.inputs)
        past = module.window.split(clip)[0][:, :, : parts.last.shape[1]]
        forecast = missing_where_unseen(outputs["forecast"][:1].float(), parts.last)
        frames = [each[0].cpu().numpy() for each in (past, forecast, parts.truth)]
        picture = strip(*frames)
        write_png(self.folder / f"step-{step:07d}.png", picture)
        log_picture(trainer.loggers, step, picture)


def diverged(what: str) -> ValueError:
    return ValueError(
        f"the {what}: the training has diverged. The last good checkpoint is kept; go on from "
        "there or start again with a lower --learning_rate, a --clip, or --precision 32-true"
    )


class HealthCheck(L.Callback):
    """Stops a training with a loss of NaN or infinity before the next checkpoint, since later steps
    do not recover.
    """

    every = 10  # reading the loss makes a GPU wait

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, clips: Tensor, batch_index: int
    ) -> None:
        step = trainer.global_step
        if step % self.every == 0 and not torch.isfinite(outputs["loss"]):
            raise diverged(f"loss at step {step} is {float(outputs['loss'])}")
