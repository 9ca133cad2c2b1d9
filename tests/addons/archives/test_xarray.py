"""`ds.foreframe` does the same as the calls that it stands for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import foreframe
import foreframe.addons.archives.xarray
import standins
from foreframe import Forecaster, Scaling, Window
from foreframe.models import build_model

RAIN = Scaling(0, 20, "mm/h", "minmax")


@pytest.fixture
def rain(tmp_path: Path) -> Iterator[xr.Dataset]:
    """Ten frames of 16x16 as a file has them, with a projection and a corner without values."""
    standins.rain(tmp_path / "rain.nc", frames=10, side=16)
    with xr.open_dataset(tmp_path / "rain.nc") as opened:
        yield opened


@pytest.fixture
def members() -> Forecaster:
    return Forecaster(build_model("lagged", {"of": "dense_motion", "lags": 3}), Window(4, 3), RAIN)


def test_a_dataset_forecasts_as_predict_does(rain: xr.Dataset, members: Forecaster) -> None:
    made = rain.foreframe.forecast(members, steps=2, members=3, seed=5)
    own = foreframe.predict(members, rain, steps=2, members=3, seed=5)
    assert made.rain.dims == ("start", "realization", "lead", "y", "x")
    np.testing.assert_array_equal(made.rain.values[0], own.frames[:, :, 0])
    assert made.start.values[0] == rain.time.values[-1]
    array = rain.rain.foreframe.forecast(members, steps=2, members=3, seed=5)
    np.testing.assert_array_equal(array.rain.values, made.rain.values)


def test_attributes_and_places_go_through_a_file(
    rain: xr.Dataset, members: Forecaster, tmp_path: Path
) -> None:
    rain = rain.assign_attrs(institution="ours")
    rain.foreframe.forecast(members).to_netcdf(tmp_path / "future.nc")
    with xr.open_dataset(tmp_path / "future.nc") as future:
        assert future.rain.attrs["units"] == "mm/h"
        assert future.crs.attrs == rain.crs.attrs
        assert future.attrs["institution"] == "ours"
        xr.testing.assert_equal(future.y.variable, rain.y.variable)
        assert future.y.attrs["units"] == "m"
        assert future.lead.attrs["standard_name"] == "forecast_period"
        own = foreframe.predict(members, rain).frames[:, 0]
        np.testing.assert_array_equal(future.rain.values[0], own)


def test_a_dataset_is_evaluated(rain: xr.Dataset, members: Forecaster) -> None:
    given = {"split": "all", "clips": 1, "baselines": ["persistence"]}
    own = foreframe.evaluate(members, rain, **given)["scores"]
    scores = rain.foreframe.evaluate(members, **given)["scores"]
    assert json.dumps(scores) == json.dumps(own)  # in which NaN is equal to itself


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"stpes": 3}, "no argument 'stpes'; did you mean steps"),
        ({"every": 3}, "for foreframe.predict: this is one"),
        ({"after": 99}, "has frames 0 to 9"),
        ({"reading": {"variable": "snow"}}, "no variable snow"),
    ],
)
def test_a_mistake_is_refused(
    rain: xr.Dataset, members: Forecaster, options: dict[str, Any], line: str
) -> None:
    with pytest.raises(ValueError, match=line):
        rain.foreframe.forecast(members, **options)
