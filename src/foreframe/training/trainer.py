"""Lightning's Trainer: arguments of the user and of foreframe."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger

from foreframe.forecasting.precision import resolve_precision
from foreframe.training.checkpointing import WholeCheckpoints
from foreframe.training.options import LearningOptions, MachineOptions
from foreframe.training.validation import seconds_between_validations

# Lightning prints adverts and a line for every check.
for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def resolved_precision(machine: MachineOptions) -> str:
    """The precision with "auto" resolved: bf16-mixed if the device multiplies it fast, else
    32-true.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    device = {"auto": device, "gpu": device}.get(machine.device, machine.device)
    return resolve_precision(machine.precision, device)


def build_trainer(
    machine: MachineOptions,
    learning: LearningOptions,
    callbacks: Sequence[L.Callback],
    loggers: Sequence[Logger] = (),
    plugins: Sequence[Any] = (),
    **more: Any,
) -> L.Trainer:
    """Lightning's Trainer with foreframe's settings; `machine.trainer` and `more` set the others.

    Raises:
        ValueError: settings that Lightning refuses.
    """
    defaults = {"inference_mode": False, "num_sanity_val_steps": 0, "log_every_n_steps": 1}
    # A bar is among the callbacks; else Lightning would add its own.
    wanted = {k: v for k, v in machine.trainer.items() if k != "enable_progress_bar"}
    if seconds_between_validations(wanted) is not None:
        wanted["val_check_interval"] = 1
    try:
        return L.Trainer(
            **(defaults | {"devices": machine.devices} | wanted | more),
            accelerator=machine.device,
            precision=machine.precision,
            max_epochs=learning.epochs,
            gradient_clip_val=learning.clip or None,
            logger=list(loggers) or False,
            callbacks=list(callbacks),
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
            plugins=[WholeCheckpoints(), *plugins],
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except Exception as error:  # of half a dozen types
        raise ValueError(
            f"Lightning's Trainer refuses these settings: {str(error).splitlines()[0]}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Lightning's warnings that do not concern users."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec")
        yield
