"""Forecast with the files beside this one: python example.py CLIP.npy OUT.npy --steps 12

CLIP holds frames (T,C,H,W) or (T,H,W). Needs numpy and onnxruntime, and nothing else.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clip")
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the noise of a member")
    given = parser.parse_args()
    about = json.loads((HERE / "about.json").read_text())
    try:
        clip, (height, width) = padded(given.clip, about)
    except ValueError as error:
        parser.exit(2, f"{given.clip}: {error}\n")
    encode, begin, step = (
        onnxruntime.InferenceSession(str(HERE / f"{name}.onnx"))
        for name in ("encode", "begin", "step")
    )
    draw = np.random.default_rng(given.seed)

    def run(session: onnxruntime.InferenceSession, values: dict) -> dict:
        names = [one.name for one in session.get_outputs()]
        wanted = {one.name: values[one.name] for one in session.get_inputs()}
        return dict(zip(names, session.run(names, wanted), strict=True))

    def next_state(values: dict) -> dict:
        return {name.replace("_out", "_in"): value for name, value in values.items()}

    state = {
        name: np.full(size(start["shape"], clip), float(start["fill"]), np.float32)
        for name, start in about["start"].items()
    }
    for frame in clip:
        state = next_state(run(encode, {"frame": frame[None], **state}))
    state = {name.replace("state", "encoded").removesuffix("_in"): v for name, v in state.items()}

    def noise() -> dict:
        return {
            name: draw.standard_normal(size(shape, clip)).astype(np.float32)
            for name, shape in about["entering"].items()
        }

    state = next_state(run(begin, {**noise(), **state}))
    frames: list[np.ndarray] = []
    while about["horizon"] * len(frames) < given.steps:
        made = run(step, {**noise(), **state})
        frames.append(made.pop("frames")[0])
        state = next_state(made)
    np.save(given.out, np.concatenate(frames)[: given.steps, :, :height, :width])


def size(shape: list, clip: np.ndarray) -> list[int]:
    """Numbers as they are, and 8 rows of 64 for "height/8"."""
    sides = {"clips": 1, "height": clip.shape[-2], "width": clip.shape[-1]}
    words = [str(n).partition("/") for n in shape]
    return [(sides[n] if n in sides else int(n)) // int(k or 1) for n, _, k in words]


def padded(path: str, about: dict) -> tuple[np.ndarray, tuple[int, int]]:
    """Frames (T,C,H,W) whose sides are multiples of the model's, and their height and width before;
    a ValueError says what cannot be forecast.
    """
    if about["beyond_example"]:
        raise ValueError(f"this example cannot make {', '.join(about['beyond_example'])}: card.md")
    try:
        with open(path, "rb") as file:
            clip = np.load(file).astype(np.float32)
        clip = clip if clip.ndim == 4 else clip[:, None]
        _, channels, height, width = clip.shape
    except Exception:  # of the half dozen kinds that what is no such file raises
        raise ValueError("this takes a .npy file of frames (T,C,H,W) or (T,H,W)") from None
    if channels != about["channels"]:
        raise ValueError(f"{channels} channels, not {about['channels']}")
    down, right = -height % about["multiple"], -width % about["multiple"]
    clip = np.pad(clip, [(0, 0), (0, 0), (0, down), (0, right)], mode="edge")
    size = list(clip.shape[-2:])
    if about["size"] not in (None, size):
        rows, columns = about["size"]
        raise ValueError(
            f"{height}x{width} pixels, but this was exported for {rows}x{columns} alone: export it "
            f"with --size [{size[0]},{size[1]}]"
        )
    return clip, (height, width)


if __name__ == "__main__":
    main()
