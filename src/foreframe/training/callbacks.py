"""What happens beside the steps: checkpoints, pictures, a stop one can go on from, a word
when output is blank.
"""

import math
import os
import shlex
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import RichProgressBar
from torch import Tensor

from foreframe.checkpoints import read_checkpoint, write_checkpoint
from foreframe.clip import fill_missing, missing_where_unseen
from foreframe.training.faults import Events
from foreframe.training.run import is_first_process
from foreframe.training.validation import MONITOR
from foreframe.visuals import animation, gif_bytes, strip, write_png


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
                f"({error}); "
                "the last good one is kept: free some space and go on with: foreframe train "
                "--resume "
                f"{shlex.quote(str(Path(path).parent.parent))}"
            ) from None

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))


class StopAtOnce(BaseException):
    """A second Ctrl-C. No KeyboardInterrupt: Lightning would take that for itself, and end the
    process its own way.
    """


class Checkpoints(L.Callback):
    """checkpoints/best.ckpt (lowest validation error) and last.ckpt (each epoch, every few minutes,
    and at any stop); and the stops, when the minutes are over or by hand.

    Ctrl-C and SIGTERM let the step in hand finish, save and stop; a second Ctrl-C stops at once, a
    third kills. Lightning's own answer to SIGTERM would end without saving, and with several
    processes wait for ever.

    Attributes:
        owed: epoch and step of the validation that was to follow when last.ckpt was saved: who goes
            on from it makes it up.
        made_up: while it is: the checkpoint that goes on to be the last, and becomes the best where
            its score is.
    """

    def __init__(self, folder: Path, save_every_minutes: float) -> None:
        self.folder, self.every = folder, 60 * save_every_minutes
        self.best: float | None = None
        self.owed: list[int] | None = None
        self.made_up: dict[str, Any] | None = None
        self.interrupted = self.begun = False  # begun: once what came before is restored
        self._saved_at = time.monotonic()
        self._old_handler: Any = None
        self._process = os.getpid()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "owed": self.owed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.owed = state["best"], state.get("owed")

    def listen(self) -> None:
        """Take Ctrl-C, until `restore_signal_handlers`."""
        if threading.current_thread() is threading.main_thread():
            self._old_handler = signal.signal(signal.SIGINT, self._on_interrupt)

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.begun = True
        # Only now, since Lightning sets its handler when it begins; it resets it too.
        if self._old_handler is not None:
            signal.signal(signal.SIGTERM, self._on_terminate)

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.made_up is not None and self._old_handler is not None:
            signal.signal(signal.SIGTERM, self._on_terminate)

    def restore_signal_handlers(self) -> None:
        """For whoever called `Trainer.fit`, however that ended: after an error Lightning calls no
        hook late enough.
        """
        if self._old_handler is not None:
            signal.signal(signal.SIGINT, self._old_handler)
            self._old_handler = None

    def _on_interrupt(self, *_: Any) -> None:
        if os.getpid() != self._process:  # a loader's worker, just forked: its training decides
            return
        # Nothing is lost of a validation that is made up: it stays owed.
        if self.interrupted or self.made_up is not None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise StopAtOnce
        self.interrupted = True
        if is_first_process():
            print(
                "\nStopping after this step and a last validation; press Ctrl-C again to stop at "
                "once.",
                flush=True,
            )

    def _on_terminate(self, *_: Any) -> None:  # it may come twice, to the process and to its group
        if not self.interrupted:
            self._on_interrupt()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        due = time.monotonic() - self._saved_at > self.every
        stop, over = self.interrupted, module.out_of_time()
        # Ranks save and stop together or they would wait for each other for ever.
        if trainer.world_size > 1:
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        self.interrupted = stop
        last = trainer.is_last_batch
        if not last and (batch_index + 1) % trainer.accumulate_grad_batches:
            return  # gradients that wait to be added to are in no checkpoint
        if stop or over:
            trainer.should_stop = True
        validated = (
            trainer.enable_validation
            and (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 10**9) == 0
        )
        follows = validates_after(trainer, batch_index)
        if (
            due
            or stop
            or trainer.global_step == trainer.max_steps
            or (last and not follows)
            or (over and not validated)
        ):
            owed = follows or (over and validated)
            self.owed = [trainer.current_epoch, trainer.global_step] if owed else None
            self._save(trainer, "last")

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.owed = None
        score = float(trainer.callback_metrics[MONITOR])
        better = self.best is None or math.isnan(self.best) or score < self.best
        if better:
            self.best = score
        if self.made_up is not None:
            self.made_up["callbacks"][self.state_key] = self.state_dict()
            for name in ("best", "last") if better else ("last",):
                if trainer.is_global_zero:
                    write_checkpoint(self.folder / f"{name}.ckpt", self.made_up)
            trainer.strategy.barrier("made up")
            return
        if better:
            self._save(trainer, "best")
        self._save(trainer, "last")

    def _save(self, trainer: L.Trainer, name: str) -> None:
        if not all(p.isfinite().all() for p in trainer.lightning_module.parameters()):
            raise _diverged(f"weights at step {trainer.global_step} are no numbers")
        # With the state of the optimizer.
        trainer.save_checkpoint(self.folder / f"{name}.ckpt", weights_only=False)
        self._saved_at = time.monotonic()


def validates_after(trainer: L.Trainer, batch_index: int) -> bool:
    """Whether a validation follows this batch, as it does after an epoch or where
    --trainer.val_check_interval says so.
    """
    every, epochs = trainer.val_check_batch, trainer.check_val_every_n_epoch
    if not trainer.enable_validation or (
        epochs is not None and (trainer.current_epoch + 1) % epochs
    ):
        return False
    if every is None or every == math.inf:
        return bool(trainer.is_last_batch)
    batches = trainer.fit_loop.total_batch_idx if epochs is None else batch_index
    return bool((batches + 1) % every == 0)


