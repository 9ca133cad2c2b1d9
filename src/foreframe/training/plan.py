"""What a training will take, from a few steps of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from foreframe.data.memory import data_name
from foreframe.memory import give_memory_back
from foreframe.models import multiply_adds
from foreframe.training.datamodule import in_floats, training_batches
from foreframe.training.fit import begin_with, prepared
from foreframe.training.objectives import LOSSES, forecast, next_frames
from foreframe.training.optimizers import build_optimizer
from foreframe.training.options import DataOptions, LearningOptions, MachineOptions, ModelOptions

STEPS = 4  # the first two warm up: caches, compilers, the memory that is asked for once


@dataclass(frozen=True)
class Plan:
    """What a step and an epoch take.

    Args:
        parameters: numbers that are learnt.
        multiply_adds: of a forecast of one clip, by convolutions and matrix products; a training
            step takes three times as many.
        clips: in an epoch.
        batch: clips a step.
        step: seconds that a training step took, the batch at hand.
        fetch: seconds that drawing or reading a batch took, on this process.
        memory: MiB that a step took beside the network and the data: what it keeps for the backward
            pass, gradients, and the optimizer's state. None where it cannot be told (neither Linux
            nor CUDA).
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
        """Seconds of an epoch without its validation, where batches are not fetched by worker
        processes.
        """
        return self.steps * (self.step + self.fetch)


def plan(
    model: ModelOptions, data: DataOptions, learning: LearningOptions, machine: MachineOptions
) -> Plan:
    """Train a network for a few steps on one device, and throw it away. What Lightning's Trainer is
    told changes nothing here.

    Raises:
        ValueError: as training does, of options and data; a device that is not there.
    """
    device = _device(machine.accelerator)
    window, network, train, _ = prepared(model, data, learning, machine)
    if model.weights is not None:
        begin_with(network, model.weights)
    number, _, how = machine.precision.partition("-")
    kind = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}.get(
        number, torch.float32
    )
    half = kind.itemsize == 2
    mixed = half and how != "true"
    kept = torch.float32 if mixed else kind
    if half:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.to(device, kept).train()
    optimizer = build_optimizer(network, learning)
    loader = training_batches(train, data.batch_size, 0, learning.seed, data_name(data.data))
    fetching = iter(loader)
    taken, fetched = [], []

    def fetch() -> torch.Tensor:
        nonlocal fetching
        began = time.perf_counter()
        clips = next(fetching, None)
        if clips is None:  # fewer batches than steps here: from the first one again
            fetching = iter(loader)
            clips = next(fetching)
        clips = in_floats(clips.to(device), kept)
        fetched.append(time.perf_counter() - began)
        return clips

    clips = fetch()
    with _peak(device) as peak:
        for _ in range(STEPS):
            clips = fetch()
            began = time.perf_counter()
            with torch.autocast(device, kind if mixed else torch.bfloat16, enabled=mixed):
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
    return Plan(
        parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        multiply_adds=multiply_adds(
            network, window.past, window.future, (clips.shape[3], clips.shape[4])
        ),
        clips=len(train),
        batch=data.batch_size,
        step=median(taken[2:]),
        fetch=median(fetched[1:]),
        memory=peak[0] if peak else None,
        device=device,
    )


def _device(accelerator: str) -> str:
    there = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    names = {"auto": [*there, "cpu"], "gpu": there}.get(
        accelerator, [name for name in [*there, "cpu"] if name == accelerator]
    )
    if not names:
        raise ValueError(
            f"accelerator {accelerator}: there is none here that could be measured; choose "
            f"{', '.join([*there, 'cpu'])}"
        )
    return names[0]


@contextmanager
def _peak(device: str) -> Iterator[list[float]]:
    """Appends by how many MiB what is held rose at most within; nothing where that cannot be
    told.
    """
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
    give_memory_back()
    reset.write_text("5")  # the peak is now what is held
    before = _held(status)
    yield found
    found.append(_held(status) - before)


def _held(status: Path) -> float:
    line = next(
        line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) / 1024
