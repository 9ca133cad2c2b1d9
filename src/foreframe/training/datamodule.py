"""Batches in a reproducible order on every rank, from any point of any epoch."""

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from foreframe.data import ClipSet, chosen
from foreframe.data.datasets import Stretches
from foreframe.training.options import DataOptions

MIN_BLOCKS = 4  # smallest number of stretches that batches of several sequences mix


class KeyedBatches(Sampler):
    """Lists of keys for batches: a pure function of (seed, epoch, rank), from batch `skip` on.

    All n clips, or those `among` them, are shuffled. The last ones are dropped if they do not fill
    a batch on every rank. For datasets with random draws by epoch, keys are (epoch, index). Clips
    of `stretches` stay near each other (`block_shuffled`).
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        by_epoch: bool,
        rank: int = 0,
        ranks: int = 1,
        stretches: Stretches | None = None,
        among: Sequence[int] | None = None,
    ) -> None:
        self.among = np.arange(n) if among is None else np.asarray(among)
        if stretches is not None:
            stretches = stretches._replace(numbers=stretches.numbers[self.among])
        self.n, self.batch_size = len(self.among), batch_size
        self.seed, self.by_epoch = seed, by_epoch
        self.rank, self.ranks, self.stretches = rank, ranks, stretches
        self.epoch = self.skip = 0

    def __len__(self) -> int:
        return self.n // (self.batch_size * self.ranks)

    @property
    def sampler(self) -> "KeyedBatches":
        """Lightning calls `set_epoch` on this attribute."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch; a resumed epoch keeps its position."""
        if epoch != self.epoch:
            self.epoch, self.skip = epoch, 0

    def __iter__(self) -> Iterator[list[Any]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = (
            block_shuffled(self.stretches, self.batch_size, rng)
            if self.stretches
            else rng.permutation(self.n)
        )
        first, self.skip = self.skip, 0
        for batch in range(first, len(self)):
            start = (batch * self.ranks + self.rank) * self.batch_size
            keys = self.among[order[start : start + self.batch_size]].tolist()
            yield [(self.epoch, key) for key in keys] if self.by_epoch else keys


def block_shuffled(stretches: Stretches, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a shuffled order of clips that reads each stretch once. Only the clips of a few
    stretches at a time are mixed.

    Up to eight sequences of different stretches alternate batch by batch. Loader processes and
    ranks alternate too, so that each reads separate stretches. Incomplete batches come last.

    Args:
        size: batch size.
    """
    sequences = 8
    while sequences > 1 and stretches.at_once < MIN_BLOCKS * sequences:
        sequences //= 2
    few = max(1, stretches.at_once // sequences)  # stretches that are shuffled together
    numbers = stretches.numbers
    place = np.argsort(rng.permutation(numbers.max() + 1))[numbers]  # of each clip's stretch
    sequence, group = place % sequences, place // sequences // few
    order = np.lexsort((rng.random(len(numbers)), group, sequence))
    ends = np.cumsum(np.bincount(sequence, minlength=sequences))[:-1]
    parts = [np.split(part, range(size, len(part), size)) for part in np.split(order, ends)]
    batches = [batch for turn in zip_longest(*parts) for batch in turn if batch is not None]
    return np.concatenate(sorted(batches, key=lambda batch: len(batch) < size))


class PollingLoader(DataLoader):
    """A DataLoader that detects dead workers by polling, within 5 s of waiting for a batch. Torch's
    signal handler would raise anywhere in the training, also where Python can only print.

    Args:
        clips: the Dataset.
        keys: the clips of each batch.
        workers: number of worker processes. Their seeds come from a separate generator, which
            leaves the model's random numbers unchanged.
        compact: leave 8-bit clips in 8 bits.
    """

    def __init__(self, clips: ClipSet, keys: Any, workers: int, compact: bool = False) -> None:
        super().__init__(
            Batches(clips, compact),
            batch_sampler=keys,
            collate_fn=torch.as_tensor,
            num_workers=workers,
            multiprocessing_context=_context(clips, workers),
            worker_init_fn=_seed_worker,
            generator=torch.Generator(),
            pin_memory=torch.cuda.is_available(),
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        main = threading.current_thread() is threading.main_thread()
        if not main or not hasattr(signal, "SIGCHLD"):  # Windows lacks it
            return super().__iter__()
        before = signal.getsignal(signal.SIGCHLD)
        try:
            return super().__iter__()
        finally:
            signal.signal(signal.SIGCHLD, before)


class ResumableLoader(PollingLoader):
    """A DataLoader whose state, the epoch and the number of batches used, is in Lightning's
    checkpoints.

    Attributes:
        waited: seconds of waiting for batches.
    """

    def __init__(self, clips: ClipSet, keys: KeyedBatches, workers: int) -> None:
        self.keys, self.used, self.waited = keys, 0, 0.0
        super().__init__(clips, keys, workers, compact=True)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        keys = self.keys
        self.used = keys.skip
        self.generator.manual_seed(_seed(keys.seed, keys.epoch, keys.rank, keys.skip))
        began = time.monotonic()
        for batch in super().__iter__():
            self.waited += time.monotonic() - began
            self.used += 1
            yield batch
            began = time.monotonic()

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.keys.epoch, "used": self.used}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.keys.epoch, self.keys.skip = state["epoch"], state["used"]


class Batches(Dataset):
    """A Dataset whose `__getitems__` returns whole batches."""

    def __init__(self, clips: ClipSet, compact: bool = False) -> None:
        self.clips, self.compact = clips, compact

    def __getitems__(self, keys: list[Any]) -> Shaped[Tensor, "b t c h w"]:
        return self.clips.compact(keys) if self.compact else self.clips.batch(keys)


class Clips(L.LightningDataModule):
    """Training and validation clips (T,C,H,W) of any Datasets; training batches are in 8 bits if
    the clips are.
    """

    def __init__(
        self, train: ClipSet, validation: ClipSet, data: DataOptions, seed: int, at_once: int = 1
    ) -> None:
        super().__init__()
        self.train, self.validation, self.data, self.seed = train, validation, data, seed
        self.at_once = at_once  # clips to validate
        self.trained = chosen(train, data.train_clips or None)
        self.validated = chosen(validation, data.validation_clips)

    def train_dataloader(self) -> ResumableLoader:
        """The batches of this rank.

        Raises:
            ValueError: fewer clips than a batch for each rank.
        """
        assert self.trainer is not None
        n, size, ranks = len(self.trained), self.data.batch_size, self.trainer.world_size
        by_epoch, rank = self.train.by_epoch, self.trainer.global_rank
        stretches = self.train.stretches()
        keys = KeyedBatches(n, size, self.seed, by_epoch, rank, ranks, stretches, self.trained)
        if len(keys) == 0:
            raise ValueError(
                f"{n} training clips do not fill one batch of {size} on each of {ranks} processes"
            )
        return ResumableLoader(self.train, keys, self.data.loader_workers)

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        """Convert batches to the network's dtype; 8-bit batches to [0,1]."""
        clips = batch
        if batch.dtype == torch.uint8:
            # By a tensor: GPUs multiply by the inverse of a number, which rounds otherwise.
            clips = batch.to(torch.float32).div_(torch.tensor(255.0, device=batch.device))
        assert self.trainer is not None
        return clips.to(self.trainer.lightning_module.dtype)

    def val_dataloader(self) -> PollingLoader:
        """Each rank scores a separate share without padding, which would change the mean."""
        assert self.trainer is not None
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        # In order, with equally many batches on every rank, since ranks wait for each other.
        if len(self.validated) < ranks:
            raise ValueError(
                f"{len(self.validated)} validation clips are too few for {ranks} processes; use "
                "fewer --devices"
            )
        count = -(-len(self.validated) // (self.at_once * ranks))
        parts = np.array_split(self.validated[rank::ranks], count)
        keys = [part.tolist() for part in parts if len(part)]
        return PollingLoader(self.validation, keys, self.data.loader_workers)


def _context(clips: ClipSet, workers: int) -> Any:
    """Return the start method of loader processes; None for the default. Clients of object stores
    do not survive a fork of this process, so loaders fork from a server with imports alone.
    """
    usual = not workers or clips.stretches() is None
    if usual or "forkserver" not in multiprocessing.get_all_start_methods():
        return None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "xarray", "zarr"])
    return context


def seed_everything(*key: int) -> None:
    """Seed torch, numpy and Python by a number derived from `key`."""
    seed = _seed(*key)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence([abs(k) for k in key]).generate_state(1)[0])


def _ignore_interrupts(_: int) -> None:
    """Ignore Ctrl-C, which reaches all processes of a terminal, and signals of launchers, which
    reach groups of them; the training process handles these and ends its workers. A second SIGTERM
    ends them.

    torch's workers exit if their parent changes, but never if it was killed before they first
    looked: so this is checked here.
    """
    parent = multiprocessing.parent_process()
    if (
        multiprocessing.get_start_method() == "fork"
        and parent is not None
        and os.getppid() != parent.pid
    ):
        os._exit(1)
    for name in ("SIGINT", "SIGUSR1"):
        if number := getattr(signal, name, None):  # Windows lacks the second
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _seed_worker(number: int) -> None:
    """Seed a worker: Datasets may draw from numpy or Python, and all workers would draw alike."""
    _ignore_interrupts(number)
    seed_everything(torch.initial_seed() % 2**63)