class Pictures(L.Callback):
    """Every so many steps the batch's first clip: a strip and a GIF in TensorBoard, the strip in
    RUN/pictures too.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self._told = False

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, clips: Tensor, batch_index: int
    ) -> None:
        step = trainer.global_step
        if not trainer.is_global_zero or (step % self.every and step != 1):
            return
        given, came = module.window.split(clips[:1].float())
        forecast = missing_where_unseen(outputs["forecast"][:1].float(), fill_missing(given)[1])
        past, made, truth = (one[0].cpu().numpy() for one in (given, forecast, came))
        picture = strip(past, made, truth)
        try:
            write_png(self.folder / f"step-{step:07d}.png", picture)
        except ValueError as error:
            if not self._told:
                print(
                    f"{error}: pictures are left out as long as that is so; the training goes on",
                    flush=True,
                )
            self._told = True
        if not isinstance(trainer.logger, Events):  # fast_dev_run takes it away
            return
        trainer.logger.write(
            lambda board: board.add_image("forecast/strip", picture, step, dataformats="HWC")
        )
        # add_video without moviepy logs nothing and says nothing; an image summary may hold any
        # picture that browsers show.
        from tensorboard.compat.proto.summary_pb2 import Summary

        frames = animation(past, made, truth)
        image = Summary.Image(
            height=frames.shape[1],
            width=frames.shape[2],
            colorspace=3,
            encoded_image_string=gif_bytes(frames),
        )
        summary = Summary(value=[Summary.Value(tag="forecast/gif", image=image)])
        trainer.logger.write(lambda board: board._get_file_writer().add_summary(summary, step))
        trainer.logger.save()


def _diverged(what: str) -> ValueError:
    return ValueError(
        f"the {what}: the training has diverged. The last good checkpoint is kept; go on from "
        "there or start anew with a lower "
        "--learning_rate, a --clip, or --precision 32-true"
    )


class DivergenceWatch(L.Callback):
    """Stops a training whose loss is no number any more: no later step would mend it, and the next
    checkpoint would keep it.
    """

    every = 10  # reading the loss makes a GPU wait

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        if trainer.global_step % self.every == 0 and not torch.isfinite(outputs["loss"]):
            raise _diverged(f"loss at step {trainer.global_step} is {float(outputs['loss'])}")


class BlankWatch(L.Callback):
    """Says so when forecasts are flat while the truth is not, which is how a ConvLSTM on dark
    frames often begins, and gets stuck.

    A forecast counts as blank while its contrast (standard deviation within a frame) is below 5 %
    of the truth's.
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
        truth = fill_missing(module.window.split(clips)[1])[0].float().std(dim=(-2, -1)).mean()
        made = outputs["forecast"].float().std(dim=(-2, -1)).mean()
        blank = bool(made < 0.05 * truth)
        if blank and self.blank_since is None:
            self.blank_since = step
            if trainer.is_global_zero:
                print(
                    f"step {step}: forecasts are blank (contrast {float(made):.4f}, the truth has "
                    f"{float(truth):.4f}). Many runs "
                    "leave this by themselves after some thousand steps; to leave it sooner: "
                    "--start_at_mean true, a higher "
                    f"--learning_rate{', or --loss cross_entropy' * module.network.bounded}. You "
                    "are told when it ends.",
                    flush=True,
                )
        elif not blank and self.blank_since is not None:
            if trainer.is_global_zero:
                print(f"step {step}: forecasts are no longer blank.", flush=True)
            self.blank_since = None


class TimeLeft:
    """Hours, minutes and seconds until the end of the whole training, at the pace since this was
    first asked.
    """

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def __call__(self, trainer: L.Trainer, module: Any) -> str:
        now, done = time.monotonic(), module.done
        if trainer.max_steps > 0:
            done = max(done, trainer.global_step / trainer.max_steps)
        self._first = self._first or (now, done)
        since, share = now - self._first[0], done - self._first[1]
        if share <= 0:
            return "?"
        left = since / share * max(0.0, 1 - done)
        if module.learning.minutes:  # never more, however long a step has just taken
            left = min(left, max(0.0, 60 * module.learning.minutes - module.elapsed))
        left = int(left)
        return f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"


class Progress(RichProgressBar):
    """Lightning's rich bar, with the time that is left until the end of the whole training."""

    def __init__(self) -> None:
        super().__init__(leave=False)
        self._left = TimeLeft()

    def configure_columns(self, trainer: L.Trainer) -> list[Any]:
        """A short bar and no time of the epoch, so that loss and time left find room on 80
        columns.
        """
        description, bar, batches, _, speed = super().configure_columns(trainer)
        bar.bar_width = 12
        return [description, bar, batches, speed]

    def get_metrics(self, trainer: L.Trainer, module: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().get_metrics(trainer, module)
        shown.pop("v_num", None)
        if trainer.training and not trainer.sanity_checking:
            shown = {"left": self._left(trainer, module), **shown}
        return shown


class Lines(L.Callback):
    """Progress where there is no screen for a bar: a line every half minute."""

    def __init__(self, seconds: float = 30.0) -> None:
        self.seconds = seconds
        self._left = TimeLeft()
        self._said_at = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        left = self._left(trainer, module)
        if trainer.is_global_zero and time.monotonic() - self._said_at > self.seconds:
            self._said_at = time.monotonic()
            print(
                f"step {trainer.global_step}: loss {float(outputs['loss']):.5f}, {left} left",
                flush=True,
            )
