"""A model's metadata, for whoever sends it frames, as plain values."""

from pathlib import Path
from typing import Any

from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.recordings import DIGITS
from foreframe.models import model_name


def metadata(name: str, forecaster: Forecaster) -> dict[str, Any]:
    """Which frames a model takes, and what it makes of them."""
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
    """What a user knows it by: its own title, or its preset and the data that it was trained on."""
    trained = forecaster.trained
    kind = trained.preset or model_name(forecaster.model)
    own = f"{kind}, trained on {Path(trained.data).name}" if trained.data else kind
    return str(forecaster.about.get("title") or own)
