"""An estimate of a training's time and memory from a few of its steps."""

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import lightning.pytorch as L
import torch

from foreframe.base.memory import give_memory_back
from foreframe.data.opening import Splits
from foreframe.models import multiply_adds
from foreframe.training.datamodule import Clips
from foreframe.training.module import ForecastModule
from foreframe.training.options import DataOptions, LearningOptions, MachineOptions, ModelOptions
from foreframe.training.preparation import load_initial_weights, of_its_weights, prepared
from foreframe.training.trainer import build_trainer, quiet, resolved_precision

STEPS = 4  # the first two warm up caches, compilers and memory


@dataclass(frozen=True)
class Plan:
    """Time and memory of a step and an epoch.

    Args:
        parameters: number of trainable weights.
        multiply_adds: of convolutions and matrix products in a forecast of a clip; a training step
            takes three times as many.
        clips: in an epoch.
        batch: clips in a step.
        step: seconds of a training step, without loading its batch.
        fetch: seconds of generating or reading a batch, in this process.
        memory: MiB of a step beside the network and the data: activations, gradients, and the
            optimizer's state. None if unknown (neither Linux nor CUDA).
        device: type of the device.
    """

    parameters: int
    multiply_adds: int
    clips: int
    batch: int
    step: float
    fetch: float
    memory: float | None
    device: str

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.clips // self.batch

    @property
    def epoch(self) -> float:
        """Seconds of an epoch without validation and without worker processes."""
        return self.steps * (self.step + self.fetch)


def plan(
    model: ModelOptions,
    data: DataOptions,
    learning: LearningOptions,
    machine: MachineOptions,
    splits: Splits | None = None,
) -> Plan:
    """Train a network for a few steps on one device, and discard it. Other arguments of Lightning's
    Trainer have no effect.

    Args:
        splits: the data, if already open.

    Raises:
        ValueError: as of training: options, data, device.
    """
    model = of_its_weights(model)
    machine = replace(machine, precision=resolved_precision(machine))
    window, network, train, validation = prepared(model, data, learning, machine, splits)
    if model.weights is not None:
        load_initial_weights(network, model.weights)
    watch = Stopwatch()
    trainer = build_trainer(
        replace(machine, devices=1, trainer={}),
        replace(learning, epochs=STEPS, minutes=None),  # an epoch is a step at least
        [watch],
        max_steps=STEPS,
        limit_val_batches=0,
    )
    clips = Clips(train, validation, replace(data, loader_workers=0), learning.seed)
    with quiet():
        trainer.fit(ForecastModule(network, window, learning, {}, {}), datamodule=clips)
    h, w = train[0].shape[-2:]
    return Plan(
        parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        multiply_adds=multiply_adds(network, window.past, window.future, (h, w)),
        clips=len(clips.trained),
        batch=data.batch_size,
        step=median(watch.taken[2:]),
        fetch=median(watch.fetched[1:]),
        memory=watch.peak,
        device=trainer.strategy.root_device.type,
    )


class Stopwatch(L.Callback):
    """Seconds of each training step and its batch, and the highest rise of memory in MiB, None if
    unknown.
    """

    def __init__(self) -> None:
        self.taken: list[float] = []
        self.fetched: list[float] = []
        self.peak: float | None = None
        self._before = self._since = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        if not self.taken:
            self._before = _memory_from_here(module.device.type)
        self.fetched.append(self._lap(module))

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        self.taken.append(self._lap(module))

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        rise = _highest_memory(module.device.type) - self._before
        self.peak = None if math.isnan(rise) else rise

    def _lap(self, module: L.LightningModule) -> float:
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        before, self._since = self._since, time.perf_counter()
        return self._since - before


_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def _memory_from_here(device: str) -> float:
    """Reset the peak of memory in use, and return it in MiB."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif _RESET.exists():
        give_memory_back()
        _RESET.write_text("5")  # resets the peak
    return _highest_memory(device)


def _highest_memory(device: str) -> float:
    """In MiB; NaN if neither Linux nor CUDA reports it."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    if device != "cpu" or not _RESET.exists():
        return math.nan
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
