"""Forecasts of rain, and the formats and methods of radar meteorology.

Contributes the weights `radar`, the model `perturbed`, the head `mixture`, the baseline
`faded_motion`, nowcasts of pysteps, readers of ODIM HDF5 and GRIB, and a method for pysteps.
"""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
