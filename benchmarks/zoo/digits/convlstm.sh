#!/usr/bin/env bash
# ConvLSTM (Shi et al. 2015) on patches of 4x4 pixels (preset `quick`).
source "$(dirname "$0")/rules.sh"
train "$run" 40 --config unet_small --model quick
