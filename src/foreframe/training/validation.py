"""Scores on validation clips during training."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from torch import Tensor

from foreframe.base.notes import say
from foreframe.evaluation.metrics import SCORES, EnsembleScorecard, scores_of
from foreframe.evaluation.scoring import Scoring
from foreframe.models import build_model
from foreframe.training.stops import on_any_rank

# The scores that choose the best checkpoint: the MSE, summed over frames, as usual for Moving
# MNIST; for models with members their CRPS, since the MSE of the mean would favour members that
# hardly differ.
MONITOR, MEMBER_MONITOR = "val_openstl/mse", "val_members/fair_crps"
MEMBERS = 4  # members in validation, for models that draw them
SHARE = 0.1  # largest share of the time for validations by the clock; slow ones become rarer
NEVER = sys.maxsize  # batches to a validation, if the clock decides


def monitored(scores: Mapping[str, Tensor]) -> float:
    """Return the score of a validation that ranks checkpoints: lower is better."""
    return float(scores[MEMBER_MONITOR if MEMBER_MONITOR in scores else MONITOR])


def validates_first(trainer: L.Trainer) -> bool:
    """Whether all validation clips are scored before the first step (--trainer.num_sanity_val_steps
    -1).
    """
    return trainer.num_sanity_val_steps == math.inf


def seconds_between_validations(trainer: Mapping[str, Any]) -> float | None:
    """Return the seconds of a `val_check_interval` "DD:HH:MM:SS" of Lightning's Trainer; None for
    other intervals. `Validation` then follows the clock.

    Raises:
        ValueError: any other text or value.
    """
    interval = trainer.get("val_check_interval")
    if interval is None or isinstance(interval, int | float):
        return None
    try:
        days, hours, minutes, seconds = map(int, interval.split(":"))
        between = timedelta(days, seconds, hours=hours, minutes=minutes)
    except (AttributeError, ValueError, OverflowError):
        raise ValueError(
            f"val_check_interval is batches, a share of an epoch, or DD:HH:MM:SS, not {interval!r}"
        ) from None
    return between.total_seconds()


class Validation(L.Callback):
    """Scores all ranks' clips: to the loggers, to RUN/validation.jsonl, and as a printed line.

    Args:
        file: RUN/validation.jsonl.
        steps: lead times.
        members: number of members; 0 for models without.
        within: range of the values, clipped as in a forecast.
        seconds: seconds between validations; None if Lightning's Trainer counts batches.

    Attributes:
        persistence: the `MONITOR` score of persistence; None before the first validation.
    """

    def __init__(
        self,
        file: Path,
        steps: int,
        members: int = 0,
        within: tuple[float, float] = (-math.inf, math.inf),
        seconds: float | None = None,
    ) -> None:
        self.file, self.steps, self.members, self.within = file, steps, members, within
        self.seconds = seconds
        self.persistence: float | None = None
        self._persist = build_model("persistence")
        self._scoring = self._empty()
        self._began = self._ended = 0.0

    def _empty(self) -> Scoring:
        # Only the MSE: all scores of persistence would take as long as a forecast.
        mse = {"openstl": {"mse": SCORES["openstl"]["mse"]}}
        scoring = Scoring(self.steps, {"model": scores_of(), "persistence": mse})
        if self.members:
            only = ("fair_crps", "spread_skill")
            scoring.cards["members"] = EnsembleScorecard(self.steps, self.members, only=only)
        return scoring

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._ended = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if self.seconds is not None:
            due = on_any_rank(trainer, time.monotonic() - self._ended >= self.seconds)
            trainer.val_check_batch = 1 if due else NEVER

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._ended = time.monotonic()

    def on_validation_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._scoring, self._began = self._empty(), time.monotonic()

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Tensor, *_: Any
    ) -> None:
        persistence = self._persist(outputs["past"], self.steps)
        members = outputs["members"]
        forecasts = {"persistence": persistence}
        if self.members:
            members = forecasts["members"] = members.clamp(*self.within)
        forecasts["model"] = members.mean(dim=1)
        self._scoring.add(forecasts.items(), outputs["truth"])

    def on_validation_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.world_size > 1:
            for card in self._scoring.cards.values():
                card.gather()
        tables = self._scoring.tables()
        table = tables["model"]
        if self.members:
            table = table | {"members": tables["members"]["standard"]}
        self.persistence = tables["persistence"]["openstl"]["mse"]["overall"]
        overall = {
            f"val_{convention}/{score}": values["overall"]
            for convention, scores in table.items()
            for score, values in scores.items()
        }
        for name, value in overall.items():  # every rank has the same sums by now
            module.log(name, value, prog_bar=name in (MONITOR, MEMBER_MONITOR))
        first = trainer.sanity_checking
        if not trainer.is_global_zero or (first and not validates_first(trainer)):
            return
        epoch, step = trainer.current_epoch, trainer.global_step
        row = {"epoch": epoch, "step": step, "seconds": round(module.elapsed, 1)}
        row |= {"clips": self._scoring.clips, "scores": table}
        with self.file.open("ab") as file:
            file.write(f"{json.dumps(row)}\n".encode())
            file.flush()
            os.fsync(file.fileno())  # before the checkpoint of that step
        when = "before the first step" if first else f"epoch {epoch + 1}, step {step}"
        say(f"{when}: {self._in_words(table, trainer.callback_metrics.get('loss'))}")
        if trainer.world_size == 1:  # clocks of ranks differ
            self._keep_time(trainer, module)

    def _keep_time(self, trainer: L.Trainer, module: Any) -> None:
        """Reserve time for a last validation, which counts for the minutes."""
        module.validation = time.monotonic() - self._began
        if self.seconds is not None and not trainer.sanity_checking:  # the first one warms up
            self.seconds = max(self.seconds, module.validation / SHARE)

    def _in_words(self, table: Mapping[str, Any], loss: Tensor | None) -> str:
        mse = table["openstl"]["mse"]["overall"]
        skill = 1 - mse / self.persistence if self.persistence else math.nan  # without any motion
        ssim = table["standard"]["ssim"]["overall"]
        of_members = ""
        if self.members:
            crps = table["members"]["fair_crps"]["overall"]
            of_members = f"fair CRPS of {self.members} members {crps:.5f}, of their mean "
        return (
            f"{'' if loss is None else f'loss {float(loss):.5f}, '}validation on "
            f"{self._scoring.clips} clips: {of_members}MSE {mse:.2f} (summed over a frame), SSIM "
            f"{ssim:.3f}, skill against persistence {skill:.3f}"
        )
