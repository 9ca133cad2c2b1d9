"""Calibrates the future places of `sprites`: divides their log-probabilities by a temperature.

    OMP_NUM_THREADS=1 python benchmarks/zoo/temperature.py OUT --digits mnist_train.npz

Temperature scaling (Guo et al. 2017, arXiv 1706.04599) of the motion network, as part of the
weights of its last layer. It takes the lowest temperature with which 16 members of the validation
clips have a spread/skill ratio of at least SPREAD, and prints the scores of each that it tries.
"""

import argparse
import sys

import torch
from learning import loaded

import foreframe

TEMPERATURES = 1.0, 1.03, 1.06, 1.1, 1.15
SPREAD = 0.96


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--digits", default="mini", help="digits of MovingMNIST")
    parser.add_argument("--weights", default="moving-mnist", help="weights to start from")
    parser.add_argument("--clips", type=int, default=240, help="validation clips")
    options = parser.parse_args()
    forecaster, model = loaded(options.weights)
    clips = foreframe.MovingMNIST("validation", digits=options.digits, clips=options.clips)
    layer, past = model.motion.last, model.frames * model.places.count
    learnt = layer.weight.detach().clone(), layer.bias.detach().clone()
    for temperature in TEMPERATURES:
        with torch.no_grad():
            for parameter, values in zip((layer.weight, layer.bias), learnt, strict=True):
                parameter[past:] = values[past:] / temperature
        card = foreframe.evaluate(forecaster, clips, clips="all", members=16, baselines=[])
        mean, members = card["scores"]["model"], card["ensemble"]["model"]["scores"]["standard"]
        mae, mse = (
            mean[by][name]["overall"] for by, name in (("standard", "mae"), ("openstl", "mse"))
        )
        crps, spread = members["fair_crps"]["overall"], members["spread_skill"]["overall"]
        print(f"{temperature}: MSE {mse:.2f}, CRPS/MAE {crps / mae:.3f}, spread/skill {spread:.3f}")
        if spread >= SPREAD:
            forecaster.save(options.out)
            print(f"temperature {temperature}: {options.out}")
            return 0
    print(f"no temperature up to {TEMPERATURES[-1]} reaches {SPREAD}; nothing was saved")
    return 1


if __name__ == "__main__":
    sys.exit(main())
