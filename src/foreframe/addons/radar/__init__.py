"""Forecasts of rain, and the formats and methods of radar meteorology.

Contributes the verbs `outlook` and `calibrate` with the calls `foreframe.outlook`, `outlooks` and
`calibrate`; the weights `radar`, the model `perturbed`, the head `mixture`, the baseline
`faded_motion`, nowcasts of pysteps, readers of ODIM HDF5 and GRIB, the locations of the service's
streams, and a method for pysteps.
"""

from pathlib import Path

from foreframe.base.verbs import Verb

WEIGHTS = Path(__file__).parent / "weights"

CALLS = "foreframe.addons.radar.outlook_calls"
OUTLOOK = Verb(
    "tell what is likely at locations or on a map",
    "foreframe.addons.radar.outlook_command",
    {"outlook": f"{CALLS}:outlook", "outlooks": f"{CALLS}:outlooks"},
)
CALIBRATE = Verb(
    "learn to correct the probabilities of members",
    "foreframe.addons.radar.calibrate_command",
    {"calibrate": f"{CALLS}:calibrate"},
)
