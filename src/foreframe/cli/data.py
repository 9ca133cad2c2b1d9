"""foreframe data, foreframe data check"""

from collections.abc import Sequence
from typing import Any

from foreframe.base.files import check_source
from foreframe.base.progress import progress
from foreframe.base.wording import plural
from foreframe.cli.parser import Parser
from foreframe.data.data_options import ClipOptions, WindowOptions, as_published


def show_clip(
    *,
    split: str = "train",
    clip: int = 0,
    output: str | None = None,
    options: ClipOptions,
) -> None:
    """Show the clips of a training; foreframe data check examines recordings

    Args:
        split: train, validation or test
        clip: number of the clip to show, counted from 0
        output: .npy (its past frames), .gif or .png (the whole clip)
    """
    if output is not None and not output.lower().endswith((".npy", ".gif", ".png")):
        raise ValueError(f"output {output}: choose .npy, .gif or .png")

    import numpy as np

    from foreframe.data import Recordings, check_first_clip, open_dataset

    data, past, future = options.data, options.past, options.future
    dataset: Any = open_dataset(options, split)
    check_first_clip(dataset, options.window, None, data)
    if not 0 <= clip < len(dataset):
        raise ValueError(
            f"there is no clip {clip}: {data} ({split}) has clips 0 to {len(dataset) - 1}"
        )
    frames = np.asarray(dataset[clip])
    t, c, h, w = frames.shape
    print(f"{data} ({split}): {len(dataset)} clips")
    if isinstance(dataset, Recordings):
        print("\n".join(dataset.report()))
        c -= dataset.inputs
    low, high, mean = np.nanmin(frames), np.nanmax(frames), np.nanmean(frames)
    print(
        f"clip {clip}: {t} frames of {h}x{w}, {plural(frames.shape[1], 'channel')}, "
        f"values {low:.3g} to {high:.3g}, mean {mean:.4f}"
    )
    if output is not None:
        _write_clip(output, frames[:past], frames[past : past + future], c)
        part = ", its past frames," if output.lower().endswith(".npy") else ""
        print(f"wrote clip {clip}{part} to {output}")


def _write_clip(output: str, past: Any, future: Any, channels: int) -> None:
    """Write the past frames to .npy, or the forecast channels of past and future to a picture."""
    import numpy as np

    from foreframe.base.files import atomic_write
    from foreframe.visuals import animation, strip, write_gif, write_png

    shown = past[:, :channels], future[:, :channels]
    if output.lower().endswith(".npy"):
        with atomic_write(output) as rough, rough.open("wb") as file:
            np.save(file, past)
    elif output.lower().endswith(".gif"):
        write_gif(output, animation(*shown))
    else:
        write_png(output, strip(*shown))


def check_data(input: str, options: WindowOptions) -> None:
    """Examine recordings before training on them: foreframe data check INPUT

    Args:
        input: a film, GIF, folder of pictures, .npy, .npz, NetCDF or Zarr, or a folder of them
    """
    check_source(input)

    from foreframe.api import check

    with progress("frame reads") as tell:
        print(check(input, options, progress=tell))


def parser() -> Parser:
    return Parser("data", show_clip)


def check_parser() -> Parser:
    return Parser("data check", check_data)


def main(arguments: Sequence[str]) -> None:
    if arguments and arguments[0] == "check":
        check_parser().run(arguments[1:])
    else:
        parser().run(arguments, as_published)
