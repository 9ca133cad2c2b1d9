"""The order of training clips, loaders that resume, and random numbers of worker processes."""

import numpy as np
import pytest
import torch

from foreframe import MovingMNIST
from foreframe.data.datasets import Stretches, clip_set
from foreframe.training.datamodule import KeyedBatches, ResumableLoader


def test_ranks_share_an_epoch_and_epochs_differ() -> None:
    def keys(rank: int, ranks: int, epoch: int, batch_size: int) -> list:
        batches = KeyedBatches(24, batch_size, seed=3, by_epoch=True, rank=rank, ranks=ranks)
        batches.set_epoch(epoch)
        return [key for batch in batches for key in batch]

    for ranks in (1, 2, 4):
        shares = [keys(rank, ranks, 1, 8 // ranks) for rank in range(ranks)]
        assert sorted(key for share in shares for key in share) == [(1, k) for k in range(24)]
        first = [key for share in shares for key in share[: 8 // ranks]]
        assert first == keys(0, 1, 1, 8)[:8]
    assert keys(0, 1, 1, 8) != [(1, key) for _, key in keys(0, 1, 0, 8)]


def test_selected_clips_are_the_same_in_each_epoch() -> None:
    keys = KeyedBatches(24, 2, seed=0, by_epoch=True, among=[0, 7, 8, 23])
    for epoch in range(2):
        keys.set_epoch(epoch)
        drawn = sorted(key for batch in keys for key in batch)
        assert drawn == [(epoch, 0), (epoch, 7), (epoch, 8), (epoch, 23)]


@pytest.mark.parametrize("at_once", [1, 8, 100])
def test_each_stretch_of_a_stream_is_read_once(at_once: int) -> None:
    """40 stretches of 25 clips; with memory for 8, two processes read 4 at a time, each its own."""
    numbers = np.repeat(np.arange(40), 25)

    def batches(rank: int = 0, ranks: int = 1, skip: int = 0) -> list[list[int]]:
        near = Stretches(numbers, at_once)
        keys = KeyedBatches(1000, 10, 3, False, rank, ranks, near)
        keys.skip = skip
        return list(keys)

    def reads(some: list[list[int]], memory: int) -> list[int]:
        """The stretches that are read if the last ones used stay in memory."""
        cached, found = [], []
        for number in (numbers[key] for batch in some for key in batch):
            found += [] if number in cached else [number]
            cached = [*(k for k in cached if k != number), number][-memory:]
        return found

    whole = batches()
    assert sorted(key for batch in whole for key in batch) == list(range(1000))
    assert whole == batches()
    assert whole[7:] == batches(skip=7)
    assert [whole[0::2], whole[1::2]] == [batches(0, 2), batches(1, 2)]
    assert sorted(reads(whole, at_once)) == list(range(40))
    if at_once == 8:
        halves = [reads(whole[k::2], 4) for k in range(2)]  # of two loader processes
        assert sorted(halves[0] + halves[1]) == list(range(40))
        assert min(len({numbers[key] for key in batch}) for batch in whole) > 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_resumes_after_its_last_batch(workers: int) -> None:
    data = MovingMNIST("train", canvas=30, clips=20, length=2)

    def loader() -> ResumableLoader:
        keys = KeyedBatches(20, 4, seed=0, by_epoch=True)
        keys.set_epoch(2)
        return ResumableLoader(data, keys, workers)

    whole, begun, resumed = loader(), loader(), loader()
    everything, batches = list(whole), iter(begun)
    first = [next(batches) for _ in range(3)]
    resumed.load_state_dict(begun.state_dict())
    rest = list(resumed)
    assert len(rest) == 2
    assert all(torch.equal(a, b) for a, b in zip(everything, first + rest, strict=True))
    assert whole.state_dict() == {"epoch": 2, "used": 5}


def test_worker_processes_draw_anew_each_epoch_and_rank() -> None:
    class Drawn(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, _: int) -> torch.Tensor:
            return torch.rand(2, 1, 2, 2)

    def epoch(number: int, rank: int) -> torch.Tensor:
        loader = ResumableLoader(clip_set(Drawn()), KeyedBatches(4, 2, 0, False, rank, 2), 1)
        loader.keys.set_epoch(number)
        return next(iter(loader))

    first = epoch(0, 0)
    assert torch.equal(epoch(0, 0), first)
    assert not torch.equal(epoch(1, 0), first)
    assert not torch.equal(epoch(0, 1), first)
