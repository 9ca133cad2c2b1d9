"""Units, however they are spelt: CF, UDUNITS and pint say which are one."""

import numpy as np
import pytest
import xarray as xr

from foreframe import Clip, Forecaster, Scaling, Window, clips_from
from foreframe.clips.units import _parsed, conversion, same_unit
from foreframe.data import Recordings
from foreframe.models import build_model
from foreframe.visuals import paint_for
from foreframe.visuals.colours import RAIN_STEPS

RAIN = """
    mm/h, mm h-1, mm h**-1, mm h^-1, mm hr^-1, mm hr-1, mm/hr, mm hour-1, mm/hour, mm per hour,
    mm.h-1, mm h⁻¹, mm·h⁻¹, millimeters/hour, mm / h, kg-1 kg mm h-1
"""
FIELD = np.random.default_rng(0).uniform(0, 9, (6, 1, 5, 4)).astype(np.float32)


@pytest.mark.parametrize("units", [units.strip() for units in RAIN.split(",")])
def test_rain_is_one_unit_in_every_spelling(units: str) -> None:
    assert same_unit(units, "mm/h")
    assert same_unit("mm/h", units)
    paint = paint_for("auto", 0, 1, units)
    assert (paint.name, paint.steps, paint.shown_units, paint.factor) == (
        "radar",
        RAIN_STEPS,
        "mm/h",
        1,
    )
    forecaster = Forecaster(build_model("persistence"), Window(3, 2), Scaling(0, 10, "mm h-1"))
    future = forecaster.predict(Clip(FIELD, units=units), 2)
    assert future.units == units  # the unit that the file had is what comes out
    np.testing.assert_allclose(future.frames[1], FIELD[-1], rtol=1e-5)


SAME = """
    K = kelvin; K = degK; degC = °C; degC = degrees_Celsius; C = celsius; hPa = mb;
    kg m-2 s-1 = kg/m2/s; kg m**-2 s**-1 = kg.m-2.s-1; W m-2 = W/m²; m2 s-2 = J kg-1;
    % = percent; 1 = kg kg-1; 1e-3 kg m-3 = g m-3; ug m-3 = µg m-3; knots = kt;
    dBZ = DBZ; d BZ = dbz; anything else = Anything Else; K, m/s = kelvin, m s-1
"""


@pytest.mark.parametrize(("a", "b"), [pair.strip().split(" = ") for pair in SAME.split(";")])
def test_other_spellings(a: str, b: str) -> None:
    assert same_unit(a, b)
    assert same_unit(b, a)


@pytest.mark.parametrize(
    ("a", "b", "how"),
    [
        ("degC", "K", "K = degC + 273.15"),
        ("K", "degC", "degC = K - 273.15"),
        ("m/s", "mm/h", "mm/h = m/s * 3.6e+06"),
        ("hPa", "Pa", "Pa = hPa * 100"),
        ("degF", "degC", "degC = degF * 0.555556 - 17.7778"),
        ("0.1 mm", "mm", "mm = 0.1 mm * 0.1"),
        ("mm", "Mm", "Mm = mm * 1e-09"),
        ("dBZ", "mm/h", ""),
        ("kg m-2 s-1", "mm/h", ""),
        ("K", "K, m/s", ""),
        ("(0 - 1)", "1", ""),
        ("", "K", ""),
    ],
)
def test_what_is_not_the_same(a: str, b: str, how: str) -> None:
    assert not same_unit(a, b)
    assert not same_unit(b, a)
    assert conversion(a, b) == how


@pytest.mark.parametrize(
    "text",
    ["9**9**9**9", "minute**9999999", "m**1e9", "7**m", "(" * 5000, "import os", "1/0", "\x00"],
)
def test_whatever_a_file_calls_its_unit_is_only_text(text: str) -> None:
    assert _parsed(text) is None  # and nothing was computed that takes for ever
    assert not same_unit(text, "K")


def test_other_units_are_refused_with_the_conversion() -> None:
    forecaster = Forecaster(build_model("persistence"), Window(3, 2), Scaling(250, 310, "K"))
    why = r"^a\.nc is in degC, but this was trained on K: convert it first \(K = degC \+ 273\.15\)$"
    with pytest.raises(ValueError, match=why):
        forecaster.predict(Clip(FIELD, units="degC", name="a.nc"), 2)
    with pytest.raises(
        ValueError, match=r"^a\.nc is in m, but this was trained on K: convert it first$"
    ):
        forecaster.predict(Clip(FIELD, units="m", name="a.nc"), 2)


def hourly(path, first: int, units: str) -> None:
    times = np.datetime64("2026-01-01", "ns") + np.arange(first, first + 6) * np.timedelta64(1, "h")
    xr.Dataset(
        {"rain": (("time", "y", "x"), FIELD[:, 0], {"units": units})}, {"time": times}
    ).to_netcdf(path)


def test_files_in_two_spellings_are_one_data_set_and_in_two_units_none(tmp_path) -> None:
    hourly(tmp_path / "a.nc", 0, "mm/h")
    hourly(tmp_path / "b.nc", 6, "mm h-1")
    assert [len(clip) for clip in clips_from(tmp_path)] == [6, 6]
    hourly(tmp_path / "c.nc", 12, "m s-1")
    why = r"c\.nc is in m s-1, but .*a\.nc in mm/h: convert it first \(mm/h = m s-1 \* 3\.6e"
    with pytest.raises(ValueError, match=why):
        Recordings(tmp_path, "all", Window(2, 1))
    (tmp_path / "c.nc").unlink()
    assert (
        Recordings(tmp_path, "all", Window(2, 1), Scaling(0, 10, "mm hr-1")).scaling.units
        == "mm hr-1"
    )
    with pytest.raises(
        ValueError, match=r"is in mm/h, but the scaling is for K: convert it first$"
    ):
        Recordings(tmp_path, "all", Window(2, 1), Scaling(250, 310, "K"))
