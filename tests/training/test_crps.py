"""The loss of ensembles."""

import pytest
import torch

from foreframe.training.objectives import FAIR, crps


def by_hand(x: torch.Tensor, y: torch.Tensor) -> float:
    """Of members (m) and one truth, pair by pair."""
    m = len(x)
    error = sum(abs(float(a - y)) for a in x) / m
    if m == 1:
        return error
    apart = sum(abs(float(a - b)) for a in x for b in x)
    return error - (1 - (1 - FAIR) / m) / (2 * m * (m - 1)) * apart


@pytest.mark.parametrize("m", [1, 2, 5])
def test_it_is_the_almost_fair_crps_of_means_over_several_scales(m: int) -> None:
    torch.manual_seed(m)
    P, Y = torch.rand(2 * m, 3, 1, 6, 8), torch.rand(2, 3, 1, 6, 8)
    h, w = Y.shape[-2:]

    def means(sides: tuple[int, int]) -> list[float]:
        """Of each clip, lead time and rectangle of these sides."""
        y, x = sides
        return [
            by_hand(
                P[m * clip : m * clip + m, t, 0, i : i + y, j : j + x].mean((1, 2)),
                Y[clip, t, 0, i : i + y, j : j + x].mean(),
            )
            for clip in range(2)
            for t in range(3)
            for i in range(0, h, y)
            for j in range(0, w, x)
        ]

    pixels, pairs, whole = means((1, 1)), means((2, 2)), means((h, w))
    mean = [sum(of) / len(of) for of in (pixels, pairs, whole)]
    wanted = (1 * mean[0] + 2 * mean[1] + 3 * mean[2]) / 6  # half of a side of 6 is 3
    assert float(crps(P, Y, [1, 2, 8])) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("holes", [False, True])
def test_coarse_means_are_of_finer_ones_or_of_pixels_alike(holes: bool) -> None:
    """Each side alone is taken of pixels, together with others of their means; 6 of 4 is not."""
    torch.manual_seed(3)
    P, Y = torch.rand(4, 2, 1, 18, 20), torch.rand(2, 2, 1, 18, 20)
    if holes:
        Y[torch.rand(Y.shape) < 0.3] = torch.nan
    sides = [1, 2, 3, 4, 6, 8, 12]
    whole = float(crps(P, Y, []))  # of the whole frame alone, which counts as half a side of 18
    alone = [((k + 9) * float(crps(P, Y, [k])) - 9 * whole) / k for k in sides]
    wanted = sum(k * one for k, one in zip(sides, alone, strict=True)) + 9 * whole
    assert float(crps(P, Y, sides)) == pytest.approx(wanted / (sum(sides) + 9), rel=1e-5)


def test_missing_values_count_for_nothing() -> None:
    torch.manual_seed(0)
    P, Y = torch.rand(4, 2, 1, 8, 16, requires_grad=True), torch.rand(2, 2, 1, 8, 16)
    Y[:, :, :, :, 8:] = torch.nan
    loss = crps(P, Y)
    torch.testing.assert_close(loss, crps(P[..., :8], Y[..., :8]))
    loss.backward()
    assert (P.grad[..., 8:] == 0).all()
    assert (P.grad[..., :8] != 0).any()
    assert float(crps(P.detach(), torch.full_like(Y, torch.nan))) == 0


def test_forecasts_that_are_no_members_of_these_clips() -> None:
    with pytest.raises(ValueError, match="3 forecasts are not as many for each of 2 clips"):
        crps(torch.rand(3, 1, 1, 4, 4), torch.rand(2, 1, 1, 4, 4))
