#!/usr/bin/env bash
# SimVP (Gao et al. 2022; preset `simvp_small`).
source "$(dirname "$0")/rules.sh"
train "$run" 40 --config unet_small --model simvp_small
