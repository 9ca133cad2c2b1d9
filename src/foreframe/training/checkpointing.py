"""What is saved of a training, and when."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.fabric.plugins import TorchCheckpointIO

from foreframe.base.wording import plural
from foreframe.forecasting.checkpoint_files import read_checkpoint, write_checkpoint
from foreframe.training.notices import go_on, say
from foreframe.training.stops import Stops, on_any_rank, steps_after
from foreframe.training.validation import monitored, validates_first
from foreframe.training.watch import diverged

WORTH = 0.01  # share by which a training must better what it starts from, else it is chance


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints are written whole or not at all, kept in two generations, and read without
    unpickling objects.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        try:
            write_checkpoint(Path(path), checkpoint)
        except ValueError as error:
            raise ValueError(
                f"the checkpoint at step {checkpoint['global_step']} could not be written "
                f"({error}); the last good one is kept: free some space and go on with: "
                f"{go_on(Path(path).parent.parent)}"
            ) from None

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))


class Checkpoints(L.Callback):
    """checkpoints/best.ckpt (lowest validation error) and last.ckpt: each epoch, every few minutes,
    and at any stop.

    Attributes:
        begun: what came before is restored.
        owed: epoch and step of the validation that was to follow when last.ckpt was saved: who goes
            on from it makes it up.
        made_up: while it is: the checkpoint that goes on to be the last, and becomes the best where
            its score is.
        start: the validation error before the first step, where that was asked for; what is to be
            better than that must be so by `WORTH`.
        waited: how many validations have not been better since the best.
    """

    def __init__(
        self, folder: Path, save_every_minutes: float, stops: Stops, patience: int = 0
    ) -> None:
        self.folder, self.every, self.stops = folder, 60 * save_every_minutes, stops
        self.patience = patience
        self.best: float | None = None
        self.start: float | None = None
        self.waited = 0
        self.owed: list[int] | None = None
        self.made_up: Mapping[str, Any] | None = None
        self.begun = False
        self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        state = {"best": self.best, "owed": self.owed}
        return state | {"start": self.start, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.owed = state["best"], state.get("owed")
        self.start, self.waited = state.get("start"), state.get("waited", 0)

    @property
    def out_of_patience(self) -> bool:
        """Whether as many validations as there is patience for have not been better."""
        return 0 < self.patience <= self.waited

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.begun = True

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        due = on_any_rank(trainer, time.monotonic() - self._saved_at > self.every)
        if not steps_after(trainer, batch_index):
            return  # gradients that wait to be added to are in no checkpoint
        stop, over = self.stops.stopping, self.stops.out_of_time
        follows = validates_after(trainer, batch_index)
        # When the time is over, Lightning still validates an epoch that would have been.
        last_one = over and validates_after_this_epoch(trainer)
        if (
            due
            or stop
            or trainer.global_step == trainer.max_steps
            or (trainer.is_last_batch and not follows and _closes(trainer))
            or (over and not last_one)
        ):
            owed = follows or last_one
            self.owed = [trainer.current_epoch, trainer.global_step] if owed else None
            self._save(trainer, "last")

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.sanity_checking and not validates_first(trainer):
            return
        self.owed = None
        score = monitored(trainer.callback_metrics)
        least = self.best
        if least is not None and least == self.start:
            least *= 1 - WORTH
        better = least is None or math.isnan(least) or score < least
        if better:
            self.best = score
        if trainer.sanity_checking:
            self.start = score
        self.waited = 0 if better else self.waited + 1
        if self.out_of_patience and not trainer.should_stop:
            trainer.should_stop = True
            say(
                f"{plural(self.waited, 'validation')} without a better one: the training ends "
                "(--patience)"
            )
        if self.made_up is not None:
            self.made_up["callbacks"][self.state_key] = self.state_dict()
            for name in ("best", "last") if better else ("last",):
                if trainer.is_global_zero:
                    write_checkpoint(self.folder / f"{name}.ckpt", dict(self.made_up))
            trainer.strategy.barrier("made up")
            return
        if better:
            self._save(trainer, "best")
        self._save(trainer, "last")

    def _save(self, trainer: L.Trainer, name: str) -> None:
        if not all(p.isfinite().all() for p in trainer.lightning_module.parameters()):
            raise diverged(f"weights at step {trainer.global_step} contain NaN or infinity")
        # With the optimizer.
        trainer.save_checkpoint(self.folder / f"{name}.ckpt", weights_only=False)
        self._saved_at = time.monotonic()


def _closes(trainer: L.Trainer) -> bool:
    """Whether the end of this epoch is worth a checkpoint: where validations go by the clock,
    epochs may be as short as a step, and only the last one is.
    """
    return not validates_by_time(trainer) or trainer.current_epoch + 1 == trainer.max_epochs


def validates_by_time(trainer: L.Trainer) -> bool:
    """Whether validations follow each other by the clock, as --trainer.val_check_interval
    00:00:00:20 says.
    """
    return trainer._val_check_time_interval is not None


def validates_after_this_epoch(trainer: L.Trainer) -> bool:
    """Whether this epoch, --trainer.check_val_every_n_epoch of them counted, has a validation."""
    epochs = trainer.check_val_every_n_epoch
    return bool(trainer.enable_validation and epochs and (trainer.current_epoch + 1) % epochs == 0)


def validates_after(trainer: L.Trainer, batch_index: int) -> bool:
    """Whether a validation follows this batch, as it does after an epoch or where
    --trainer.val_check_interval says so.
    """
    if validates_by_time(trainer):
        since = time.monotonic() - trainer._last_val_time
        return bool(trainer.enable_validation and since >= trainer._val_check_time_interval)
    every, epochs = trainer.val_check_batch, trainer.check_val_every_n_epoch
    if not trainer.enable_validation or (
        epochs is not None and (trainer.current_epoch + 1) % epochs
    ):
        return False
    if every is None or every == math.inf:
        return bool(trainer.is_last_batch)
    batches = trainer.fit_loop.total_batch_idx if epochs is None else batch_index
    return bool((batches + 1) % every == 0)
