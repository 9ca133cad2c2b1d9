"""From a file through `foreframe predict` and back into xarray: what the file said of itself, its
forecast says too.

    forecast = predicted(source, tmp_path)
    assert_said_again(forecast, given, "t2m")   # `given`: an xarray Dataset that says what must be
    assert_follows_cf(forecast)                 # the verdict of IOOS's compliance checker
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from foreframe import Forecaster, Scaling, Window
from foreframe.cli import main
from foreframe.models import build_model

PAST, STEPS = 3, 2


def predicted(source: str | Path, folder: Path, *options: str, ending: str = ".nc") -> Path:
    """The forecast of `STEPS` frames by persistence that the command writes, from the last `PAST`
    frames of a file in any units.
    """
    run, output = folder / "persistence", folder / f"forecast{ending}"
    model = Forecaster(build_model("persistence"), Window(PAST, STEPS), Scaling(0, 1, "", "minmax"))
    model.save(run)
    assert main(["predict", str(run), str(source), "-o", str(output), *options]) == 0
    return output


def opened(path: str | Path, **options: Any) -> xr.Dataset:
    """A file as xarray reads it, in memory."""
    engine = "zarr" if str(path).endswith(".zarr") else "netcdf4"
    options = {"chunks": None, "decode_timedelta": True, **options}
    with xr.open_dataset(path, engine=engine, **options) as dataset:
        return dataset.load()


def attributes(variable: Any) -> dict[str, Any]:
    """Attributes that can be compared."""
    return {
        key: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for key, value in variable.attrs.items()
    }


def assert_said_again(
    forecast: str | Path, given: xr.Dataset, variable: str, added: Iterable[str] = ()
) -> None:
    """The forecast has the variable with its attributes, and every coordinate and grid mapping of
    `given` that does not run along time: dimensions, order, values, attributes, all equal.

    Args:
        forecast: a file that `predicted` gave.
        given: what the source says, as xarray has it.
        variable: of both.
        added: attributes that the forecast has beyond the source's; those of axes are expected.
    """
    made = opened(forecast)
    time = given[variable].dims[0]
    assert made[variable].dims == given[variable].dims
    assert {k: v for k, v in attributes(made[variable]).items() if k not in added} == attributes(
        given[variable]
    )
    for name, coordinate in given[variable].coords.items():
        if time in coordinate.dims:
            continue
        assert name in made.coords, name
        assert made[name].dims == coordinate.dims, name
        np.testing.assert_array_equal(made[name].values, coordinate.values, err_msg=str(name))
        said = attributes(made[name])
        assert said.items() >= attributes(coordinate).items(), name
        assert said.keys() <= {*coordinate.attrs, "axis", *added}, name
    mapping = given[variable].attrs.get(
        "grid_mapping", given[variable].encoding.get("grid_mapping")
    )
    if mapping:
        assert mapping not in made.coords  # by CF a grid mapping is no coordinate
        assert attributes(made[mapping]) == attributes(given[mapping])
    # Persistence is the last frame again: plain arithmetic needs the same coordinates in the same
    # order.
    last = given[variable].isel({time: -1}, drop=True)
    for step in range(STEPS):
        frame = made[variable].isel({time: step}, drop=True)
        np.testing.assert_allclose(frame.values, last.values, rtol=1e-5, atol=1e-5)
    assert made.forecast_reference_time.values == given[time].values[-1]
    steps = made.forecast_period.values
    np.testing.assert_array_equal(made.forecast_reference_time.values + steps, made[time].values)


def complaints(path: str | Path) -> list[str]:
    """What IOOS's compliance checker finds against a NetCDF file by CF, none of it from the net."""
    from compliance_checker.runner import CheckSuite

    CheckSuite.load_all_available_checkers()
    suite = CheckSuite()
    version = opened(path).attrs["Conventions"].removeprefix("CF-")
    (scores,) = suite.run_all(suite.load_dataset(str(path)), [f"cf:{version}"], []).values()
    groups, broken = scores
    assert not broken, broken
    # A group that asks for nothing (0 of 0) has remarks, not complaints.
    return [
        f"{group.name}: {message}"
        for group in groups
        if group.value[0] < group.value[1]
        for message in group.msgs or ["not met"]
    ]


def assert_follows_cf(path: str | Path, apart: str = "") -> None:
    """No error and no warning.

    Args:
        path: of a NetCDF file.
        apart: words of a complaint that is meant, which must still be there.
    """
    found = complaints(path)
    assert [complaint for complaint in found if not apart or apart not in complaint] == []
    assert not apart or found, f"{apart} is no longer complained about"
