"""foreframe predict"""

from foreframe.base.files import check_source
from foreframe.base.progress import progress
from foreframe.cli.parser import Parser
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.models.names import check_forecaster


def forecast_clip(run: str, input: list[str], *, options: PredictOptions, output: str) -> None:
    """Forecast the frames after a recording: foreframe predict RUN INPUT -o OUTPUT

    Args:
        run: a run's folder, a saved folder, a checkpoint, published weights, such as
            scenes, or a baseline, such as optical_flow
        input: a film, GIF, folder of pictures, .npy, .npz, NetCDF or Zarr, in the data's units; or
            several, or a pattern such as 'rain/*.nc': files that follow each other are one input
        output: .mp4, .gif, .png (past and forecast), a folder (pictures); .npy, .npz, .nc, .zarr
            (forecast alone); for several inputs a folder (a file each)
    """
    check_forecaster(run)
    check_source(input)

    from foreframe.api import predict
    from foreframe.base.wording import plural
    from foreframe.forecasting.outputs import slow_fps, usual_fps
    from foreframe.forecasting.rolling import Rolling

    with progress("forecasts") as tell:
        source = input if len(input) > 1 else input[0]
        forecast = predict(run, source, output, options, progress=tell)
    if isinstance(forecast, list):
        print(f"{plural(len(forecast), 'forecast')} written to {output}")
        return
    print(f"{forecast}, written to {output}")
    if isinstance(forecast, Rolling):
        if table := forecast.table():
            print(table)
        return
    slow, own = slow_fps(forecast.past), usual_fps(forecast.past)
    if output.endswith((".mp4", ".gif")) and not options.fps and slow < own:
        print(f"It plays slowly, {slow:.3g} frames a second; --fps {own:.4g} is the film's speed")


def parser() -> Parser:
    common = (
        "steps past after every recording grid reading match members seed "
        "colours fps tile precision device budget"
    )
    return Parser("predict", forecast_clip, common=common)
