"""The training loop of motion.py and last_picture.py: one network of `sprites`; the others stay."""

import argparse
import copy
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import foreframe
from foreframe.addons.zoo.sprites import Sprites
from foreframe.training.optimizers import Muon

AVERAGE, WARMUP, DECAY = 0.995, 50, 0.7
CLIPS = 200  # of the validation at the end

Loss = tuple[Tensor, Sequence[float]]  # of a step, and the numbers that the log has


def options_of(program: str | None) -> argparse.ArgumentParser:
    """The options that both programs have."""
    parser = argparse.ArgumentParser(
        description=program, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--digits", default="mini", help="digits of MovingMNIST")
    parser.add_argument("--weights", default="moving-mnist", help="weights to start from")
    parser.add_argument("--minutes", type=float, default=10, help="processor time")
    parser.add_argument("--rate", type=float, default=4e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def loaded(weights: str) -> tuple[foreframe.Forecaster, Sprites]:
    forecaster = foreframe.Forecaster.load(weights)
    model = forecaster.model.eval()
    if not isinstance(model, Sprites):
        raise ValueError(f"weights {weights} are not of sprites")
    return forecaster, model


def learn(
    forecaster: foreframe.Forecaster,
    name: str,
    loss_of: Callable[[nn.Module], Loss],
    options: argparse.Namespace,
) -> None:
    """Train the network `name` of a forecaster's model and save the forecaster with the average of
    the weights: at each line of the log, and at the end with a score of validation clips.

    Args:
        loss_of: draws a batch, and returns the network's loss and numbers for the log.
    """
    network = getattr(forecaster.model, name).requires_grad_(True)
    average = copy.deepcopy(network)
    setattr(forecaster.model, name, average)
    optimizer = Muon(network, options.rate, (0.9, 0.98), 0.01, 0.9)
    start, step, shown = time.process_time(), 0, 0.0
    while (done := (time.process_time() - start) / 60 / options.minutes) < 1:
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(1, (step + 1) / WARMUP, (1 - done) / DECAY)
        loss, numbers = loss_of(network)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        with torch.no_grad():
            for mean, last in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(last, 1 - min(AVERAGE, step / (step + 20)))
        if done >= shown:
            print(f"{step} steps: {', '.join(f'{n:.3f}' for n in numbers)}", flush=True)
            forecaster.save(options.out)
            shown += 0.05
    forecaster.save(options.out)
    clips = foreframe.MovingMNIST("validation", digits=options.digits, clips=CLIPS)
    scores = foreframe.evaluate(forecaster, clips, clips="all", baselines=[])["scores"]["model"]
    line = json.dumps({"step": step, "seconds": time.process_time(), "scores": scores})
    (Path(options.out) / "validation.jsonl").write_text(line + "\n", encoding="utf-8")
    mse = scores["openstl"]["mse"]["overall"]
    print(f"{step} steps, MSE {mse:.1f} of {CLIPS} validation clips: {options.out}")
