"""Processes of a training, which torchrun, SLURM or this one has started: how many there are, and
what the first one tells the others.
"""

import json
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from itertools import count
from subprocess import Popen
from typing import Any

import torch.distributed as dist
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from foreframe.base.processes import all_gather, is_first_process
from foreframe.training.options import LearningOptions, MachineOptions
from foreframe.training.trainer import build_trainer

_STORE: ContextVar[Any] = ContextVar("store", default=None)
KEYS = count()  # used up alike on all processes
CHILDREN: list[Popen] = []  # processes that this one has started


@contextmanager
def launched(machine: MachineOptions, plugins: Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
    """Find the other processes of a training, or start them. Those end with an error in this one.

    Args:
        plugins: of Lightning's Trainer; one that knows the processes takes the launcher's place.

    Returns:
        "devices", "num_nodes" and "plugins" of Lightning's Trainer.

    Raises:
        ValueError: a number of devices that disagrees with the launcher.
    """
    _STORE.set(None)
    given = any(isinstance(plugin, ClusterEnvironment) for plugin in plugins)
    if not given and machine.devices != 1 and _environment() is None:
        _start_others(machine)
    environment = None if given else _environment()
    try:
        if environment is None:
            yield {"devices": machine.devices, "plugins": plugins}
        else:
            yield _joined(environment, machine) | {"plugins": [environment, *plugins]}
    except BaseException:
        if CHILDREN:
            del os.environ["TORCHELASTIC_RUN_ID"], os.environ["RANK"], os.environ["LOCAL_RANK"]
        while CHILDREN:
            CHILDREN.pop().kill()
        raise


def _start_others(machine: MachineOptions) -> None:
    """Start this command once more for each further device of this machine, as torchrun does. (In
    a notebook, which is no command, Lightning forks.)
    """
    usual = replace(machine, precision="32-true", trainer={})
    devices = build_trainer(usual, LearningOptions(), ()).num_devices
    if devices == 1 or hasattr(sys, "ps1"):
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "foreframe", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "WORLD_SIZE": str(devices), "LOCAL_WORLD_SIZE": str(devices),
        "RANK": "0", "LOCAL_RANK": "0",
    }  # fmt: skip
    for rank in map(str, range(1, devices)):
        env = os.environ | {"RANK": rank, "LOCAL_RANK": rank}
        CHILDREN.append(Popen([sys.executable, *sys.orig_argv[1:]], env=env))


def _joined(environment: ClusterEnvironment, machine: MachineOptions) -> dict[str, Any]:
    by, each = "SLURM", "SLURM_NTASKS_PER_NODE"
    if isinstance(environment, TorchElasticEnvironment):
        by, each = "torchrun", "LOCAL_WORLD_SIZE"
    total, devices = environment.world_size(), int(os.environ.get(each, 1))
    if isinstance(machine.devices, int) and machine.devices != devices:
        raise ValueError(
            f"devices is {machine.devices}, but {by} has started {devices} on each node: give "
            f"--devices {devices}, or auto"
        )
    if total > 1:
        _STORE.set(connected(environment))
    wanted = devices if machine.devices == "auto" else machine.devices
    return {"devices": wanted, "num_nodes": total // devices}


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


def is_distributed() -> bool:
    """Whether a launcher has started several processes for this training."""
    return _STORE.get() is not None


def broadcast(value: Any) -> Any:
    """The first process's value, as JSON has it, on all of them; each calls this equally often.

    Raises:
        ConnectionError: the first process has ended or cannot be reached.
    """
    store = _STORE.get()
    if store is None:
        return all_gather(value)[0]  # of processes that others have joined
    key = f"foreframe/{next(KEYS)}"
    try:
        if is_first_process():
            store.set(key, json.dumps(value))
        return json.loads(store.get(key))
    except RuntimeError as error:
        raise ConnectionError("the first process has ended or cannot be reached") from error
