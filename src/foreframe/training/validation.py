"""Scores while training, on clips that are not trained on."""

import json
import math
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from foreframe.metrics import Scorecard
from foreframe.metrics.pixel import squared_error, values_present
from foreframe.models import build_model
from foreframe.training.faults import Events
from foreframe.training.notices import say

MONITOR = "val_openstl/mse"  # frame-summed, as the field reports it on Moving MNIST


class Validation(L.Callback):
    """A scorecard an epoch, over all ranks' clips: to TensorBoard, to RUN/validation.jsonl, and a
    line on the screen.

    Attributes:
        made_up: epoch and step of a validation that is made up for.
    """

    def __init__(self, file: Path, steps: int) -> None:
        self.file, self.steps = file, steps
        self.card = Scorecard(steps)
        self.still = torch.zeros(2, dtype=torch.float64)  # persistence: summed squares, and frames
        self.made_up: tuple[int, int] | None = None
        self._persist = build_model("persistence")
        self._unwritten: list[str] = []

    def on_validation_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.card, self.still = Scorecard(self.steps), torch.zeros(2, dtype=torch.float64)

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Tensor, *_: Any
    ) -> None:
        self.card.update(outputs["forecast"], outputs["truth"])
        # Of persistence no more than its squared error is asked: a whole scorecard takes as long as
        # a forecast.
        still, truth = self._persist(outputs["past"], self.steps).float(), outputs["truth"].float()
        squares, valid = squared_error(still, truth), values_present(truth) > 0
        self.still += torch.stack([squares.sum(), valid.sum().to(squares.dtype)]).cpu().double()

    def on_validation_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.world_size > 1:
            self.card.sums = trainer.strategy.reduce(
                self.card.sums.to(module.device), reduce_op="sum"
            ).cpu()
            self.still = trainer.strategy.reduce(
                self.still.to(module.device), reduce_op="sum"
            ).cpu()
        table = self.card.table()
        overall = {
            f"val_{convention}/{score}": values["overall"]
            for convention, of in table.items()
            for score, values in of.items()
        }
        for name, value in overall.items():  # every rank has the same sums by now
            module.log(name, value, prog_bar=name == MONITOR, logger=self.made_up is None)
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        epoch, step = self.made_up or (trainer.current_epoch, trainer.global_step)
        scalars = {
            f"val_lead_openstl_mse/{lead:02d}": value
            for lead, value in enumerate(table["openstl"]["mse"]["per_lead"], 1)
        }
        if self.made_up is not None:  # Lightning would log these at step 0
            scalars |= overall
        if isinstance(module.logger, Events):
            module.logger.log_metrics(scalars, step)
        row = {"epoch": epoch, "step": step, "seconds": round(module.elapsed, 1)}
        row |= {"clips": self.card.clips, "scores": table}
        self._write(json.dumps(row) + "\n")
        mse = table["openstl"]["mse"]["overall"]
        reference = float(self.still[0] / self.still[1])
        skill = 1 - mse / reference if reference else math.nan  # nothing moved at all
        ssim = table["standard"]["ssim"]["overall"]
        loss = trainer.callback_metrics.get("loss")
        say(
            f"epoch {epoch + 1}, step {step}: "
            f"{'' if loss is None else f'loss {float(loss):.5f}, '}validation on "
            f"{self.card.clips} clips: MSE {mse:.2f} (openstl), SSIM {ssim:.3f} (standard), skill "
            f"against persistence {skill:.3f}"
        )

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
