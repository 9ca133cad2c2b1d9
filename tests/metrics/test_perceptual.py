"""MS-SSIM and LPIPS against outsiders; of which frames there are such scores."""

import sys
from urllib.error import URLError

import pytest
import torch
import torchvision
from fields import pair
from skimage.metrics import structural_similarity
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure as torchmetrics_ms_ssim,
)
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

from foreframe.evaluation.metrics import Scorecard, scores_of
from foreframe.evaluation.metrics.scorecard import Score
from foreframe.evaluation.metrics.structural import lpips


def scored(score: Score, P: Tensor, Y: Tensor) -> list[float]:
    """The score of each lead time, of a batch that has missing values or none."""
    card = Scorecard(P.shape[1], {"standard": {"it": score}})
    card.update(P, Y)
    return card.table()["standard"]["it"]["per_lead"]


def large(side: int = 176) -> dict[str, Score]:
    return scores_of(side=side)["standard"]


def outsiders(x: Tensor, y: Tensor) -> float:
    """The MS-SSIM of one channel: contrasts at four scales by torchmetrics, and SSIM at the
    coarsest by scikit-image, as torchmetrics also counts windows there that leave the frame.
    """
    finer = (0.0448, 0.2856, 0.3001, 0.2363, 0.0)
    contrast = torchmetrics_ms_ssim(x[None, None], y[None, None], data_range=1.0, betas=finer)
    coarse = [one.unflatten(1, (-1, 16)).unflatten(0, (-1, 16)).mean(dim=(1, 3)) for one in (x, y)]
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = structural_similarity(*(one.numpy() for one in coarse), data_range=1.0, **gaussian)
    return float(contrast) * max(ssim, 0) ** 0.1333


def test_ms_ssim_is_that_of_outsiders() -> None:
    """The last lead time is the negative, whose contrasts are below 0."""
    P, Y = pair(b=1, t=3, h=176, w=208)
    P[:, 2] = 1 - Y[:, 2]
    expected = [
        sum(outsiders(P[0, t, c].clamp(0, 1), Y[0, t, c]) for c in range(2)) / 2 for t in range(3)
    ]
    got = scored(large()["ms_ssim"], P, Y)
    assert got == pytest.approx(expected, abs=2e-5)
    assert 0.3 < got[0] < 0.95
    assert got[2] == 0


def test_ms_ssim_is_of_frames_with_room_for_five_scales() -> None:
    assert "ms_ssim" not in scores_of()["standard"]
    assert "ms_ssim" not in large(160)
    _, Y = pair(b=1, t=2, c=1, h=161, w=163)
    assert scored(large(161)["ms_ssim"], Y, Y) == pytest.approx([1, 1], abs=1e-6)


def test_frames_with_a_gap_have_no_ms_ssim() -> None:
    P, Y = pair(b=2, t=2, c=1, h=161, w=161)
    alone = scored(large()["ms_ssim"], P[1:], Y[1:])
    Y[0, :, 0, 3, 3] = torch.nan
    assert scored(large()["ms_ssim"], P, Y) == pytest.approx(alone)


@pytest.fixture
def drawn_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """AlexNet's weights are drawn, and not downloaded: its scores then mean nothing, but are equal
    wherever they are computed. Only what LPIPS looks at is there.
    """

    def alexnet(weights: object) -> torch.nn.Module:
        assert weights is not None  # those that are asked for
        torch.manual_seed(0)
        with torch.device("meta"):
            whole = real(weights=None)
        whole.features.to_empty(device="cpu").apply(
            lambda layer: layer.reset_parameters() if hasattr(layer, "reset_parameters") else None
        )
        return whole

    real = torchvision.models.alexnet
    monkeypatch.setattr(torchvision.models, "alexnet", alexnet)


@pytest.mark.usefixtures("drawn_weights")
@pytest.mark.parametrize("channels", [1, 3])
def test_lpips_is_that_of_torchmetrics(channels: int) -> None:
    P, Y = pair(b=2, t=2, c=channels, h=40, w=64)
    theirs = LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
    score = lpips("alex", channels, 40)
    rgb = (P.clamp(0, 1).expand(-1, -1, 3, -1, -1), Y.expand(-1, -1, 3, -1, -1))
    expected = [theirs(*(X[:, t] for X in rgb)).item() for t in range(2)]
    assert scored(score, P, Y) == pytest.approx(expected, rel=1e-4)
    assert min(expected) > 1e-4
    assert scored(score, Y, Y) == pytest.approx([0, 0], abs=1e-7)
    Y[0, 0, 0, 3, 3] = torch.nan
    known = theirs(*(X[1:, 0] for X in rgb)).item()
    assert scored(score, P, Y) == pytest.approx([known, expected[1]], rel=1e-4)


def test_what_lpips_needs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for channels, side in ((2, 64), (3, 31)):
        with pytest.raises(
            ValueError, match="requires films of 1 or 3 channels, and 32 pixels or more a side"
        ):
            lpips("alex", channels, side)

    def offline(**_: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torchvision.models, "vgg16", offline)
    with pytest.raises(ValueError, match=r"^lpips vgg: its weights cannot be downloaded \(<urlop"):
        lpips("vgg", 3, 64)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(
        ValueError, match=r"^lpips alex needs torchvision; pip install 'foreframe\["
    ):
        lpips("alex", 3, 64)
