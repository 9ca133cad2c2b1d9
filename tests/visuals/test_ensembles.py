"""What a report shows of ensembles says in which units it is."""

import io

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from foreframe.evaluation.metrics import ensemble_scores
from foreframe.visuals.ensemble_panels import _crps, _ranks, _spectra, _spread, ensembles_png


def scored(units: str, members: int = 5) -> dict:
    truth = torch.rand(2, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    made = torch.rand(2, members, 3, 1, 32, 32, generator=torch.Generator().manual_seed(1)) / 10
    return ensemble_scores(made, truth, units, to_units=lambda values: 20 * values)


@pytest.mark.parametrize(("units", "said"), [("mm/h", "mm/h"), ("", "values from 0 to 1")])
def test_errors_have_units(units: str, said: str) -> None:
    of = {"model": scored(units)}
    for draw in (_crps, _spread):
        axis = Figure().subplots()
        draw(axis, of)
        assert axis.get_ylabel() == said


def test_power_is_on_a_logarithmic_axis_even_of_blank_members() -> None:
    truth = torch.rand(2, 3, 1, 32, 32)
    blank = ensemble_scores(torch.zeros(2, 5, 3, 1, 32, 32), truth)
    for of in (scored(""), blank):
        axis = Figure().subplots()
        _spectra(axis, {"model": of})
        assert axis.get_yscale() == "log"
        low, high = axis.get_ylim()
        assert 0 < low < 1 < high
        with Image.open(io.BytesIO(ensembles_png({"model": of}))) as picture:
            assert picture.width > 500


def test_ranks_are_shares_of_members() -> None:
    axis = Figure().subplots()
    _ranks(axis, {"model": scored(""), "lagged": scored("", 3)})
    assert "share of members below the truth" in axis.get_xlabel()
    for patch, members in zip(axis.patches, (5, 3), strict=True):
        edges = patch.get_data().edges
        assert (edges[0], edges[-1], len(edges)) == (0, 1, members + 2)
