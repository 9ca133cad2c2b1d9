#!/usr/bin/env bash
# The radar example from beginning to end, from the folder of the repository:
#     examples/radar/run.sh ARCHIVES
# About 40 minutes on two cores. Results lie in runs/radar.
set -euo pipefail
export PATH="$PWD/.venv/bin:$PATH"
pip install --quiet --editable '.[flow]'  # OpenCV's optical flow
test=runs/radar-data/test/mch_rain_20160711.nc

python examples/radar/prepare.py "$1" runs/radar-data
foreframe data check runs/radar-data/test --reading.variable rain
foreframe train --config examples/radar/scenes.yaml --data examples.scenes.Scenes --run runs/generated
foreframe train --config examples/radar/radar.yaml --weights runs/generated --run runs/radar
foreframe evaluate runs/radar --clips 6 --batch_size 1 --match guide --thresholds "[1,5]"
# One hour that began before midnight on 11 July 2016, whole frames of 640 x 710 km.
foreframe predict runs/radar "$test" --after 25 --steps 12 -o runs/radar/future.mp4
foreframe predict runs/radar "$test" --after 25 --steps 12 -o runs/radar/future.nc
foreframe predict runs/radar "$test" --every 2 --steps 12 -o runs/radar/rolling.nc
