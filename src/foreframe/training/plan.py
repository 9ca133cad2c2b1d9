"""What a training will take, from a few steps of it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from foreframe.clip import Window
from foreframe.data import batches, check_first_clip, open_dataset
from foreframe.models import Model, multiply_adds
from foreframe.models.engine import check_compiler
from foreframe.training.objectives import LOSSES, forecast, next_frames
from foreframe.training.optimizers import build_optimizer
from foreframe.training.options import DataOptions, LearningOptions, MachineOptions

STEPS = 4  # the first two warm up: caches, compilers, the memory that is asked for once


@dataclass(frozen=True)
class Plan:
    """What a step and an epoch take.

    Args:
        parameters: numbers that are learnt.
        multiply_adds: of a forecast of one clip, by convolutions and matrix products; a training step takes three times as many.
        clips: in an epoch.
        batch: clips a step.
        step: seconds that a training step took, the batch at hand.
        fetch: seconds that drawing or reading a batch took, on this process.
        memory: MiB that a step took beside the network and the data: what it keeps for the backward pass, gradients, and the
            optimizer's state. None where it cannot be told (neither Linux nor CUDA).
        device: where.
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
        """In an epoch."""
        return self.clips // self.batch

    @property
    def epoch(self) -> float:
        """Seconds of an epoch without its validation, where batches are not fetched by worker processes."""
        return self.steps * (self.step + self.fetch)


def plan(network_for: Callable[[int], Model], data: DataOptions, learning: LearningOptions, machine: MachineOptions) -> Plan:
    """Train a network for a few steps on one device, and throw it away.

    Args:
        network_for: makes the network for frames of so many channels.
        data, learning, machine: options of training.

    Raises:
        ValueError: as training does, for data that are not clips, or too few for a batch.
    """
    window = Window(data.past, data.future, data.stride)
    train: Any = open_dataset(data.data, "train", window, data.data_args)
    check_first_clip(train, window, None, data.data)
    network = network_for(int(train[0].shape[1]))
    check_first_clip(train, window, network.channels, data.data)
    if len(train) < data.batch_size:
        raise ValueError(f"{len(train)} training clips do not fill one batch of {data.batch_size}; use a smaller batch_size")
    device = _device(machine.accelerator)
    if machine.compile:
        check_compiler()
    network.memory, network.compiled = machine.memory, machine.compile
    half = {"bf16": torch.bfloat16, "16": torch.float16}.get(machine.precision.partition("-")[0])
    if half is not None:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.to(device).train()
    optimizer = build_optimizer(network, learning)
    taken, fetched, peaks = [], [], []
    loader = batches(train, data.batch_size, limit=(STEPS + 1) * data.batch_size, what=f"data {data.data}")
    began = time.perf_counter()
    clips = next(loader).to(device)
    first = time.perf_counter() - began
    for _ in range(STEPS):
        began = time.perf_counter()
        more = next(loader, None)
        if more is not None and len(more) == data.batch_size:  # else the data have no more whole batches, and the last one serves
            clips = more.to(device)
            fetched.append(time.perf_counter() - began)
        with _peak(device) as peak:
            began = time.perf_counter()
            with torch.autocast(device, half or torch.bfloat16, enabled=half is not None):
                if learning.sampling_steps:
                    P, Y = next_frames(network, clips, window, 0.5, learning.truncate)
                else:
                    P, Y = forecast(network, clips, window, learning.truncate)
                loss = LOSSES[learning.loss](P, Y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if device == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - began)
        peaks += peak
    return Plan(
        parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        multiply_adds=multiply_adds(network, window.past, window.future, (clips.shape[3], clips.shape[4])),
        clips=len(train),
        batch=data.batch_size,
        step=median(taken[2:]),
        fetch=median(fetched or [first]),
        memory=max(peaks) if peaks else None,
        device=device,
    )


def _device(accelerator: str) -> str:
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        return "cuda"
    return "mps" if accelerator == "mps" else "cpu"


@contextmanager
def _peak(device: str) -> Iterator[list[float]]:
    """Appends by how many MiB what is held rose at most within; nothing where that cannot be told."""
    found: list[float] = []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        yield found
        found.append((torch.cuda.max_memory_allocated() - held) / 2**20)
        return
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if device != "cpu" or not reset.exists():
        yield found
        return
    reset.write_text("5")  # the peak is now what is held
    before = _held(status)
    yield found
    found.append(_held(status) - before)


def _held(status: Path) -> float:
    line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
