"""Forecasts of rain, and the formats and methods of radar meteorology.

Contributes the verbs `outlook` and `calibrate` with the calls `foreframe.outlook`, `outlooks` and
`calibrate`. It also contributes the weights `radar`, the model `perturbed`, the head `mixture` and
the baseline `faded_motion`. Readers take ODIM HDF5 and GRIB. The nowcasts of pysteps become
baselines, and foreframe a nowcasting method of pysteps. The service forecasts at locations.
"""

from pathlib import Path

from foreframe.base.verbs import Verb

WEIGHTS = Path(__file__).parent / "weights"

OUTLOOK = Verb(
    "forecast at locations, or probabilities on a map",
    "foreframe.addons.radar.outlook_command",
    {
        "outlook": "foreframe.addons.radar.outlook:outlook",
        "outlooks": "foreframe.addons.radar.outlook:outlooks",
    },
)
CALIBRATE = Verb(
    "learn to correct the probabilities of members",
    "foreframe.addons.radar.calibrate_command",
    {"calibrate": "foreframe.addons.radar.calibrating:calibrate"},
)
