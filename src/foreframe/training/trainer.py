"""Lightning's Trainer: arguments of the user and of foreframe; TensorBoard."""

import inspect
import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar

from foreframe.base.schema import check_types
from foreframe.base.wording import closest
from foreframe.forecasting.precision import resolve_precision
from foreframe.training.checkpointing import WholeCheckpoints
from foreframe.training.faults import Events
from foreframe.training.notices import say
from foreframe.training.options import LearningOptions, MachineOptions

# Lightning prints adverts and a line for every check.
for _name in (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.pytorch.accelerators.cuda",
    "lightning.fabric",
):
    logging.getLogger(_name).setLevel(logging.ERROR)

_OURS = {
    "accelerator", "devices", "precision", "logger", "callbacks", "plugins", "max_epochs",
    "gradient_clip_val", "enable_checkpointing", "use_distributed_sampler", "default_root_dir",
    "enable_model_summary",
}  # fmt: skip


def check_trainer_arguments(arguments: Mapping[str, Any]) -> None:
    known = [
        name
        for name in inspect.signature(L.Trainer).parameters
        if name not in _OURS | {"model_registry"}
    ]
    for name in arguments:
        if name in _OURS:
            raise ValueError(
                f"trainer.{name} is set by foreframe's own options (see foreframe train --help)"
            )
        if name not in known:
            meant = closest(name, known) or "see Lightning's docs"
            raise ValueError(f"trainer.{name} is no argument of Lightning's Trainer; {meant}")
    check_types(L.Trainer, arguments, "trainer")


def start_tensorboard(folder: Path, port: int, resumed: bool) -> str:
    """Start TensorBoard, and return its address. Loader workers of a killed run keep its port for
    some seconds, so a resumed run waits.
    """
    from tensorboard import program

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    board = program.TensorBoard()
    board.configure(
        argv=[None, "--logdir", str(folder), "--port", str(port), "--load_fast", "false"]
    )
    for _ in range(16 if resumed else 0):
        with suppress(program.TensorBoardServerException):
            return str(board.launch())
        time.sleep(0.5)
    try:
        return str(board.launch())
    except program.TensorBoardServerException as error:
        raise ValueError(
            f"TensorBoard cannot use port {port} ({str(error).splitlines()[0]}); choose another "
            "with --port, or 0 for any free one"
        ) from None


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
    logger: Events | None = None,
    **more: Any,
) -> L.Trainer:
    """Lightning's Trainer with foreframe's settings; `machine.trainer` and `more` set the others.

    Raises:
        ValueError: settings that Lightning refuses.
    """
    precision = machine.precision
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if precision == "16-mixed" and (machine.device == "cpu" or not gpu):
        precision = "bf16-mixed"  # as Lightning would take it, with a warning of its own
        say("precision 16-mixed needs a GPU: on this CPU it is bf16-mixed")
    defaults = {"inference_mode": False, "num_sanity_val_steps": 0, "log_every_n_steps": 1}
    # A bar is among the callbacks; else Lightning would add its own.
    wanted = {k: v for k, v in machine.trainer.items() if k != "enable_progress_bar"}
    try:
        return L.Trainer(
            **(defaults | wanted | more),
            accelerator=machine.device,
            devices=machine.devices,
            precision=precision,
            max_epochs=learning.epochs,
            gradient_clip_val=learning.clip or None,
            logger=logger or False,
            callbacks=list(callbacks),
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
            plugins=[WholeCheckpoints()],
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise ValueError(
            f"Lightning's Trainer refuses these settings: {str(error).splitlines()[0]}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Lightning's warnings that do not concern users."""
    with warnings.catch_warnings():
        for line in (
            "does not have many workers",
            "isinstance.treespec, LeafSpec",
            "number of training batches",
            "the batch size",
            "sync_dist=True",
            "in eval mode at the start of training",  # of a forecaster that is trained already
        ):
            warnings.filterwarnings("ignore", message=f".*{line}.*")
        yield
