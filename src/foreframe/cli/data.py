"""foreframe data, foreframe data check"""

from collections.abc import Sequence
from typing import Any

from foreframe.base.files import check_source
from foreframe.cli.parser import Parser, call
from foreframe.clips.data_options import DataOptions, ReadOptions, SplitOptions


def look_at_data(
    *,
    data: str = "moving_mnist",
    data_args: dict | None = None,
    scaling: str | dict | None = None,
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
    splits: SplitOptions = SplitOptions(),  # noqa: B008
    split: str = "train",
    past: int = 10,
    future: int = 10,
    clip: int = 0,
    output: str | None = None,
) -> None:
    """Show the clips that a model would be trained on; foreframe data check examines recordings

    Args:
        data: as in foreframe train
        data_args: its arguments, e.g. --data_args.motion svg
        scaling: of recordings, e.g. standard, or --scaling.kind log
        reading: how recordings are read
        splits: how they are split
        split: train, validation or test
        past: number of past frames in the clip
        future: number of future frames
        clip: number of the clip to show, counted from 0
        output: .npy (its past frames), .gif or .png (the whole clip)
    """
    from pathlib import Path

    kind = "" if output is None else Path(output).suffix.lower()
    if output is not None and kind not in (".npy", ".gif", ".png"):
        raise ValueError(
            f"output {output}: cannot write {kind or 'a file without ending'}; choose .npy, .gif "
            "or .png"
        )

    import numpy as np

    from foreframe.base.files import atomic_write
    from foreframe.data import Recordings, check_first_clip, open_dataset
    from foreframe.visuals import animation, strip, write_gif, write_png

    options = DataOptions(
        data, data_args or {}, past, future, scaling=scaling, reading=reading, splits=splits
    )
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
        ends = f"{dataset.scaling.low:.4g} to {dataset.scaling.high:.4g} {dataset.scaling.units}"
        print(f"scaled by {dataset.scaling.kind}: {ends.rstrip()} become 0 to 1")
    print(
        f"clip {clip}: T={t} C={c} H={h} W={w}"
        f", values {np.nanmin(frames):.3g} to {np.nanmax(frames):.3g}, mean "
        f"{np.nanmean(frames):.4f}"
    )
    if output is None:
        return
    channels = c - (dataset.inputs if isinstance(dataset, Recordings) else 0)
    shown = frames[:past, :channels], frames[past : past + future, :channels]
    if kind == ".npy":
        with atomic_write(output) as rough, rough.open("wb") as file:
            np.save(file, frames[:past])
    elif kind == ".gif":
        write_gif(output, animation(*shown))
    else:
        write_png(output, strip(*shown))
    what = f"the {past} past frames of clip {clip} lie" if kind == ".npy" else f"clip {clip} lies"
    print(f"{what} in {output}")


def check_data(
    input: str,
    *,
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
    splits: SplitOptions = SplitOptions(),  # noqa: B008
    past: int = 10,
    future: int = 10,
    stride: int = 1,
    output: str | None = None,
) -> None:
    """Examine recordings before training on them: foreframe data check INPUT

    Args:
        input: a film, GIF, folder of pictures, .npy, .npz, NetCDF or Zarr, or a folder of them
        reading: how recordings are read
        splits: how they are split
        past: past frames of a window
        future: future frames of a window
        stride: frames from the start of one window to the start of the next
        output: .png of frames spread over the (first) recording
    """
    check_source(input)

    from foreframe.api import check

    how: dict[str, Any] = {"past": past, "future": future, "stride": stride}
    checked = check(input, output, reading=reading, splits=splits, **how)
    print(checked)
    if output is not None:
        print(f"frames of {checked.recordings[0].clip.name} lie side by side in {output}")


def parser() -> Parser:
    return Parser("data", look_at_data)


def check_parser() -> Parser:
    return Parser("data check", check_data)


def main(arguments: Sequence[str]) -> None:
    if arguments and arguments[0] == "check":
        call(check_parser(), check_data, arguments[1:])
    else:
        call(parser(), look_at_data, arguments)
