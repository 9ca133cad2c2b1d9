"""foreframe calibrate"""

from foreframe.addons.radar.outlook_options import CalibrateOptions
from foreframe.base.progress import progress
from foreframe.cli.parser import Parser
from foreframe.models.names import check_forecaster


def calibrate_run(run: str, *, options: CalibrateOptions) -> None:
    """Learn how to correct the probabilities of a run's members: foreframe calibrate RUN

    Learns from validation clips, writes calibration.json into RUN, and prints scores before and
    after on test clips. `foreframe outlook` then uses it.

    Args:
        run: a run's folder, or a saved folder
    """
    check_forecaster(run)

    from foreframe.addons.radar.calibrating import calibrate

    with progress("the calibration"):
        scores = calibrate(run, options)
    print(scores)


def parser() -> Parser:
    common = "data reading members thresholds clips seed device precision budget"
    return Parser("calibrate", calibrate_run, common=common)
