"""foreframe predict"""

from collections.abc import Sequence
from pathlib import Path

from foreframe.cli.options import call

FORMATS = (".npy", ".npz", ".gif", ".png")


def forecast_clip(
    run: str,
    *,
    input: str,
    output: str,
    steps: int = 10,
    variable: str | None = None,
    device: str = "auto",
) -> None:
    """Forecast the frames that follow a clip; all frames of the clip are its past

    Args:
        run: a run's folder, a saved folder or a checkpoint
        input: .npy or .npz of one clip (T,C,H,W) or (T,H,W), in the data's own units
        output: .npy or .npz (the forecast alone), .gif or .png (with the past)
        steps: frames to forecast, beyond the trained horizon too
        variable: which array of an .npz
        device: cpu, cuda, mps; auto takes cuda where there is one
    """
    kind = Path(output).suffix.lower()
    if kind not in FORMATS:
        raise ValueError(f"output {output}: cannot write {kind or 'a file without ending'}; choose {', '.join(FORMATS)}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    import numpy as np

    from foreframe.clip import check_frames
    from foreframe.data import clips_from
    from foreframe.files import whole_file
    from foreframe.forecaster import Forecaster
    from foreframe.visuals import animation, strip, write_gif, write_png

    forecaster = Forecaster.load(run, device)
    clips = clips_from(input, variable)
    if len(clips) != 1:
        raise ValueError(f"{input} holds {len(clips)} clips; predict takes one: save the clip that you mean, (T,C,H,W)")
    past, scaling = np.asarray(clips[0].frames), forecaster.scaling
    check_frames(past, channels=forecaster.model.channels, low=scaling.low, high=scaling.high, what=input)
    future = forecaster.predict(past, steps)
    if kind in (".npy", ".npz"):
        with whole_file(output) as rough, rough.open("wb") as file:
            if kind == ".npy":
                np.save(file, future)
            else:
                np.savez_compressed(file, frames=future)
    else:
        shown = [scaling.to_network(frames.astype(np.float32)) for frames in (past, future)]
        if kind == ".gif":
            write_gif(output, animation(*shown))
        else:
            write_png(output, strip(*shown))
    print(f"{steps} frames that follow the {len(past)} of {input} lie in {output}")


def main(arguments: Sequence[str]) -> None:
    call("predict", forecast_clip, arguments)
