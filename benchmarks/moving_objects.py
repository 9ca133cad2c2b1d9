"""Do moving objects keep their shape? Forecasters on films of a fixed or a moving camera.

    python -m benchmarks.moving_objects FILM ... --forecasters scenes layered_motion dense_motion
    python -m benchmarks.moving_objects --scenes 32 --picture strips.png

FORECASTER is a model's name, published weights, a run, `NAME:member` for a single member,
`NAME:none` for its plain forecast, or `module:function` for a function from past (T,C,H,W) to
future (S,C,H,W). Clips of ten and ten frames are spread evenly over each film, whose longer side is
--side pixels. For each film and
forecaster the table has the scores `moving` (NaN for a moving camera), sharpness, MSE in 1e-4 and
1 - SSIM at +1, +5 and +10, and core-seconds per forecast. --scenes N adds N generated clips.
"""

import argparse
import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import foreframe
from foreframe.base.files import atomic_write
from foreframe.evaluation.metrics import SCORES, Scorecard
from foreframe.evaluation.metrics.moving import background_of
from foreframe.visuals.display import png_bytes

PAST, FUTURE, LEADS = 10, 10, (1, 5, 10)
FORECASTERS = ("persistence", "dense_motion", "optical_flow", "scenes:none", "scenes")
STANDARD = ("sharpness", "mse", "ssim")
SCORED = {
    "moving": SCORES["moving"],
    "standard": {name: SCORES["standard"][name] for name in STANDARD},
}
Forecast = Callable[[Tensor], Tensor]


def forecast_by(name: str) -> Forecast:
    """The function from past to future that a name stands for."""
    module, _, function = name.partition(":")
    if function not in ("", "member", "none"):
        return getattr(importlib.import_module(module), function)
    forecaster = foreframe.Forecaster.load(module)
    options = {"member": {"members": 1, "seed": 0}, "none": {"match": "none"}}
    more = options.get(function, {})

    def forecast(past: Tensor) -> Tensor:
        future = torch.from_numpy(np.asarray(forecaster.predict(past.numpy(), FUTURE, **more)))
        return future.float().reshape(FUTURE, *past.shape[1:])

    return forecast


def clips_of(film: str, side: int, count: int) -> Tensor:
    """(N,20,C,H,W): clips spread evenly over a film, in [0,1]."""
    clip = foreframe.clips_from(film, cuts=False)[0]
    height, width = clip.frames.shape[-2:]
    scale = min(1, side / max(height, width))
    size = [round(height * scale), round(width * scale)]
    frames = foreframe.clips_from(film, cuts=False, size=size)[0].frames
    starts = np.linspace(0, len(frames) - PAST - FUTURE, count).astype(int)
    clips = [torch.from_numpy(np.asarray(frames[k : k + PAST + FUTURE])) for k in starts]
    return torch.stack(clips).float() / 255


def generated(count: int) -> Tensor:
    from examples.scenes import Scenes

    scenes = Scenes("validation", canvas=(112, 144), channels=3, length=PAST + FUTURE)
    return torch.stack([torch.as_tensor(scenes[k]) for k in range(count)])


def lines(name: str, clips: Tensor, forecasters: dict[str, Forecast]) -> Iterator[str]:
    """A line of the table for each forecaster and lead time."""
    background = background_of(clips[:, :PAST])
    for forecaster, forecast in forecasters.items():
        start = time.process_time()
        made = torch.stack([forecast(clip[:PAST]) for clip in clips])
        seconds = (time.process_time() - start) / len(clips)
        card = Scorecard(FUTURE, SCORED)
        card.update(made, clips[:, PAST:], background)
        table = card.table()
        for lead in LEADS:
            value = {
                score: each["per_lead"][lead - 1]
                for named in table.values()
                for score, each in named.items()
            }
            yield (
                f"| {name} | {forecaster} | +{lead} | {value['moving_area']:.2f} | "
                f"{value['moving_mass']:.2f} | {value['moving_csi']:.3f} | "
                f"{value['sharpness']:.2f} | {1e4 * value['mse']:.1f} | {1 - value['ssim']:.3f} | "
                f"{seconds:.2f} |"
            )


def picture(clips: dict[str, Tensor], forecasters: dict[str, Forecast]) -> np.ndarray:
    """For the middle clip of each film: the last frame, and a row each of +1, +5 and +10."""
    height, width = 144, 192

    def shown(frames: Tensor) -> np.ndarray:
        sized = torch.nn.functional.interpolate(frames.expand(-1, 3, -1, -1), (height, width))
        return np.concatenate(list(sized.clamp(0, 1).permute(0, 2, 3, 1).numpy()), axis=1)

    rows, leads = [], [lead - 1 for lead in LEADS]
    for each in clips.values():
        clip = each[len(each) // 2]
        last = clip[PAST - 1 : PAST]
        futures = [clip[PAST:], *(forecast(clip[:PAST]) for forecast in forecasters.values())]
        rows += [shown(torch.cat([last, future[leads]])) for future in futures]
    return (np.concatenate(rows) * 255).round().astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("films", nargs="*")
    parser.add_argument("--forecasters", nargs="+", default=FORECASTERS)
    parser.add_argument("--side", type=int, default=288)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--scenes", type=int, default=0)
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    clips = {Path(film).stem: clips_of(film, asked.side, asked.clips) for film in asked.films}
    if asked.scenes:
        clips["generated"] = generated(asked.scenes)
    forecasters = {name: forecast_by(name) for name in asked.forecasters}
    print("| film | forecaster | lead | area | mass | CSI | sharpness | MSE | 1 - SSIM | seconds |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, each in clips.items():
        for line in lines(name, each, forecasters):
            print(line, flush=True)
    if asked.picture:
        with atomic_write(asked.picture) as rough:
            rough.write_bytes(png_bytes(picture(clips, forecasters)))


if __name__ == "__main__":
    main()
