#!/usr/bin/env bash
# The camera example from beginning to end, from the folder of the repository:
#     examples/camera/run.sh FILM
# About 20 minutes on two cores. Results lie in runs/camera.
set -euo pipefail
export PATH="$PWD/.venv/bin:$PATH"
pip install --quiet --editable '.[flow]'  # OpenCV's optical flow

foreframe data check "$1"
foreframe train --config examples/camera/camera.yaml --data "$1" --run runs/camera
foreframe evaluate runs/camera --clips all
python examples/camera/mean_frame.py runs/camera
foreframe predict runs/camera "$1" --after 700 --steps 10 -o runs/camera/future.mp4
foreframe predict runs/camera "$1" --every 10 --steps 10 -o runs/camera/rolling.mp4
