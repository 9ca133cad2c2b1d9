"""The fields of a forecast request, for its schema and for checks."""

from collections.abc import Collection, Iterable
from typing import Any

from foreframe.base.schema import brief
from foreframe.base.wording import closest
from foreframe.forecasting.forecast_options import matches

TYPES = {
    "json": "application/json",
    "npy": "application/octet-stream",
    "nc": "application/x-netcdf",
    "mp4": "video/mp4",
    "gif": "image/gif",
    "png": "image/png",
    "safetensors": "application/octet-stream",
}
"""Media types of answers, by `output`."""


def _field(kind: str, description: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "description": description, **more}


FIELDS = {
    "model": _field("string", "name in /v1/models; defaults to the first that fits the recording"),
    "steps": _field("integer", "number of forecast frames; defaults to training", minimum=0),
    "past": _field("integer", "number of input frames; defaults to training", minimum=0),
    "after": _field("integer", "the last input frame; defaults to the last frame", minimum=0),
    "recording": _field("integer", "number counted from 0, if a file has several", minimum=0),
    "variable": _field("string", "name, if a file has several"),
    "members": _field("integer", "ensemble members, for models that draw them", minimum=1),
    "seed": _field("integer", "seed of the members: equal seeds draw equal members"),
    "match": _field("string", "source of values", enum=matches()),
    "output": _field("string", "format of the answer", enum=list(TYPES), default="json"),
}
WORDS = [name for name, field in FIELDS.items() if field["type"] == "string"]

_FILE = _field("string", "a film, GIF, .npy, NetCDF, ...", format="binary")
_FRAMES = _field("array", "(T,C,H,W) or (T,H,W), null is missing", items={"type": "array"})
_EXAMPLE = {"frames": [[[0.0, 0.5], [1.0, 0.5]], [[0.5, 0.0], [0.5, 1.0]]], "steps": 2}


def check_known(what: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raise ValueError for the first unknown name."""
    for name in names:
        if name not in known:
            cure = closest(name, known) or f"choose one of {', '.join(known)}"
            raise ValueError(f"there is no {what} {brief(name, quoted=False)}; {cure}")


def _body(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [name], "properties": {name: schema, **FIELDS}}


_CONTENT = {
    "multipart/form-data": {"schema": _body("file", _FILE)},
    "application/json": {"schema": _body("frames", _FRAMES), "example": _EXAMPLE},
}
REQUEST = {"requestBody": {"required": True, "content": _CONTENT}}
"""The request in OpenAPI."""

_MADE = {"description": "The forecast", "content": {kind: {} for kind in set(TYPES.values())}}
ANSWERS: dict[int | str, dict[str, Any]] = {200: _MADE}
