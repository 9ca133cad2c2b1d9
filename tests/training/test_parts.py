"""Objectives, schedules and the order of batches, each against something that is not us."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel

from foreframe import MovingMNIST, Scaling, Window
from foreframe.data.datasets import Stretches, clip_set
from foreframe.models import build_model, preset
from foreframe.training import LearningOptions
from foreframe.training.datamodule import KeyedBatches, ResumableLoader
from foreframe.training.module import ForecastModule
from foreframe.training.objectives import LOSSES, forecast, next_frames, shortened, truth_shares
from foreframe.training.optimizers import MovingAverage, learning_rate, onecycle_beta_1


def test_onecycle_equals_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-4, total_steps=201)
    for step in range(201):
        group = optimizer.param_groups[0]
        assert 5e-4 * learning_rate("onecycle", step / 200, step) == pytest.approx(
            group["lr"], rel=0.04, abs=1e-9
        )
        assert onecycle_beta_1(step / 200) == pytest.approx(group["betas"][0], abs=2e-3)
        optimizer.step()
        if step < 200:
            theirs.step()


def test_cosine_equals_torchs_and_warms_up() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=2.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
    for step in range(100):
        assert 2.0 * learning_rate("cosine", step / 100, step) == pytest.approx(
            optimizer.param_groups[0]["lr"]
        )
        optimizer.step()
        theirs.step()
    assert learning_rate("cosine", 1.0, 100) == pytest.approx(0)
    assert [learning_rate("constant", 0, step, warmup=4) for step in range(5)] == [
        0.25,
        0.5,
        0.75,
        1,
        1,
    ]


def test_wsd_warms_up_stays_and_falls() -> None:
    factors = [learning_rate("wsd", k / 10, k, warmup=2, decay=0.4) for k in range(11)]
    assert factors == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0])
    assert learning_rate("wsd", 0.5, 9, decay=1) == 0.5  # the end of a training, as one of its own


def test_a_moving_average_forgets_its_first_weights_soon() -> None:
    weight = torch.nn.Linear(1, 1, bias=False)
    average = AveragedModel(weight, **MovingAverage(0.5)._kwargs)
    for value in (4.0, 0.0, 0.0, 8.0):
        torch.nn.init.constant_(weight.weight, value)
        average.update_parameters(weight)
    first = 4.0 * 2 / 11 * 3 / 12  # (1 + n)/(10 + n), n = 1 and 2
    assert average.module.weight.item() == pytest.approx(first * 4 / 13 + 8 * 9 / 13)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"average": 1.0}, "average must be below 1, not 1.0"),
        ({"average": -0.1}, "average must be at least 0, not -0.1"),
        ({"decay": 1.5}, "decay must be at most 1, not 1.5"),
        ({"decay": 0.0}, "decay must be above 0, not 0.0"),
        ({"mae_share": 1.5}, "mae_share must be at most 1, not 1.5"),
    ],
)
def test_shares_that_cannot_be(options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LearningOptions(**options)


@pytest.mark.parametrize(("share", "best"), [(0.0, 0.3), (0.4, 1 / 6), (0.7, 0.0)])
def test_the_mix_forecasts_what_is_likely(share: float, best: float) -> None:
    """The best frame of pixels that are white in three of ten futures."""
    Y = torch.zeros(10, 1, 1, 1, 1)
    Y[:3] = 1
    module = ForecastModule(
        build_model("persistence", {}),
        Window(1, 1),
        LearningOptions(loss="mix", mae_share=share),
        {},
        {},
    )
    losses = [module._loss(torch.full_like(Y, k / 600), Y).item() for k in range(601)]
    assert np.argmin(losses) / 600 == pytest.approx(best, abs=2 / 600)


def test_the_relative_loss_equals_its_formula() -> None:
    """Reference: loops over clips, lead times and pairs of frames, by numpy."""
    rng = np.random.default_rng(0)
    P, Y = rng.random((2, 2, 4, 1, 5, 6))
    Y[1] = Y[1, :1] + 0.01 * Y[1]  # a clip that hardly changes
    Y[0, 1, 0, :2] = np.nan
    ratios = []
    for p, y in zip(P, Y, strict=True):
        change = [
            np.mean([np.nanmean((y[t + k] - y[t]) ** 2) for t in range(4 - k)]) for k in (1, 2, 3)
        ]
        change.append(max(change[2], 2 * change[2] - change[1]))
        ratios += [min(50, np.nanmean((p[k] - y[k]) ** 2) / (change[k] + 1e-5)) for k in range(4)]
    loss = LOSSES["relative"](torch.from_numpy(P), torch.from_numpy(Y))
    assert loss.item() == pytest.approx(np.mean(ratios))


def test_the_geometric_loss_equals_its_formula() -> None:
    rng = np.random.default_rng(0)
    P, Y = rng.random((2, 2, 3, 1, 5, 6))
    Y[0, 1, 0, :2] = np.nan
    errors = [np.nanmean((p - y) ** 2) for p, y in zip(P, Y, strict=True)]
    loss = LOSSES["geometric"](torch.from_numpy(P), torch.from_numpy(Y))
    assert loss.item() == pytest.approx(np.mean(np.log(1 + np.array(errors) / 1e-5)))


def test_the_rain_loss_equals_its_formula() -> None:
    """Reference: in mm/h, of a scaling from 0.5 to 100, clip by clip and frame by frame."""
    rng = np.random.default_rng(0)
    P, Y = rng.random((2, 2, 3, 1, 5, 6))
    Y[0, 1, 0, :2] = np.nan
    to_units = Scaling(0.5, 100, "mm/h", "log").to_units
    losses = []
    for p, y in zip(P.reshape(6, -1), Y.reshape(6, -1), strict=True):
        e, E = np.nanmean((p - y) ** 2), np.nanmean((to_units(p) - to_units(y)) ** 2) / 1e4
        losses.append((np.log1p(e / 1e-4) + np.log1p(E / 1e-6)) / 2)
    loss = LOSSES["rain"](torch.from_numpy(P), torch.from_numpy(Y))
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_shortened_clips_end_as_they_did() -> None:
    clips, window = torch.rand(2, 9, 1, 3, 3), Window(6, 3)
    torch.manual_seed(0)
    seen = [shortened(clips, window, 2) for _ in range(200)]
    lengths = [of.past for _, of in seen]
    assert set(lengths) == {2, 3, 4, 5, 6}
    assert min(map(lengths.count, set(lengths))) > 20
    for short, of in seen:
        assert of.future == 3
        assert torch.equal(short, clips[:, 6 - of.past :])
    for least in (0, 6, 8):
        assert shortened(clips, window, least) == (clips, window)


@pytest.mark.parametrize("past_share", [1.0, 0.5])
def test_scheduled_sampling_equals_a_plain_unrolling(past_share: float) -> None:
    """OpenSTL's loop, written out over the cells: frames of the past, then truth or own forecast by
    a mask, 19 losses' inputs; in reverse sampling the mask begins after the first frame.
    """
    torch.manual_seed(0)
    model = preset("openstl", core={"convlstm": {"hidden": [6, 6]}}).double()
    clips, window = torch.rand(3, 7, 1, 8, 8).double(), Window(4, 3)
    for share in (0.0, 0.5, 1.0):
        torch.manual_seed(5)
        made, truth, _ = next_frames(model, clips, window, share, past_share=past_share)
        torch.manual_seed(5)
        drawn = torch.rand(3, 6)
        true = torch.cat([drawn[:, :4] < past_share, drawn[:, 4:] < share], dim=1)
        h = [torch.zeros(3, 6, 2, 2).double() for _ in range(2)]
        c = [torch.zeros(3, 6, 2, 2).double() for _ in range(2)]
        expected, own = [], None
        for t in range(6):
            if t == 0:
                shown = clips[:, t]
            else:
                shown = torch.stack([clips[b, t] if true[b, t] else own[b] for b in range(3)])
            x = F.pixel_unshuffle(shown, 4)
            for k, cell in enumerate(model.encoder.cells):
                h[k], c[k] = cell(x, h[k], c[k])
                x = h[k]
            own = F.pixel_shuffle(F.conv2d(x, model.output.last.weight), 4)
            expected.append(own)
        torch.testing.assert_close(made, torch.stack(expected, 1))
        assert torch.equal(truth, clips[:, 1:])


def test_the_share_of_truth_falls_to_nothing() -> None:
    steps = (0, 1, 25_000, 50_000, 60_000)
    past, future = zip(*(truth_shares(step, 50_000, "forward") for step in steps), strict=True)
    assert future == pytest.approx([1, 1 - 2e-5, 0.5, 0, 0])
    assert {*past} == {1.0}


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


def test_some_clips_are_the_same_in_each_epoch() -> None:
    keys = KeyedBatches(24, 2, seed=0, by_epoch=True, among=[0, 7, 8, 23])
    for epoch in range(2):
        keys.set_epoch(epoch)
        seen = sorted(key for batch in keys for key in batch)
        assert seen == [(epoch, 0), (epoch, 7), (epoch, 8), (epoch, 23)]


@pytest.mark.parametrize("at_once", [1, 8, 100])
def test_each_stretch_of_a_stream_is_read_once(at_once: int) -> None:
    """40 stretches of 25 clips; with memory for 8, two processes read 4 at a time, each its own."""
    numbers = np.repeat(np.arange(40), 25)

    def batches(rank: int = 0, ranks: int = 1, skip: int = 0) -> list[list[int]]:
        near = Stretches(numbers, at_once)
        keys = KeyedBatches(1000, 10, 3, False, rank, ranks, near)
        keys.skip = skip
        return list(keys)

    def reads(of: list[list[int]], memory: int) -> list[int]:
        """The stretches that are read while so many, used last, are kept."""
        kept, found = [], []
        for number in (numbers[key] for batch in of for key in batch):
            found += [] if number in kept else [number]
            kept = [*(k for k in kept if k != number), number][-memory:]
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
def test_a_loader_goes_on_where_it_was(workers: int) -> None:
    data = MovingMNIST("train", canvas=30, clips=20, length=2)

    def loader() -> ResumableLoader:
        return ResumableLoader(data, KeyedBatches(20, 4, seed=0, by_epoch=True), workers)

    whole = loader()
    whole.keys.set_epoch(2)
    everything = list(whole)
    begun, resumed = loader(), loader()
    begun.keys.set_epoch(2)
    batches = iter(begun)
    seen = [next(batches) for _ in range(3)]
    resumed.load_state_dict(begun.state_dict())
    rest = list(resumed)
    assert len(rest) == 2
    assert all(torch.equal(a, b) for a, b in zip(everything, seen + rest, strict=True))
    assert whole.state_dict() == {"epoch": 2, "used": 5}


def test_truncated_gradients_reach_no_further() -> None:
    """The same forecast; what came before the last frames of the past has no gradient, and what is
    left is not nothing.
    """
    network, window = preset("tutorial", core={"convlstm": {"hidden": [3]}}), Window(5, 3)
    clips = torch.rand(2, 8, 1, 8, 8, requires_grad=True)
    whole, truth, _ = forecast(network, clips, window)
    cut, _, _ = forecast(network, clips, window, truncate=2)
    torch.testing.assert_close(cut, whole)
    (gradient,) = torch.autograd.grad((cut - truth.detach()).square().sum(), clips)
    assert (gradient[:, :3] == 0).all()
    assert (gradient[:, 3:5] != 0).any()


def test_truncated_gradients_of_every_next_frame() -> None:
    network, window = preset("openstl", core={"convlstm": {"hidden": [3]}}), Window(4, 4)
    clips = torch.rand(2, 8, 1, 8, 8, requires_grad=True)
    # With 3, what is known before frame 3, and that frame, is given.
    for truncate, seen in ((0, [0, 1, 2, 3, 4, 5]), (3, [4, 5])):
        P, _, _ = next_frames(network, clips, window, truth_share=1.0, truncate=truncate)
        (gradient,) = torch.autograd.grad(P[:, 5].sum(), clips)
        assert [t for t in range(8) if (gradient[:, t] != 0).any()] == seen


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
