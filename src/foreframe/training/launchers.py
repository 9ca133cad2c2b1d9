"""Processes of a training that torchrun or SLURM has started: how many there are, and what the
first one tells the others.
"""

import json
import os
from collections.abc import Sequence
from contextvars import ContextVar
from itertools import count
from typing import Any

import torch.distributed as dist
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from foreframe.base.processes import gathered, is_first_process
from foreframe.training.options import MachineOptions

_STORE: ContextVar[Any] = ContextVar("store", default=None)
KEYS = count()  # used up alike on all processes


def launched(machine: MachineOptions, plugins: Sequence[Any] = ()) -> dict[str, Any]:
    """Find the other processes of a training, if a launcher has started some.

    Args:
        plugins: of Lightning's Trainer; one that knows the processes takes the launcher's place.

    Returns:
        "devices", "num_nodes" and "plugins" of Lightning's Trainer.

    Raises:
        ValueError: a number of devices that disagrees with the launcher.
    """
    _STORE.set(None)
    given = any(isinstance(plugin, ClusterEnvironment) for plugin in plugins)
    environment = None if given else _environment()
    if environment is None:
        return {"devices": machine.devices, "plugins": plugins}
    by, each = "SLURM", "SLURM_NTASKS_PER_NODE"
    if isinstance(environment, TorchElasticEnvironment):
        by, each = "torchrun", "LOCAL_WORLD_SIZE"
    total, devices = environment.world_size(), int(os.environ.get(each, 1))
    if machine.devices not in ("auto", devices):
        raise ValueError(
            f"devices is {machine.devices}, but {by} has started {devices} on each node: give "
            f"--devices {devices}, or auto"
        )
    if total > 1:
        _STORE.set(connected(environment))
    return {"devices": devices, "num_nodes": total // devices, "plugins": [environment, *plugins]}


def _environment() -> ClusterEnvironment | None:
    """That of the launcher. Lightning's handling of SLURM's signals is left out: it would requeue
    with a checkpoint of its own, and not stop at SIGTERM.

    Raises:
        ValueError: variables of SLURM that Lightning does not take.
    """
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if not SLURMEnvironment.detect():
        return None
    try:
        return SLURMEnvironment(auto_requeue=False)
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def connected(environment: ClusterEnvironment) -> dist.Store:
    """A new connection to the launcher's store of keys and values, or to the first process's."""
    os.environ["MASTER_ADDR"] = environment.main_address
    os.environ["MASTER_PORT"] = str(environment.main_port)
    place = environment.global_rank(), environment.world_size()
    return next(dist.rendezvous("env://", *place))[0]


def several() -> bool:
    """Whether a launcher has started several processes for this training."""
    return _STORE.get() is not None


def of_first(value: Any) -> Any:
    """The first process's value, as JSON has it, on all of them; each calls this equally often.

    Raises:
        ConnectionError: the first process has ended or cannot be reached.
    """
    store = _STORE.get()
    if store is None:
        return gathered(value)[0]  # of processes that others have joined
    key = f"foreframe/{next(KEYS)}"
    try:
        if is_first_process():
            store.set(key, json.dumps(value))
        return json.loads(store.get(key))
    except RuntimeError as error:
        raise ConnectionError("the first process has ended or cannot be reached") from error
