#!/usr/bin/env bash
# PredRNN (Wang et al. 2017; preset `predrnn_small`).
source "$(dirname "$0")/rules.sh"
train "$run" 40 --config unet_small --model predrnn_small
