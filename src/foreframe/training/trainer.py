"""Lightning's Trainer and its processes: arguments of the user and of foreframe."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import ClusterEnvironment, TorchElasticEnvironment
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import SingleDeviceStrategy

from foreframe.forecasting.compute import resolve_precision
from foreframe.training.checkpointing import WholeCheckpoints
from foreframe.training.options import LearningOptions, MachineOptions
from foreframe.training.validation import seconds_between_validations

# Lightning prints adverts and a line for every check.
for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)
# It reports a dead process before Lightning ends the others.
logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)


def resolved_precision(machine: MachineOptions) -> str:
    """The precision with "auto" resolved: bf16-mixed if the device multiplies it fast, else
    32-true.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    device = {"auto": device, "gpu": device}.get(machine.device, machine.device)
    return resolve_precision(machine.precision, device)


@contextmanager
def launched(
    machine: MachineOptions, plugins: Sequence[Any] = (), strategy: Any = None
) -> Iterator[dict[str, Any]]:
    """Connect the processes of a training. Lightning starts them unless torchrun has.

    The processes run before the Trainer exists, because the first one chooses the folder and the
    options for all. In a notebook Lightning forks when the training begins.

    Args:
        plugins, strategy: for the Trainer. One that knows the processes replaces Lightning's
            launcher.

    Yields:
        "devices", "num_nodes", "plugins" and "strategy" of Lightning's Trainer.

    Raises:
        ValueError: a number of devices that disagrees with the launcher.
    """
    devices, nodes = machine.devices, machine.trainer.get("num_nodes", 1)
    given: dict[str, Any] = {} if strategy is None else {"strategy": strategy}
    knows = ClusterEnvironment | SingleDeviceStrategy
    if any(isinstance(each, knows) for each in (*plugins, strategy)):
        yield given | {"devices": devices, "plugins": plugins}
        return
    if TorchElasticEnvironment.detect():
        started = int(os.environ["LOCAL_WORLD_SIZE"])
        if isinstance(devices, int) and devices != started:
            raise ValueError(
                f"devices is {devices}, but torchrun has started {started} on each node: give "
                f"--devices {started}, or auto"
            )
        devices, nodes = started, int(os.environ["WORLD_SIZE"]) // started
    with accepted():
        fabric = Fabric(accelerator=machine.device, devices=devices, num_nodes=nodes)
        launcher = fabric.strategy.launcher
        if not hasattr(sys, "ps1"):
            fabric.launch()
    try:
        yield given | {"devices": devices, "num_nodes": nodes, "plugins": plugins}
    except BaseException:
        for process in getattr(launcher, "procs", ()):
            process.kill()
        raise


@contextmanager
def accepted() -> Iterator[None]:
    """Replace the errors of Lightning about its arguments.

    Raises:
        ValueError: settings that Lightning refuses.
    """
    try:
        yield
    except Exception as error:  # of half a dozen types
        raise ValueError(
            f"Lightning's Trainer refuses these settings: {str(error).splitlines()[0]}"
        ) from error


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
    with accepted():
        return L.Trainer(
            **(defaults | wanted | more),
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


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Lightning's warnings that do not concern users."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec")
        yield
