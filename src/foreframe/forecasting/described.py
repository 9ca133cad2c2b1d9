"""What somebody who sends frames to a forecaster needs to know of it, as plain values."""

from typing import Any

from foreframe.forecasting.forecaster import Forecaster
from foreframe.models import model_name


def described(name: str, forecaster: Forecaster) -> dict[str, Any]:
    """What a client needs to know of a model."""
    model, scaling, size = forecaster.model, forecaster.scaling, forecaster.trained.frame
    return {
        "name": name,
        "past": forecaster.window.past,
        "future": forecaster.window.future,
        "horizon": model.horizon,
        "channels": model.channels,
        "inputs": model.inputs,
        "size": list(size) if size else None,
        "members": model.draws,
        "units": scaling.units,
        "low": scaling.low,
        "high": scaling.high,
        "match": forecaster.match,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "title": str(forecaster.about.get("title") or model_name(model)),
    }
