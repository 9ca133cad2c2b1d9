"""`foreframe.outlook`, `foreframe.outlooks` and `foreframe.calibrate`."""

import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from foreframe.addons.radar.outlook_options import CalibrateOptions, OutlookOptions
from foreframe.api import Run, takes
from foreframe.forecasting.forecast_options import changed

if TYPE_CHECKING:
    from foreframe.addons.radar.outlook import Outlook
    from foreframe.forecasting.forecaster import Forecaster


@takes(OutlookOptions)
def outlook(
    what: "Forecaster | Run | str | os.PathLike[str]",
    source: Any,
    output: str | os.PathLike[str] | None = None,
    options: OutlookOptions | None = None,
    **changes: Any,
) -> "Outlook":
    """Forecast what is likely at locations or on a map, as `foreframe outlook` does.

        print(foreframe.outlook("radar", "rain.nc", at="47.38,8.54").points[0].sentence())

    Args:
        what: a run, a forecaster, or what `Forecaster.load` takes.
        source: a recording, or several, as in `foreframe.predict`.
        output: a file to write; by default none.
        options, changes: the fields of `OutlookOptions` by name, or an object that they change.

    Raises:
        ValueError: as loading, opening, forecasting and writing do; no such location.
    """
    options = changed(options or OutlookOptions(), changes)
    from foreframe.addons.radar.outlook import find_outlook

    return find_outlook(what, source, output, options)


@takes(OutlookOptions)
def outlooks(
    what: "Forecaster | Run | str | os.PathLike[str]",
    source: str,
    options: OutlookOptions | None = None,
    **changes: Any,
) -> Generator["Outlook", None, None]:
    """The outlook after every frame of a live input, as `foreframe outlook --wait` prints it.

        for outlook in foreframe.outlooks("radar", "rain.nc", at="47.38,8.54", every=6):
            print(outlook.points[0].sentence())

    Args:
        what, options, changes: as in `outlook`.
        source: as in `foreframe.stream`.

    Raises:
        ValueError: as `outlook`.
    """
    options = changed(options or OutlookOptions(), changes)
    from foreframe.addons.radar.outlook import follow_outlooks

    yield from follow_outlooks(what, source, options)


@takes(CalibrateOptions)
def calibrate(
    run: str | os.PathLike[str], options: CalibrateOptions | None = None, **changes: Any
) -> str:
    """Learn how to correct the probabilities of a run's members, as `foreframe calibrate` does.

        print(foreframe.calibrate("runs/members", thresholds=[1.0, 5.0]))

    Args:
        run: a run's or a saved folder, in which the file calibration.json is written.
        options, changes: the fields of `CalibrateOptions` by name, or an object that they change.

    Returns:
        The scores before and after on test clips, in words.

    Raises:
        ValueError: no folder; as `foreframe.evaluate`.
    """
    options = changed(options or CalibrateOptions(), changes)
    from foreframe.addons.radar.calibrating import learn_calibration

    return learn_calibration(run, options)
