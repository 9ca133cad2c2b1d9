"""Scores while training, on clips that are not trained on."""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from torch import Tensor

from foreframe.evaluation.metrics import SCORES, EnsembleScorecard, scores_of
from foreframe.evaluation.scoring import Scoring
from foreframe.models import build_model
from foreframe.training.faults import Events
from foreframe.training.notices import say

# By which of two checkpoints the better is told: the MSE, frame-summed, as the field reports it on
# Moving MNIST; of a model that draws members their CRPS, since the MSE of their mean would prefer
# those that have hardly learnt to differ.
MONITOR, OF_MEMBERS = "val_openstl/mse", "val_members/fair_crps"


def monitored(scores: Mapping[str, Tensor]) -> float:
    """Of a validation's scores the one by which checkpoints are compared: the lower the better."""
    return float(scores[OF_MEMBERS if OF_MEMBERS in scores else MONITOR])


def validates_first(trainer: L.Trainer) -> bool:
    """Whether all validation clips are scored before the first step, as
    --trainer.num_sanity_val_steps -1 says.
    """
    return trainer.num_sanity_val_steps == math.inf


class Validation(L.Callback):
    """A scorecard an epoch, over all ranks' clips: to TensorBoard, to RUN/validation.jsonl, and a
    line on the screen.

    Args:
        file: RUN/validation.jsonl.
        steps: lead times.
        members: how many are validated; 0 for a model that draws none.
        within: the values that they are cut to, as in a forecast.

    Attributes:
        made_up: epoch and step of a validation that is made up for.
        still: what `MONITOR` is of persistence; None before the first validation.
    """

    def __init__(
        self,
        file: Path,
        steps: int,
        members: int = 0,
        within: tuple[float, float] = (-math.inf, math.inf),
    ) -> None:
        self.file, self.steps, self.members, self.within = file, steps, members, within
        self.made_up: tuple[int, int] | None = None
        self.still: float | None = None
        self._persist = build_model("persistence")
        self._scoring = self._empty()
        self._unwritten: list[str] = []
        self._began = 0.0

    def _empty(self) -> Scoring:
        # All scores of persistence would take as long as a forecast; it is asked for its MSE.
        mse = {"openstl": {"mse": SCORES["openstl"]["mse"]}}
        scoring = Scoring(self.steps, {"model": scores_of(), "persistence": mse})
        if self.members:
            only = ("fair_crps", "spread_skill")
            scoring.cards["members"] = EnsembleScorecard(self.steps, self.members, only=only)
        return scoring

    def on_validation_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._scoring, self._began = self._empty(), time.monotonic()

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Tensor, *_: Any
    ) -> None:
        still = self._persist(outputs["past"], self.steps)
        forecasts = {"model": outputs["forecast"], "persistence": still}
        if self.members:
            forecasts["members"] = outputs["members"].clamp(*self.within)
            forecasts["model"] = forecasts["members"].mean(dim=1)
        self._scoring.add(forecasts.items(), outputs["truth"])

    def on_validation_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.world_size > 1:
            self._scoring.reduce(
                lambda sums: trainer.strategy.reduce(sums.to(module.device), reduce_op="sum").cpu()
            )
        tables, clips = self._scoring.tables(), self._scoring.clips
        table = tables["model"]
        if self.members:
            table = table | {"members": tables["members"]["standard"]}
        reference = self.still = tables["persistence"]["openstl"]["mse"]["overall"]
        overall = {
            f"val_{convention}/{score}": values["overall"]
            for convention, of in table.items()
            for score, values in of.items()
        }
        for name, value in overall.items():  # every rank has the same sums by now
            shown = name in (MONITOR, OF_MEMBERS)
            module.log(name, value, prog_bar=shown, logger=self.made_up is None)
        first = trainer.sanity_checking
        if not trainer.is_global_zero or (first and not validates_first(trainer)):
            return
        epoch, step = self.made_up or (trainer.current_epoch, trainer.global_step)
        scalars = {
            f"val_lead_openstl_mse/{lead:02d}": value
            for lead, value in enumerate(table["openstl"]["mse"]["per_lead"], 1)
        }
        if self.made_up is not None or first:  # Lightning would log these at step 0, or not at all
            scalars |= overall
        if isinstance(module.logger, Events):
            module.logger.log_metrics(scalars, step)
        row = {"epoch": epoch, "step": step, "seconds": round(module.elapsed, 1)}
        row |= {"clips": clips, "scores": table}
        self._write(json.dumps(row) + "\n")
        mse = table["openstl"]["mse"]["overall"]
        skill = 1 - mse / reference if reference else math.nan  # nothing moved at all
        ssim = table["standard"]["ssim"]["overall"]
        loss = trainer.callback_metrics.get("loss")
        of_members = ""
        if self.members:
            crps = table["members"]["fair_crps"]["overall"]
            of_members = f"fair CRPS of {self.members} members {crps:.5f}, of their mean "
        say(
            f"{'before the first step' if first else f'epoch {epoch + 1}, step {step}'}: "
            f"{'' if loss is None else f'loss {float(loss):.5f}, '}validation on "
            f"{clips} clips: {of_members}MSE {mse:.2f} (openstl), SSIM {ssim:.3f} (standard), "
            f"skill against persistence {skill:.3f}"
        )
        if module.validation and trainer.world_size == 1:  # which other clocks would not agree on
            module.validation = time.monotonic() - self._began

    def _write(self, row: str) -> None:
        """Rows lie on the disk before a checkpoint does that knows of them; those that found no
        room are tried again.
        """
        rows = "".join([*self._unwritten, row])
        try:
            with self.file.open("ab") as file:
                end = file.tell()
                try:
                    file.write(rows.encode())
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end)
                    raise
        except OSError as error:
            if not self._unwritten:
                say(
                    f"{self.file} cannot be written ({error.strerror or error}): its rows wait for "
                    "the next validation; the training goes on"
                )
            self._unwritten.append(row)
        else:
            self._unwritten = []
