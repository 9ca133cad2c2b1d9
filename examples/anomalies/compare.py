"""How well what is unusual is found: python -m examples.anomalies.compare FILM...

The first half of each film is normal footage; into the second half events are put (`events.py`),
twice, in another order and at other places. Frame-level AUC and average precision of `foreframe
anomalies` and of what is free, over all frames of a film together.
"""

import json
import sys
import time
from argparse import ArgumentParser
from copy import deepcopy
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

import foreframe
from examples.anomalies.events import KINDS, with_events
from examples.anomalies.ranks import alarms_for, auc, average_precision
from foreframe.addons.anomalies.watching import PACE, SIDE, WARM_UP, Watch
from foreframe.clips.clip import in_seconds
from foreframe.clips.scaling import Scaling

FREE = ("persistence", "optical_flow", "dense_motion")
PICTURES = Scaling(0.0, 255.0)
SHARES = (0.25, 0.5, 0.75)


def grey(path: str, most: int) -> np.ndarray:
    """The first frames of a film, (T,H,W) uint8, reduced by whole pixels to what is looked at."""
    clip = foreframe.clips_from(path, colour="grey", cuts=False)[0]
    frames = clip.frames[0 : min(len(clip), most)][:, 0]
    side = -(-max(frames.shape[1:]) // SIDE)
    h, w = (n // side * side for n in frames.shape[1:])
    squares = frames[:, :h, :w].reshape(len(frames), h // side, side, w // side, side)
    return squares.mean(axis=(2, 4)).round().astype(np.uint8)


def rate_of(path: str) -> float:
    """Frames a second."""
    step = foreframe.clips_from(path, cuts=False)[0].step
    return 1 / in_seconds(step) if step is not None else PACE


def errors(name: str, film: np.ndarray) -> np.ndarray:
    """The mean squared error of forecasts one frame ahead, of each frame."""
    stream, scores, forecast = foreframe.Forecaster.load(name).stream(1), [0.0], None
    for frame in film:
        if forecast is not None:
            scores.append(float(np.square(forecast - frame.astype(np.float32)).mean()))
        forecast = np.asarray(stream.push(frame[None]), np.float32)[0, 0]
    return np.array(scores)


def differences(film: np.ndarray) -> np.ndarray:
    """The mean absolute difference of each frame from the one before."""
    apart = np.abs(np.diff(film.astype(np.float32), axis=0, prepend=film[:1]))
    return apart.mean(axis=(1, 2))


def foregrounds(film: np.ndarray, halves: list[np.ndarray]) -> list[np.ndarray]:
    """The largest connected area of foreground by OpenCV's MOG2 (Zivkovic 2004), as camera software
    uses it, of each frame of each second half, after the same first.
    """
    each = []
    for half in halves:
        background = cv2.createBackgroundSubtractorMOG2(detectShadows=False)
        areas = []
        for frame in (*film, *half):
            marks = cv2.medianBlur(background.apply(frame), 3)
            statistics = cv2.connectedComponentsWithStats(marks, connectivity=8)[2]
            areas.append(float(statistics[1:, cv2.CC_STAT_AREA].max(initial=0)))
        each.append(np.array(areas[len(film) :]))
    return each


def scores_of(film: np.ndarray, halves: list[np.ndarray], weights: str) -> list[np.ndarray]:
    """The scores of `foreframe anomalies` of each second half, after the same first."""
    watch = Watch(foreframe.Forecaster.load(weights), PICTURES)
    for frame in film:
        watch.look(frame[None])
    each = []
    for half in halves:
        own = deepcopy(watch)
        own.begin()
        each.append(np.array([own.look(frame[None])[0] for frame in half]))
    return each


def compared(path: str, other: np.ndarray, weights: list[str], most: int) -> dict:
    """Scores and labels of a film's events, by row."""
    film = grey(path, most)
    half, length = len(film) // 2, int(np.clip(len(film) // 52, 6, 25))
    made = [with_events(film[half:], other, length, np.random.default_rng(seed)) for seed in (0, 1)]
    halves, labels = [frames for frames, _ in made], [marked for _, marked in made]
    ways = {f"anomalies, {name}": partial(scores_of, film[:half], halves, name) for name in weights}
    ways["MOG2, largest area"] = partial(foregrounds, film[:half], halves)
    ways["frame difference"] = lambda: [differences(frames) for frames in halves]
    for name in (*FREE, *weights):
        ways[f"error of {name}"] = partial(lambda name: [errors(name, of) for of in halves], name)
    rows, seconds = {}, {}
    for row, way in ways.items():
        begun_at = time.process_time()
        rows[row] = way()
        seconds[row] = (time.process_time() - begun_at) / sum(map(len, halves))
    begun = slice(WARM_UP + 5, None)
    return {
        "seconds": seconds,
        "rate": rate_of(path),
        "labels": np.concatenate([marked[begun] for marked in labels]).tolist(),
        "scores": {
            row: np.concatenate([each[begun] for each in scores]).tolist()
            for row, scores in rows.items()
        },
    }


def table(films: dict[str, dict]) -> str:
    """AUC by row and kind, the mean over films; then AUC and average precision of all kinds, by
    film, over all films, and over all films after each film's scores were brought to 0 to 1; last
    the false alarms a day if the threshold of each film finds a share of its events.
    """
    lines = ["| | " + " | ".join(KINDS) + " | all | without freeze |", "|---" * 14 + "|"]
    rows = next(iter(films.values()))["scores"]
    for row in rows:
        cells = []
        for k in range(len(KINDS)):
            each = [auc(*_kind(film, row, k + 1)) for film in films.values()]
            cells.append(float(np.nanmean(each)))
        moving = [cell for cell, kind in zip(cells, KINDS, strict=True) if kind != "freeze"]
        shown = (*cells, np.mean(cells), np.mean(moving))
        lines.append(f"| {row} | " + " | ".join(f"{100 * cell:.0f}" for cell in shown) + " |")
    lines += ["", "| | AUC by film | over all | normalised | AP by film | over all | normalised |"]
    lines.append("|---" * 7 + "|")
    for row in rows:
        pairs = [_kind(film, row) for film in films.values()]
        scaled = [((s - s.min()) / max(1e-9, np.ptp(s)), y) for s, y in pairs]
        cells = []
        for measure in (auc, average_precision):
            together = [
                [np.concatenate(parts) for parts in zip(*each, strict=True)]
                for each in (pairs, scaled)
            ]
            cells += [np.mean([measure(*pair) for pair in pairs]), *(measure(*t) for t in together)]
        lines.append(f"| {row} | " + " | ".join(f"{100 * cell:.0f}" for cell in cells) + " |")
    lines += ["", "| | " + " | ".join(f"{share:.0%} of events found" for share in SHARES)]
    lines[-1] += " | core-ms a frame |"
    lines.append("|---" * (len(SHARES) + 2) + "|")
    for row in rows:
        cells = []
        for share in SHARES:
            daily = [
                alarms_for(np.array(film["scores"][row]), np.array(film["labels"]), share)
                * 86_400 * film["rate"] / len(film["labels"])
                for film in films.values()
            ]  # fmt: skip
            cells.append(f"{np.mean(daily):,.0f}")
        cells.append(f"{1000 * np.mean([film['seconds'][row] for film in films.values()]):.1f}")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _kind(film: dict, row: str, kind: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and whether they are of an event, of a kind of event and of normal frames."""
    labels, scores = np.array(film["labels"]), np.array(film["scores"][row])
    wanted = labels >= 0 if kind is None else (labels == 0) | (labels == kind)
    return scores[wanted], labels[wanted] > 0


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("films", nargs="+")
    parser.add_argument("--weights", nargs="+", default=["scenes"], help="what forecasts")
    parser.add_argument("--other", required=True, help="a film of which foreign objects are made")
    parser.add_argument("--most", type=int, default=600, help="frames of a film")
    parser.add_argument("--output", help=".json of all scores")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    films: dict[str, dict] = {}
    other = grey(asked.other, 200)[::10]
    for path in asked.films:
        films[Path(path).name] = compared(path, other, asked.weights, asked.most)
        print(Path(path).name, flush=True, file=sys.stderr)
        if asked.output:
            Path(asked.output).write_text(json.dumps(films))
    print(table(films))


if __name__ == "__main__":
    main()
