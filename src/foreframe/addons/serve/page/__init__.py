"""The page of the service and of the export: its files, and a model's metadata for it."""

from pathlib import Path
from typing import Any

from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.recordings import DIGITS
from foreframe.models import model_name

PAGE = Path(__file__).parent / "files"
"""The folder of the page's scripts, styles and pictures."""


def metadata(name: str, forecaster: Forecaster) -> dict[str, Any]:
    """Describe the frames that a model takes and its forecasts, as plain values."""
    model, scaling, size = forecaster.model, forecaster.scaling, forecaster.trained.frame
    return {
        "name": name,
        "past": forecaster.window.past,
        "future": forecaster.window.future,
        "horizon": model.horizon,
        "channels": model.channels,
        "inputs": model.inputs,
        "size": list(size) if size else None,
        "digits": forecaster.trained.data == DIGITS,
        "members": model.draws,
        "units": scaling.units,
        "low": scaling.low,
        "high": scaling.high,
        "match": forecaster.match,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "title": _title(forecaster),
    }


def _title(forecaster: Forecaster) -> str:
    """The forecaster's own title, or its preset and the data that it was trained on."""
    trained = forecaster.trained
    kind = trained.preset or model_name(forecaster.model)
    usual = f"{kind}, trained on {Path(trained.data).name}" if trained.data else kind
    return str(forecaster.about.get("title") or usual)
