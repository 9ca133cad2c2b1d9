"""A thin Lightning module around a network, an objective and the learning options."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import lightning.pytorch as L
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.clips.clip import Window
from foreframe.evaluation.networks import forecast_clips
from foreframe.models import EnsembleRequest, Model, State, parts_of
from foreframe.models.interface import Future, TrainingForecast
from foreframe.training.datamodule import seed_everything
from foreframe.training.kept_states import KeptStates
from foreframe.training.objectives import (
    LOSSES,
    Loss,
    forecast,
    next_frames,
    shortened,
    truth_shares,
)
from foreframe.training.optimizers import build_optimizer, learning_rate, onecycle_beta_1
from foreframe.training.options import LearningOptions
from foreframe.training.validation import MEMBERS

Batch = Float[Tensor, "b t c h w"]


class ForecastModule(L.LightningModule):
    """Trains `network` on clips (B,T,C,H,W).

    Args:
        network: a network with the interface of `foreframe.models`.
        window: past and future frames of a clip.
        learning: loss, optimizer, schedule.
        config: description of the forecaster, kept in every checkpoint.
        recipe: options that affect later weights, kept in every checkpoint to detect changes on
            resume.
    """

    def __init__(
        self,
        network: Model,
        window: Window,
        learning: LearningOptions,
        config: Mapping[str, Any],
        recipe: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.network, self.window, self.learning = network, window, learning
        self.config, self.recipe = dict(config), dict(recipe)
        loss = LOSSES[learning.loss]
        if learning.loss == "mix":
            loss = partial(loss, share=learning.mae_share)
        self._loss: Loss = loss
        self._kept = KeptStates(network) if learning.freeze_encoder else None
        self.elapsed = 0.0  # seconds of training so far, with those before a resume
        self.validation = 0.0  # seconds reserved after the last step for a validation
        self._clock: float | None = None

    def training_step(self, clips: Batch, batch_index: int) -> dict[str, Tensor]:
        clips, window = shortened(clips, self.window, self.learning.least_past)
        made = self._forecast(clips, window)
        loss = self._loss(made.forecast, made.truth)
        for name, term in self.network.terms(made).items():
            self.log(name, term)
            loss = loss + term
        self.log("loss", loss, prog_bar=True)
        return {"loss": loss, "forecast": made.forecast[:, -window.future :].detach()}

    def _forecast(self, clips: Batch, window: Window) -> TrainingForecast:
        """The forecast and the truth that the loss compares."""
        learning, network = self.learning, self.network
        if learning.loss == "crps":  # of any model with members
            return forecast(network, clips, window, learning.members)
        forced = network.teacher_forced(clips, window)
        if forced is not None:
            return forced
        if self._kept is not None:
            made, state = self._from_kept(clips, window)
            return TrainingForecast(made, parts_of(clips, window, network.inputs).truth, state)
        if learning.sampling_steps:
            past, future = truth_shares(
                self.global_step, learning.sampling_steps, learning.sampling
            )
            return next_frames(network, clips, window, future, past)
        return forecast(network, clips, window)

    def validation_step(self, clips: Batch, batch_index: int) -> dict[str, Tensor]:
        parts = parts_of(clips, self.window, self.network.inputs)
        request = EnsembleRequest(MEMBERS) if self.network.draws else None
        if self._kept is not None and request is None:
            drawn = self._from_kept(clips, self.window)[0].float()
        else:
            drawn = forecast_clips(self.network, parts, drawn=request)[0]
        members = drawn.unflatten(0, (len(clips), -1))
        return {"past": parts.past_of_targets, "truth": parts.truth, "members": members}

    def _from_kept(self, clips: Batch, window: Window) -> tuple[Future, State]:
        """The forecast of kept states, and the state after it."""
        assert self._kept is not None
        return self.network.advance(self._kept(clips, window), window.future, last=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self.network, self.learning)

    @property
    def planned_steps(self) -> int:
        """Optimizer steps of the whole training, including those before a resume."""
        batches = self.trainer.num_training_batches
        steps = self.learning.epochs * -(-int(batches) // self.trainer.accumulate_grad_batches)
        return max(1, min(steps, self.learning.train_steps or steps))

    @property
    def done(self) -> float:
        """Share of the training done, by steps, or by minutes if these are the tighter limit."""
        by_steps = self.global_step / self.planned_steps
        if not self.learning.minutes:
            return by_steps
        return max(by_steps, self.elapsed / self._seconds)

    @property
    def _seconds(self) -> float:
        """Seconds available for training steps."""
        assert self.learning.minutes
        return 60 * self.learning.minutes - min(self.validation, 15 * self.learning.minutes)

    def on_fit_start(self) -> None:
        self._clock = time.monotonic()

    # Random numbers are keyed by (seed, rank, step), so that a resumed run draws the same numbers:
    # a key for the step itself, and one for a Dataset that draws while the next batch is fetched.
    def on_train_start(self) -> None:
        # After a resume from the last batch of an epoch, Lightning closes that epoch but does not
        # count the next one as begun: a checkpoint within it would resume at its first batch.
        loop = self.trainer.fit_loop
        epoch = loop.epoch_progress.current
        if loop.restarted_mid_epoch and epoch.processed == epoch.ready:
            loop.reset_restart_stage()
        self.out_of_time()  # a validation before the first step counts for its learning rate
        self._seed_next_batch()

    def on_train_batch_start(self, clips: Batch, batch_index: int) -> None:
        seed_everything(
            self.learning.seed, self.global_rank, self.trainer.fit_loop.total_batch_idx, 0
        )
        done, options = self.done, self.learning
        how = options.schedule, done, self.global_step, options.warmup, options.decay
        rate = options.learning_rate * learning_rate(*how)
        for group in self.optimizers().param_groups:
            group["lr"] = rate
            if options.schedule == "onecycle":
                group["betas"] = (onecycle_beta_1(done), options.beta_2)
        self.log("learning_rate", rate)

    def on_train_batch_end(self, outputs: Any, clips: Batch, batch_index: int) -> None:
        self._seed_next_batch()

    def on_validation_end(self) -> None:
        self._seed_next_batch()  # a validation may have drawn, and a resumed run does not repeat it

    def _seed_next_batch(self) -> None:
        step = self.trainer.fit_loop.total_batch_idx + 1
        seed_everything(self.learning.seed, self.global_rank, step, 1)

    def out_of_time(self) -> bool:
        """Update the elapsed time; True at the end of the minutes, less the time reserved after the
        last step, which is then counted too, or of the steps.
        """
        now = time.monotonic()
        self.elapsed += now - (self._clock or now)
        self._clock = now
        # One clock for all ranks, or they would drift apart.
        if self.learning.minutes and self.trainer.world_size > 1:
            self.elapsed = self.trainer.strategy.broadcast(self.elapsed)
        over = self.learning.minutes is not None and self.elapsed >= self._seconds
        if over and self.learning.minutes:
            self.elapsed = max(self.elapsed, 60 * self.learning.minutes)
        return over or 0 < (self.learning.train_steps or 0) <= self.global_step

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["forecaster"] = self.config
        checkpoint["recipe"] = self.recipe
        # Lightning resumes by these counts; after two resumes the total would fall behind.
        batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        behind = batches["current"]["processed"] - batches["current"]["completed"]
        batches["total"]["completed"] = batches["total"]["processed"] - behind
        checkpoint["elapsed"] = self.elapsed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.elapsed = checkpoint["elapsed"]
        # Otherwise the optimizer would keep its saved settings, even if changes were accepted.
        groups = build_optimizer(self.network, self.learning).state_dict()["param_groups"]
        saved_groups = checkpoint["optimizer_states"][0]["param_groups"]
        for saved, group in zip(saved_groups, groups, strict=True):
            saved |= {name: value for name, value in group.items() if name != "params"}
