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

LEAST = 0.1  # mm/h: less is no rain
DRY = -15.0  # dB, for it


def decibels(rain: np.ndarray) -> np.ndarray:
    """mm/h -> dB, as STEPS takes rain; missing values are dry."""
    return dB_transform(np.nan_to_num(rain).astype(float), threshold=LEAST, zerovalue=DRY)[0]


def blended(past: foreframe.Clip, weather: np.ndarray, future: np.ndarray, seed: int) -> np.ndarray:
    """Blend members with a weather model.

    Args:
        past: observed rain, at least three frames.
        weather: (S+1,H,W) from the last frame of the past on, mm/h.
        future: (M,S,H,W), members, mm/h.

    Returns:
        (M,S,H,W), mm/h.
    """
    members, steps = future.shape[:2]
    seen = decibels(np.asarray(past.frames[len(past) - 3 : len(past)])[:, 0])
    model = decibels(weather[: steps + 1])
    now = np.repeat(seen[None, -1:], members, axis=0)
    motion = dense_lucaskanade(seen)
    with tempfile.TemporaryDirectory() as folder:  # STEPS keeps there how well the model did
        made = forecast(
            seen,
            model[None],
            motion,
            np.repeat(dense_lucaskanade(model)[None, None], steps + 1, axis=1),
            steps,
            timestep=minutes(past),
            issuetime=past.times[-1].astype("M8[s]").item(),
            n_ens_members=members,
            precip_nowcast=np.concatenate([now, decibels(future)], axis=1),
            nowcasting_method="external_nowcast",
            noise_method=None,  # the members differ by themselves
            precip_thr=10 * np.log10(LEAST),
            kmperpixel=1.0,
            seed=seed,
            outdir_path_skill=folder,
        )
    return dB_transform(made, threshold=10 * np.log10(LEAST), inverse=True)[0]


def minutes(clip: foreframe.Clip) -> float:
    """Between two frames."""
    return float((clip.times[-1] - clip.times[-2]) / np.timedelta64(1, "s")) / 60


def main(rain: str, weather: str, output: str, members: int, steps: int, seed: int) -> None:
    made = foreframe.predict("radar", rain, members=members, steps=steps, seed=seed)
    (model,) = foreframe.clips_from(weather)
    frames = blended(
        made.past, np.asarray(model.frames[0 : steps + 1])[:, 0], made.frames[:, :, 0], seed
    )
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
