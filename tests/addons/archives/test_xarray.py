"""`ds.foreframe` beside the calls that it stands for, in memory and in Dask's chunks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array
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


def nothing_is_computed() -> Any:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("Dask was asked to compute")

    return dask.config.set(scheduler=refuse)


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    """But for the moment at which they were made, which `history` tells."""
    for made in (one, other):
        about = made.attrs.pop("history")
        assert "foreframe" in about
        made.attrs["history"] = about.partition("Z: ")[2]
    xr.testing.assert_identical(one, other)


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
    for source in (rain, rain.chunk(time=3)):
        source.foreframe.forecast(members).to_netcdf(tmp_path / "future.nc")
        with xr.open_dataset(tmp_path / "future.nc") as future:
            assert future.rain.attrs["units"] == "mm/h"
            assert future.crs.attrs == rain.crs.attrs
            assert future.attrs["institution"] == "ours"
            xr.testing.assert_equal(future.y.variable, rain.y.variable)
            assert future.y.attrs["units"] == "m"
            assert future.lead.attrs["standard_name"] == "forecast_period"
            own = foreframe.predict(members, rain).frames[:, 0]
            np.testing.assert_array_equal(future.rain.values[0], own)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"members": 2, "seed": 3, "after": 6},
        {"reading": {"coarsen": 2, "every": 2}},
    ],
    ids=str,
)
def test_chunks_are_forecast_when_they_are_asked_for(
    rain: xr.Dataset, members: Forecaster, options: dict[str, Any]
) -> None:
    with nothing_is_computed():
        later = rain.chunk(time=3, x=5).foreframe.forecast(members, steps=2, **options)
    (name,) = foreframe.addons.archives.xarray.of_starts(later)
    assert later[name].chunks is not None
    same(later.compute(), rain.foreframe.forecast(members, steps=2, **options))


@pytest.mark.filterwarnings("ignore::foreframe.base.notes.Note")  # of the gap
def test_chunks_after_a_gap_and_without_times(rain: xr.Dataset, members: Forecaster) -> None:
    for source in (rain.drop_vars("time"), rain.isel(time=[0, 1, 2, 3, 5, 6, 7, 8])):
        with nothing_is_computed():
            later = source.chunk(time=1).foreframe.forecast(members)
        same(later.compute(), source.foreframe.forecast(members))


def test_no_more_is_read_than_is_looked_at(rain: xr.Dataset, members: Forecaster) -> None:
    read: list[int] = []

    def seen(values: np.ndarray, block_id: tuple[int, ...]) -> np.ndarray:
        read.append(block_id[0])
        return values

    chunks = rain.rain.chunk(time=1)
    source = rain.assign(rain=chunks.copy(data=chunks.data.map_blocks(seen, dtype=chunks.dtype)))
    read.clear()  # Dask tries the function
    later = source.foreframe.forecast(members)
    assert read == []
    later.compute()
    assert {*read} == {6, 7, 8, 9}


def test_chunks_begin_after_the_last_frame(rain: xr.Dataset, members: Forecaster) -> None:
    """Whether it has values is not known yet."""
    rain = rain.assign(rain=rain.rain.where(rain.time < rain.time[9]))
    later = rain.chunk(time=2).foreframe.forecast(members)
    assert later.start.values[0] == rain.time.values[9]
    assert np.isfinite(later.rain.values[..., 8:, 8:]).all()


def test_a_dataset_is_evaluated(rain: xr.Dataset, members: Forecaster) -> None:
    given = {"split": "all", "clips": 1, "baselines": ["persistence"]}
    own = foreframe.evaluate(members, rain, **given)["scores"]
    scores = rain.chunk(time=3).foreframe.evaluate(members, **given)["scores"]
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
def test_a_mistake_is_told_at_once(
    rain: xr.Dataset, members: Forecaster, options: dict[str, Any], line: str
) -> None:
    for source in (rain, rain.chunk(time=3)):
        with pytest.raises(ValueError, match=line):
            source.foreframe.forecast(members, **options)
