"""Estimates the limit of Moving MNIST: the least squared error of ten frames, given ten.

    python benchmarks/zoo/digits/limit.py [--clips N] [--digits FILE] [--json FILE]

Positions are whole pixels of a continuous motion, so past frames do not determine future ones. The
script uses the digits of test clips and their exact past positions. For each digit it draws
trajectories from the exact posterior: all starts and angles that lead to its past positions, in the
proportions of the generator. The forecast is the mean of the frames drawn at their positions, which
has the least expected squared error. For comparison, a second posterior treats the axes as
independent: each axis has only its own past.

The posterior is computed as follows. Given the frame in which a digit first touches a wall, its
positions before are linear in start and speed, and those after depend on the speed alone. So past
positions are linear constraints. They leave an interval of angles, and at each angle an interval of
starts on each axis. The density of an angle is the product of the lengths of these two intervals.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foreframe import MovingMNIST
from foreframe.data.moving_mnist import _clamped_track
from foreframe.evaluation.metrics import SCORES, EnsembleScorecard, Scorecard
from foreframe.evaluation.metrics.bootstrap import interval, resampled

PAST, FUTURE = 10, 10
ROOM, SPEED = 36, 0.1  # pixels that a digit can move; the share of them that it moves in a frame
MEMBERS = 16
CELLS, TOGETHER = 100, 8  # cells of an interval of angles; clips in memory at a time
TINY = 1e-9  # makes the upper end of a pixel exclusive

# A case of an axis is the direction of the start and the frame of the first wall (PAST + 1: later).
FRAMES = np.arange(1, PAST + 1)
WALL = np.tile(np.arange(1, PAST + 2), 2)
REVERSED = np.repeat([False, True], PAST + 1)
# The frames of a case's constraints on the start: those of the past, of the wall, and 0.
LOWER_AT, UPPER_AT = (
    np.column_stack([np.tile(FRAMES, (len(WALL), 1)), wall, 0 * wall]) for wall in (WALL, WALL - 1)
)


class Axis(NamedTuple):
    """Starts of digits on one axis that lead to their past positions, if the wall ahead is at 1 and
    the speed is within its bounds: max(lower - at * speed) <= start <= min(upper - at * speed).
    """

    lower: Float[np.ndarray, "digits cases constraints"]
    upper: Float[np.ndarray, "digits cases constraints"]
    speeds: Float[np.ndarray, "slowest_and_fastest digits cases"]

    def starts(self, digit: np.ndarray, case: np.ndarray, speed: np.ndarray) -> list[np.ndarray]:
        """Return the lowest and the highest start, (n, speeds), of n digits in n cases."""
        lower = self.lower[digit, case][:, None] - LOWER_AT[case][:, None] * speed[..., None]
        upper = self.upper[digit, case][:, None] - UPPER_AT[case][:, None] * speed[..., None]
        return [lower.max(axis=-1), upper.min(axis=-1)]


def axis_of(low: Float[np.ndarray, "digits past"], high: Float[np.ndarray, "digits past"]) -> Axis:
    """Return the starts for past positions between low and high, as shares of the range."""
    reverse = REVERSED[:, None]
    low, high = (
        np.where(reverse, mirrored, ahead[:, None])
        for ahead, mirrored in ((low, 1 - high[:, None]), (high, 1 - low[:, None]))
    )
    since = FRAMES - WALL[:, None]  # frames since the wall
    one = np.ones((*low.shape[:2], 1))
    wall = np.where(WALL[:, None] <= PAST, one, -np.inf)
    lower = np.concatenate([np.where(since < 0, low, -np.inf), wall, 0 * one], axis=-1)
    upper = np.concatenate([np.where(since < 0, high, np.inf), one, one], axis=-1)
    apart = UPPER_AT[:, None] - LOWER_AT[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        # No lower constraint is above an upper one, and after the wall positions are
        # 1 - since * speed.
        speed = (upper[:, :, None] - lower[..., None]) / apart
        slowest = np.where(apart < 0, speed, 0).max(axis=(-2, -1))
        fastest = np.where(apart > 0, speed, SPEED).min(axis=(-2, -1))
        slowest = np.maximum(slowest, np.where(since > 0, (1 - high) / since, 0).max(axis=-1))
        fastest = np.minimum(fastest, np.where(since > 0, (1 - low) / since, SPEED).min(axis=-1))
    at_wall = ((since != 0) | ((low <= 1) & (high >= 1))).all(axis=-1)
    return Axis(lower, upper, np.stack([slowest, np.where(at_wall, fastest, 0)]))


def posterior(
    past: Int[np.ndarray, "digits axes past"], n: int, random: np.random.Generator
) -> Int[np.ndarray, "digits n axes frames"]:
    """Draw n trajectories of each digit, given its past positions; those on an axis are unknown if
    they are negative.
    """
    low = np.where(past < 0, -np.inf, past / ROOM)
    high = np.where(past < 0, np.inf, (past + 1) / ROOM - TINY)
    axes = [axis_of(low[:, i], high[:, i]) for i in (0, 1)]
    # Angles from 0 to a right angle: speeds are SPEED * sine for rows, SPEED * cosine for columns.
    rows, columns = (np.arcsin(np.clip(axis.speeds / SPEED, 0, 1)) for axis in axes)
    least = np.maximum(rows[0][:, :, None], np.pi / 2 - columns[1][:, None])
    most = np.minimum(rows[1][:, :, None], np.pi / 2 - columns[0][:, None])
    digit, *cases = np.nonzero(least < most)
    least, most = (angle[digit, *cases, None] for angle in (least, most))
    angle = least + (most - least) * (np.arange(CELLS) + random.random((len(digit), CELLS))) / CELLS
    speeds = SPEED * np.stack([np.sin(angle), np.cos(angle)])
    starts = np.stack([axes[i].starts(digit, cases[i], speeds[i]) for i in (0, 1)])
    lengths = np.maximum(starts[:, 1] - starts[:, 0], 0)
    weight = (most - least) * lengths[0] * lengths[1]
    weight /= np.bincount(digit, weight.sum(axis=1))[digit, None]
    # Each digit has a weight of 1, so its draws lie between its number and the next one.
    draws = np.arange(len(past))[:, None] + random.random((len(past), n))
    chosen = np.searchsorted(weight.cumsum(), draws).clip(max=weight.size - 1)
    row, cell = np.divmod(chosen, CELLS)
    lowest, highest = starts[:, :, row, cell].swapaxes(0, 1)
    start = lowest + (highest - lowest) * random.random(lowest.shape)
    back = REVERSED[np.stack(cases)[:, row]]
    start = np.where(back, 1 - start, start)
    speed = np.where(back, -1, 1) * speeds[:, row, cell]
    start, speed = np.moveaxis(start, 0, -1), np.moveaxis(speed, 0, -1)
    track = _clamped_track(start, speed, PAST + FUTURE)
    drawn = (track * ROOM).astype(np.int64)
    if not ((drawn[..., :PAST] == past[:, None]) | (past < 0)[:, None]).all():
        raise RuntimeError("a trajectory of the posterior does not lead to the past positions")
    return drawn


Values = Float[Tensor, " leads_and_overall_and_resamples"]
"""A score by lead time, over all lead times, and over all of them for resampled clips."""


class Limit:
    """Scores of the posterior given both axes, or each axis alone."""

    def __init__(self, independent: bool, samples: int) -> None:
        self.independent, self.samples = independent, samples
        scores = {
            "standard": {name: SCORES["standard"][name] for name in ("mae", "ssim")},
            "openstl": {name: SCORES["openstl"][name] for name in ("mse", "mae", "ssim")},
        }
        self.mean = Scorecard(FUTURE, scores)
        self.median = Scorecard(FUTURE, {"openstl": {"mae": SCORES["openstl"]["mae"]}})
        self.members = EnsembleScorecard(FUTURE, MEMBERS, only=("fair_crps", "spread_skill"))
        self.wrong: list[np.ndarray] = []

    def add(
        self, films: MovingMNIST, true: np.ndarray, which: np.ndarray, random: np.random.Generator
    ) -> None:
        """Score clips with these true positions (B, 2 digits, 2 axes, T) and digit images."""
        past = true[..., :PAST].reshape(-1, 2, PAST)
        if self.independent:
            alone = [np.where(np.arange(2)[:, None] == i, past, -1) for i in (0, 1)]
            each = [posterior(alone[i], self.samples, random)[:, :, i] for i in (0, 1)]
            drawn = np.stack(each, axis=2)
        else:
            drawn = posterior(past, self.samples, random)
        future = drawn[..., PAST:].reshape(-1, 2, self.samples, 2, FUTURE)
        counts = np.stack([(future == place).sum(axis=2) for place in range(ROOM + 1)])
        self.wrong.append(np.abs(counts.argmax(axis=0) - true[..., PAST:]))
        many = future.swapaxes(1, 2).reshape(-1, 2, 2, FUTURE)
        frames = frames_at(films, many, which.repeat(self.samples, axis=0))
        frames = frames.unflatten(0, (-1, self.samples))
        moves = frames.amin(dim=1) != frames.amax(dim=1)
        samples = frames.movedim(1, -1)[moves]
        mean, median = frames[:, 0].float(), frames[:, 0].float()
        mean[moves] = samples.float().mean(dim=-1)
        median[moves] = samples.median(dim=-1).values.float()
        truth = frames_at(films, true[..., PAST:], which) / 255
        self.mean.update(mean / 255, truth)
        self.median.update(median / 255, truth)
        self.members.update(frames[:, :MEMBERS] / 255, truth)

    def scores(self) -> dict[str, Values]:
        """Return all scores by name."""
        # The truth is one more sample of the posterior. So the squared error of the mean of n
        # samples is (n + 1) / n times that of the exact mean.
        unbiased = self.samples / (self.samples + 1)
        crps = scored(self.members, "standard", "fair_crps")
        wrong = np.concatenate(self.wrong)
        return {
            "MSE": unbiased * scored(self.mean, "openstl", "mse"),
            "MAE": scored(self.mean, "openstl", "mae"),
            "MAE of the median": scored(self.median, "openstl", "mae"),
            "SSIM (standard)": scored(self.mean, "standard", "ssim"),
            "SSIM (openstl)": scored(self.mean, "openstl", "ssim"),
            "fair CRPS, times 1,000": 1000 * crps,
            "fair CRPS / MAE": crps / scored(self.mean, "standard", "mae"),
            "spread / skill": scored(self.members, "standard", "spread_skill"),
            "exact positions": share(wrong == 0),
            "at most one pixel wrong": share(wrong <= 1),
        }


def frames_at(films: MovingMNIST, positions: np.ndarray, which: np.ndarray) -> Tensor:
    """Draw frames in 0..255 for positions (B, digits, 2 axes, T)."""
    return films._frames((positions[:, :, 0], positions[:, :, 1]), which)


def scored(card: Scorecard, convention: str, name: str) -> Values:
    """Return a score of a scorecard."""
    score = card.scores[convention][name]
    (values,), _ = resampled([card.by_clip(convention, name)], score.value, range(card.clips))
    return torch.cat([torch.tensor(card.table()[convention][name]["per_lead"]).double(), values])


def share(right: Bool[np.ndarray, "clips digits axes t"]) -> Values:
    """Return the share of positions that are right."""
    by_clip = torch.from_numpy(right.mean(axis=(1, 2, 3)))
    (values,), _ = resampled([by_clip[None]], lambda total: total / len(right), range(len(right)))
    return torch.cat([torch.from_numpy(right.mean(axis=(0, 1, 2))), values])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=2000, help="number of test clips, 5 or more")
    parser.add_argument("--samples", type=int, default=256, help="trajectories for each clip")
    parser.add_argument("--digits", default="mini", help="digits of MovingMNIST")
    parser.add_argument("--seed", type=int, default=0, help="seed of the trajectories")
    parser.add_argument("--json", type=Path, help="file to write the scores to")
    options = parser.parse_args()
    clips = MovingMNIST("test", options.digits, clips=options.clips, length=PAST + FUTURE)
    films = MovingMNIST("test", options.digits, length=FUTURE)
    keys, which = clips._keys(range(options.clips))
    true = np.stack(clips.positions(keys), axis=2)
    written: dict[str, Any] = {key: vars(options)[key] for key in ("digits", "clips", "samples")}
    leads = " | ".join(f"+{lead}" for lead in range(1, FUTURE + 1))
    print(f"| {options.clips:,} clips | overall | 95 % | {leads} |\n{'|---' * (FUTURE + 3)}|")
    for name, independent in (("both axes", False), ("independent axes", True)):
        limit, random = Limit(independent, options.samples), np.random.default_rng(options.seed)
        for first in range(0, options.clips, TOGETHER):
            some = slice(first, first + TOGETHER)
            limit.add(films, true[some], which[some], random)
        written[name] = {}
        for score, values in limit.scores().items():
            low, high = interval(values[FUTURE + 1 :], options.clips)
            numbers = [values[FUTURE].item(), low, high, *values[:FUTURE].tolist()]
            overall, low, high, *per_lead = (float(f"{number:.6g}") for number in numbers)
            written[name][score] = {"overall": overall, "95 %": [low, high], "per_lead": per_lead}
            cells = [f"{number:#.3g}" for number in numbers]
            row = [f"{name}: {score}", cells[0], f"{cells[1]} to {cells[2]}", *cells[3:]]
            print(f"| {' | '.join(row)} |")
    print(f"{time.process_time() / 60:.1f} core-minutes")
    if options.json:
        options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
