"""Batches in a known order on every rank, from any point of any epoch."""

import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from foreframe.data import ClipSet, chosen


class KeyedBatches(Sampler):
    """Lists of keys, one list a batch: a pure function of (seed, epoch, rank), from batch `skip`
    on.

    Training shuffles, and drops the clips at the end that do not fill a batch on every rank. Where
    the dataset draws by epoch, keys are (epoch, index).
    """

    def __init__(
        self, n: int, batch_size: int, seed: int, by_epoch: bool, rank: int = 0, ranks: int = 1
    ) -> None:
        self.n, self.batch_size, self.seed, self.by_epoch = n, batch_size, seed, by_epoch
        self.rank, self.ranks = rank, ranks
        self.epoch = self.skip = 0

    def __len__(self) -> int:
        return self.n // (self.batch_size * self.ranks)

    @property
    def sampler(self) -> "KeyedBatches":
        """Where Lightning looks for what to tell of a new epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch; one that was begun already, and goes on after a resume, keeps its
        place.
        """
        if epoch != self.epoch:
            self.epoch, self.skip = epoch, 0

    def __iter__(self) -> Iterator[list[Any]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.n)
        first, self.skip = self.skip, 0
        for batch in range(first, len(self)):
            start = (batch * self.ranks + self.rank) * self.batch_size
            keys = order[start : start + self.batch_size].tolist()
            yield [(self.epoch, key) for key in keys] if self.by_epoch else keys


class ResumableLoader(DataLoader):
    """A DataLoader that knows how many batches of which epoch were used, so that Lightning keeps
    that in its checkpoints.
    """

    def __init__(self, clips: ClipSet, keys: KeyedBatches, workers: int) -> None:
        self.keys, self.used = keys, 0
        # Workers' seeds come from a generator of their own, begun anew with each epoch: the model's
        # random numbers are left alone.
        super().__init__(
            Batches(clips, compact=True),
            batch_sampler=keys,
            collate_fn=torch.as_tensor,
            num_workers=workers,
            worker_init_fn=_seed_worker,
            generator=torch.Generator(),
            pin_memory=torch.cuda.is_available(),
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.used = self.keys.skip
        self.generator.manual_seed(
            _seed(self.keys.seed, self.keys.epoch, self.keys.rank, self.keys.skip)
        )
        for batch in super().__iter__():
            self.used += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.keys.epoch, "used": self.used}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.keys.epoch, self.keys.skip = state["epoch"], state["used"]


class Batches(Dataset):
    """Asked by a DataLoader for the items of a batch, it gives the batch."""

    def __init__(self, of: ClipSet, compact: bool = False) -> None:
        self.of, self.compact = of, compact

    def __getitems__(self, keys: list[Any]) -> Shaped[Tensor, "b t c h w"]:
        return self.of.compact(keys) if self.compact else self.of.batch(keys)


def training_batches(
    train: ClipSet, batch_size: int, workers: int, seed: int, rank: int = 0, ranks: int = 1
) -> ResumableLoader:
    """The batches of one rank, in 8 bits where the clips are.

    Raises:
        ValueError: there is not one whole batch for each rank; from the batches, items that are not
            clips.
    """
    keys = KeyedBatches(len(train), batch_size, seed, train.by_epoch, rank, ranks)
    if len(keys) == 0:
        raise ValueError(
            f"{len(train)} training clips do not fill one batch of {batch_size} on each of {ranks} "
            "processes"
        )
    return ResumableLoader(train, keys, workers)


class Clips(L.LightningDataModule):
    """Training and validation clips of any Datasets that give (T,C,H,W)."""

    def __init__(
        self,
        train: ClipSet,
        validation: ClipSet,
        batch_size: int,
        workers: int,
        seed: int,
        validation_clips: int,
        validated_at_once: int | None = None,
    ) -> None:
        super().__init__()
        self.train, self.validation = train, validation
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.validated = chosen(validation, validation_clips)
        self.validated_at_once = validated_at_once or batch_size

    def train_dataloader(self) -> ResumableLoader:
        assert self.trainer is not None
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        return training_batches(self.train, self.batch_size, self.workers, self.seed, rank, ranks)

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        """In the network's floats, where they are used; what came in 8 bits in [0,1]."""
        clips = batch.to(torch.float32).div_(255) if batch.dtype == torch.uint8 else batch
        assert self.trainer is not None
        return clips.to(self.trainer.lightning_module.dtype)

    def val_dataloader(self) -> DataLoader:
        """Each rank scores its own share, and no clip twice: padding a share would change the
        mean.
        """
        assert self.trainer is not None
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        # In order, in as many batches on every rank, since ranks wait for each other.
        if len(self.validated) < ranks:
            raise ValueError(
                f"{len(self.validated)} validation clips are too few for {ranks} processes; use "
                "fewer --devices"
            )
        count = -(-len(self.validated) // (self.validated_at_once * ranks))
        parts = np.array_split(np.arange(len(self.validated))[rank::ranks], count)
        return DataLoader(
            Batches(self.validation),
            batch_sampler=[[self.validated[k] for k in part] for part in parts if len(part)],
            collate_fn=torch.as_tensor,
            num_workers=self.workers,
            worker_init_fn=_own_signals,
            generator=torch.Generator().manual_seed(self.seed),
        )


def seed_everything(*key: int) -> None:
    """Seed torch, numpy and Python with one number made of `key`."""
    seed = _seed(*key)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence([abs(k) for k in key]).generate_state(1)[0])


def _own_signals(_: int) -> None:
    """Ctrl-C reaches all processes of a terminal; the training process alone answers it, and ends
    its workers by SIGTERM.

    torch's workers end when their parent changes, and so never do where it was killed before they
    first looked who that is.
    """
    parent = multiprocessing.parent_process()
    if (
        multiprocessing.get_start_method() == "fork"
        and parent is not None
        and os.getppid() != parent.pid
    ):
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _seed_worker(number: int) -> None:
    """Datasets of others may draw from numpy or Python: without this every worker would draw the
    same.
    """
    _own_signals(number)
    seed_everything(torch.initial_seed() % 2**63)
