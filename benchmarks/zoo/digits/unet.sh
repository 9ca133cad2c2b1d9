#!/usr/bin/env bash
# A U-Net: convolutions over all frames at once (preset `unet_small`).
source "$(dirname "$0")/rules.sh"
train "$run" 40 --config unet_small
