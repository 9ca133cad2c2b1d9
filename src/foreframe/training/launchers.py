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
from lightning.pytorch.strategies import SingleDeviceStrategy

from foreframe.base.processes import all_gather, is_first_process
from foreframe.training.options import LearningOptions, MachineOptions
from foreframe.training.trainer import build_trainer

_STORE: ContextVar[Any] = ContextVar("store", default=None)
_KEYS = count()  # used up alike on all processes
CHILDREN: list[Popen] = []  # processes that this one has started


@contextmanager
def launched(
    machine: MachineOptions, plugins: Sequence[Any] = (), strategy: Any = None
) -> Iterator[dict[str, Any]]:
    """Find the other processes of a training, or start them. Those end with an error in this one.

    Args:
        plugins, strategy: of Lightning's Trainer; what knows the processes takes the launcher's
            place.

    Returns:
        "devices", "num_nodes", "plugins" and "strategy" of Lightning's Trainer.

    Raises:
        ValueError: a number of devices that disagrees with the launcher.
    """
    _STORE.set(None)
    more = {"strategy": strategy} if strategy is not None else {}
    knows = ClusterEnvironment | SingleDeviceStrategy
    given = any(isinstance(each, knows) for each in (*plugins, strategy))
    if not given and machine.devices != 1 and _environment() is None:
        _start_others(machine)
    environment = None if given else _environment()
    try:
        if environment is None:
            yield more | {"devices": machine.devices, "plugins": plugins}
        else:
            yield more | _layout(environment, machine) | {"plugins": [environment, *plugins]}
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
    module = sys.modules["__main__"].__spec__
    command = [sys.argv[0]] if module is None else ["-m", module.name]
    for rank in map(str, range(1, devices)):
        env = os.environ | {"RANK": rank, "LOCAL_RANK": rank}
        CHILDREN.append(Popen([sys.executable, *command, *sys.argv[1:]], env=env))


def _layout(environment: ClusterEnvironment, machine: MachineOptions) -> dict[str, Any]:
    """Devices and nodes, by the launcher, whose store of keys and values this process connects to;
    without one, to that of the first process.
    """
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
        os.environ["MASTER_ADDR"] = environment.main_address
        os.environ["MASTER_PORT"] = str(environment.main_port)
        serves = environment.global_rank() == 0
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            serves = False  # torchrun does
        where = environment.main_address, environment.main_port, total, serves
        # Without a wait for the others, of whose deaths nobody could tell here.
        _STORE.set(dist.TCPStore(*where, wait_for_workers=False, multi_tenant=True))
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


def shared_store() -> dist.Store | None:
    """Keys and values that the processes of this training share; None of one process alone."""
    store = _STORE.get()
    return store and dist.PrefixStore(f"foreframe/{next(_KEYS)}", store)


def broadcast(value: Any) -> Any:
    """The first process's value, as JSON has it, on all of them; each calls this equally often.

    Raises:
        ConnectionError: the first process has ended or cannot be reached.
    """
    store = shared_store()
    if store is None:
        return all_gather(value)[0]  # of processes that others have joined
    try:
        if is_first_process():
            store.set("value", json.dumps(value))
        return json.loads(store.get("value"))
    except RuntimeError as error:
        raise ConnectionError("the first process has ended or cannot be reached") from error
