#!/usr/bin/env bash
# The temperature example, from the folder of the repository:
#     examples/temperature/run.sh GRID
# where GRID is NetCDF, Zarr or .npz. About 15 minutes on two cores. Results lie in
# runs/temperature.
set -euo pipefail
export PATH="$PWD/.venv/bin:$PATH"
pip install --quiet --editable '.[flow]'  # optical flow, a rival in the table

foreframe data check "$1" --past 24 --future 24
foreframe train --config examples/temperature/temperature.yaml --data "$1" --run runs/temperature
foreframe evaluate runs/temperature --clips all --period 24
foreframe predict runs/temperature "$1" --steps 24 -o runs/temperature/tomorrow.nc
foreframe predict runs/temperature "$1" --after 700 --steps 24 -o runs/temperature/tomorrow.mp4
