#!/usr/bin/env bash
# Sprites: at most two rigid things on black. The motion learns from simulated trajectories, the last
# picture from pictures of digits.
source "$(dirname "$0")/rules.sh"
here=$(dirname "$0")
train "$run/search" 22 --config sprites --average 0.995
python "$here/../zoo/motion.py" "$run/motion" --weights "$run/search" --digits "$digits" --minutes 8 --clips 3000
python "$here/../zoo/last_picture.py" "$run/last_picture" --weights "$run/motion" --digits "$digits" --minutes 4 --clips 1200
