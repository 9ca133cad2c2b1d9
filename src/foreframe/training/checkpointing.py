"""When checkpoints are saved, and which."""

import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.fabric.plugins import TorchCheckpointIO

from foreframe.base.notes import say
from foreframe.base.wording import plural
from foreframe.forecasting.checkpoint_files import read_checkpoint, write_checkpoint
from foreframe.training.monitoring import diverged
from foreframe.training.stops import Stops, on_any_rank, steps_after
from foreframe.training.validation import NEVER, monitored, validates_first

MIN_IMPROVEMENT = 0.01  # improvement on the starting error that is not chance


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints with atomic writes, two generations, and reading without unpickling objects."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, *_: Any, **__: Any) -> None:
        write_checkpoint(Path(path), checkpoint)

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        return read_checkpoint(Path(path))


class Checkpoints(L.Callback):
    """checkpoints/best.ckpt (lowest validation error) and last.ckpt: saved after each validation,
    every few minutes, and at the end. A step with a scheduled validation is saved only after it, so
    that a resumed run never misses one.

    Attributes:
        restored: whether the state of a resumed run is.
        start: the validation error before the first step, if scored; the first better checkpoint
            must improve on it by `MIN_IMPROVEMENT`.
        waited: number of validations since the best.
    """

    def __init__(
        self, folder: Path, save_every_minutes: float, stops: Stops, patience: int = 0
    ) -> None:
        self.folder, self.every, self.stops = folder, 60 * save_every_minutes, stops
        self.patience = patience
        self.best: float | None = None
        self.start: float | None = None
        self.waited = 0
        self.restored = False
        self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "start": self.start, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.start, self.waited = state["best"], state["start"], state["waited"]

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.restored = True

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        due = on_any_rank(trainer, time.monotonic() - self._saved_at > self.every)
        if not steps_after(trainer, batch_index):
            return  # accumulating gradients are not in checkpoints
        by_hand = self.stops.stopping and not self.stops.out_of_time
        if validation_follows(trainer, stopped_by_hand=by_hand):
            return
        last = trainer.current_epoch + 1 == trainer.max_epochs
        # With validations by the clock an epoch may be as short as a step.
        closes = trainer.is_last_batch and (last or trainer.val_check_batch != NEVER)
        if due or closes or trainer.should_stop or trainer.global_step == trainer.max_steps:
            self._save(trainer, "last")

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.sanity_checking and not validates_first(trainer):
            return
        score = monitored(trainer.callback_metrics)
        least = self.best
        if least is not None and least == self.start:
            least *= 1 - MIN_IMPROVEMENT
        better = least is None or math.isnan(least) or score < least
        if better:
            self.best = score
        if trainer.sanity_checking:
            self.start = score
        self.waited = 0 if better else self.waited + 1
        if 0 < self.patience <= self.waited and not trainer.should_stop:
            trainer.should_stop = True
            say(
                f"{plural(self.waited, 'validation')} without a better one: the training ends "
                "(--patience)"
            )
        if better:
            self._save(trainer, "best")
        self._save(trainer, "last")

    def _save(self, trainer: L.Trainer, name: str) -> None:
        if not all(p.isfinite().all() for p in trainer.lightning_module.parameters()):
            raise diverged(f"weights at step {trainer.global_step} contain NaN or infinity")
        # Includes the optimizer.
        trainer.save_checkpoint(self.folder / f"{name}.ckpt", weights_only=False)
        self._saved_at = time.monotonic()


def validation_follows(trainer: L.Trainer, stopped_by_hand: bool) -> bool:
    """Whether Lightning validates after this batch: by its schedule, or at the end of the minutes.

    Args:
        stopped_by_hand: ignore the last validation of a training stopped by hand: it is not part of
            the schedule, and the user may not wait for it.
    """
    every, loop = trainer.check_val_every_n_epoch, trainer.fit_loop
    if not trainer.enable_validation or (every and (trainer.current_epoch + 1) % every):
        return False
    if trainer.should_stop and not stopped_by_hand:
        return True
    batches = 1 + (loop.batch_idx if every else loop.total_batch_idx)
    return batches % trainer.val_check_batch == 0
