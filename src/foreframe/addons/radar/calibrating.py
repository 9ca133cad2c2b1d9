"""`foreframe.calibrate`: learn how to correct probabilities."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from foreframe.addons.radar.calibration import (
    FILE,
    Calibration,
    Diagrams,
    chances_of,
    diagrams,
    fitted,
    on_lines,
    write_calibration,
)
from foreframe.addons.radar.outlook_options import CalibrateOptions
from foreframe.api import takes
from foreframe.base.schema import typed
from foreframe.base.wording import plural
from foreframe.data import batches, chosen
from foreframe.evaluation.score_options import EvaluateOptions
from foreframe.evaluation.scored import Scored, open_scored
from foreframe.forecasting.forecast_options import changed

BLURS = (0.0, 0.125, 0.25, 0.5)  # pixels per frame ahead; the best is used
WIDE = (0.5, 0.25)  # deviations of a and b from 0 and 1; many cases outweigh them
ENOUGH = 200  # cases of a class of a reliability diagram


@takes(CalibrateOptions)
def calibrate(
    run: str | os.PathLike[str], options: CalibrateOptions | None = None, **changes: Any
) -> str:
    """Learn how to correct the probabilities of a run's members, as `foreframe calibrate` does.

        print(foreframe.calibrate("runs/members", thresholds=[1.0, 5.0]))

    Args:
        run: a run's or a saved folder, in which the file calibration.json is written.
        options, changes: the fields of `CalibrateOptions` by name, or an object that they change.

    Returns:
        The scores before and after on test clips, in words.

    Raises:
        ValueError: no folder; as `foreframe.evaluate`.
    """
    options = changed(options or CalibrateOptions(), changes)
    folder = Path(run)
    if not folder.is_dir():
        raise ValueError(f"{run} is no folder: calibrate needs a run, and writes {FILE} into it")
    how = EvaluateOptions(**asdict(options), split="test")
    scored, learning = (
        open_scored(folder, replace(how, split=split)) for split in ("test", "validation")
    )
    calibration = learnt(reliability(learning))
    write_calibration(folder, calibration, learning.forecaster.model)
    lines = [
        f"{FILE}, learnt from {plural(_clips(learning), 'validation clip')}, is in {folder}. On "
        f"{plural(_clips(scored), 'clip')} of {scored.where.get('split', 'the data')}:"
    ]
    units = scored.forecaster.scaling.units
    for threshold, by_blur in reliability(scored).items():
        after = on_calibration(by_blur[calibration.blur], calibration, threshold)
        pairs = zip(quality(by_blur[0.0]), quality(after), strict=True)
        (brier, brier_after), (gap, gap_after) = pairs
        lines.append(
            f"{threshold:g} {units} or more: Brier score {brier:.4g}, then {brier_after:.4g}; "
            f"farthest from reliable {gap:.2f}, then {gap_after:.2f}"
        )
    return "\n".join(line.replace("  ", " ") for line in lines)


Reliability = Mapping[float, Mapping[float, Diagrams]]  # by threshold and blur


def reliability(scored: Scored) -> Reliability:
    """Return the reliability of the shares of members, by threshold and blur, over some clips."""
    steps = scored.forecaster.window.future
    made: dict[float, dict[float, Any]] = {threshold: {} for threshold in scored.options.thresholds}
    for members, truth in _members(scored):
        for threshold, by_blur in made.items():
            for blur in BLURS:
                found = diagrams(chances_of(members, threshold, blur), truth, threshold, steps)
                by_blur[blur] = by_blur.get(blur, 0) + found
    return made


def _clips(scored: Scored) -> int:
    return len(chosen(scored.dataset, scored.options.limit))


def _members(
    scored: Scored,
) -> Iterator[tuple[Float[np.ndarray, "m s c h w"], Float[np.ndarray, "s c h w"]]]:
    """Yield members and truth of each clip, in the data's units."""
    forecaster, options, window = scored.forecaster, scored.options, scored.forecaster.window
    which = chosen(scored.dataset, options.limit)
    how = {name: getattr(options, name) for name in ("members", "precision", "budget")}
    for clip, batch in zip(which, batches(scored.dataset, 1, among=which), strict=True):
        both = window.split(forecaster.scaling.to_units(batch))
        past, truth = (part[0].numpy() for part in both)
        made = forecaster.predict(past, window.future, seed=options.seed + clip, **how)
        yield made, truth[:, : made.shape[2]]


def learnt(found: Reliability) -> Calibration:
    """Return the blur with the lowest Brier score, and the lines that fit best."""
    blurs = next(iter(found.values()))
    blur = min(blurs, key=lambda blur: sum(quality(by[blur])[0] for by in found.values()))
    lines = {}
    for threshold, by_blur in found.items():
        unchanged = np.broadcast_to([0.0, 1.0], (*by_blur[blur].shape[1:3], 2))
        lines[threshold] = fitted(by_blur[blur], unchanged, WIDE, np.inf).round(4)
    at, within = ([line[kind].tolist() for line in lines.values()] for kind in range(2))
    values = {"blur": blur, "thresholds": [*lines], "at": at, "within": within}
    return typed(Calibration, values, "calibration")


def on_calibration(made: Diagrams, calibration: Calibration, threshold: float) -> Diagrams:
    """Return the diagrams of the corrected probabilities."""
    cases, summed, hits = made
    lines = calibration.prior(threshold, cases.shape[1])[..., None]
    means = map(on_lines, summed / np.maximum(cases, 1), lines)
    return np.stack([cases, np.stack([*means]) * cases, hits])


def quality(made: Diagrams) -> tuple[float, float]:
    """Return the Brier score over all lead times, and the largest difference between a probability
    and the observed frequency among tenths with enough cases.
    """
    n, total, hits = made[:, 0].reshape(3, -1)
    p = total / np.maximum(n, 1)
    brier = (n * p * p - 2 * p * hits + hits).sum() / max(n.sum(), 1)
    tenth = np.round(10 * p).astype(int)
    n, total, hits = (np.bincount(tenth, part, minlength=11) for part in (n, total, hits))
    gaps = np.abs(hits - total)[n >= ENOUGH] / n[n >= ENOUGH]
    return float(brier), float(gaps.max(initial=0.0))
