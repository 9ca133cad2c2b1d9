"""An ensemble of foreframe and a weather model's rain, blended by STEPS of pysteps.

    python examples/pysteps/blend.py RAIN WEATHER OUTPUT [--members 4] [--steps 12]

RAIN is observed rain in mm/h on a regular grid in km, as `foreframe predict radar` reads it.
WEATHER is a forecast of it on the same grid that begins at the time of RAIN's last frame: at least
one frame more than steps. The members of foreframe take the place of STEPS' own extrapolation, and
STEPS mixes them with the weather model, scale by scale, by the skill that either has at each lead
time. OUTPUT gets (members, steps, H, W) in mm/h, .npy.
"""

import argparse
import tempfile

import numpy as np
from pysteps.blending.steps import forecast
from pysteps.motion.lucaskanade import dense_lucaskanade
from pysteps.utils.transformation import dB_transform

import foreframe
from foreframe.addons.radar.pysteps import forecast as nowcast

LEAST = 0.1  # mm/h: less is no rain
DRY = -15.0  # dB, for it
SPACING = 1.0  # km


def decibels(rain: np.ndarray) -> np.ndarray:
    """mm/h -> dB, as STEPS takes rain; missing values are dry."""
    return dB_transform(np.nan_to_num(rain).astype(float), threshold=LEAST, zerovalue=DRY)[0]


def blended(
    rain: np.ndarray, weather: np.ndarray, times: np.ndarray, members: int, seed: int
) -> np.ndarray:
    """Blend members with a weather model.

    Args:
        rain: (T,H,W), mm/h, at least three frames; ten are better.
        weather: (S+1,H,W) from the last frame of `rain` on, mm/h.
        times: (T,) datetime64, of `rain`.

    Returns:
        (members,S,H,W), mm/h.
    """
    steps = len(weather) - 1
    timestep = float((times[-1] - times[-2]) / np.timedelta64(1, "s")) / 60
    grid = {"timestep": timestep, "kmperpixel": SPACING}
    future = nowcast(rain, None, steps, n_ens_members=members, seed=seed, **grid)
    seen, model = decibels(rain[-3:]), decibels(weather)
    now = np.repeat(seen[None, -1:], members, axis=0)
    with tempfile.TemporaryDirectory() as folder:  # STEPS keeps there how well the model did
        made = forecast(
            seen,
            model[None],
            dense_lucaskanade(seen),
            np.repeat(dense_lucaskanade(model)[None, None], steps + 1, axis=1),
            steps,
            issuetime=times[-1].astype("M8[s]").item(),
            n_ens_members=members,
            precip_nowcast=np.concatenate([now, decibels(future)], axis=1),
            nowcasting_method="external_nowcast",
            noise_method=None,  # the members differ by themselves
            precip_thr=10 * np.log10(LEAST),
            seed=seed,
            outdir_path_skill=folder,
            **grid,
        )
    return dB_transform(made, threshold=10 * np.log10(LEAST), inverse=True)[0]


def main(rain: str, weather: str, output: str, members: int, steps: int, seed: int) -> None:
    (seen,), (model,) = foreframe.clips_from(rain), foreframe.clips_from(weather)
    past = seen[-10:]  # of which `radar` makes its forecast
    frames = blended(past.frames[:, 0], model[: steps + 1].frames[:, 0], past.times, members, seed)
    np.save(output, frames.astype(np.float32))
    print(f"{output}: {frames.shape}, mm/h")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("rain", "weather", "output"):
        parser.add_argument(name)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
