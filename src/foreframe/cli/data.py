"""foreframe data"""

from collections.abc import Sequence
from typing import Any

from foreframe.cli.options import call


def look_at_data(
    data: str = "moving_mnist",
    data_args: dict[str, Any] | None = None,
    split: str = "train",
    past: int = 10,
    future: int = 10,
    clip: int = 0,
    output: str | None = None,
) -> None:
    """Look at a data set: how many clips, of which shape and range; and write one of them

    Args:
        data: as in foreframe train
        data_args: its arguments, e.g. --data_args.motion svg
        split: train, validation or test
        past: frames of the clip that count as past
        future: frames that follow
        clip: which clip to write
        output: .npy (its past frames), .gif or .png (all of it)
    """
    from pathlib import Path

    kind = "" if output is None else Path(output).suffix.lower()
    if output is not None and kind not in (".npy", ".gif", ".png"):
        raise ValueError(f"output {output}: cannot write {kind or 'a file without ending'}; choose .npy, .gif or .png")

    import numpy as np

    from foreframe.clip import Window
    from foreframe.data import check_first_clip, open_dataset
    from foreframe.files import whole_file
    from foreframe.visuals import animation, strip, write_gif, write_png

    window = Window(past, future)
    dataset: Any = open_dataset(data, split, window, data_args)
    check_first_clip(dataset, window, None, data)
    if not 0 <= clip < len(dataset):
        raise ValueError(f"clip {clip} is not there: {data} ({split}) has clips 0 to {len(dataset) - 1}")
    frames = np.asarray(dataset[clip])
    t, c, h, w = frames.shape
    print(f"{data} ({split}): {len(dataset)} clips")
    print(f"clip {clip}: T={t} C={c} H={h} W={w}, values {frames.min():.3g} to {frames.max():.3g}, mean {frames.mean():.4f}")
    if output is None:
        return
    before, after = frames[:past], frames[past : past + future]
    if kind == ".npy":
        with whole_file(output) as rough, rough.open("wb") as file:
            np.save(file, before)
    elif kind == ".gif":
        write_gif(output, animation(before, after))
    else:
        write_png(output, strip(before, after))
    print(f"clip {clip} lies in {output}")


def main(arguments: Sequence[str]) -> None:
    call("data", look_at_data, arguments)
