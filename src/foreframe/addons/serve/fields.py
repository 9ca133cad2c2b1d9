"""The fields of a forecast request, as its schema describes them and as they are checked."""

from collections.abc import Collection, Iterable
from typing import Any

from foreframe.base.schema import brief
from foreframe.base.wording import closest

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
    "model": _field("string", "of /v1/models; by default the first that takes what is sent"),
    "steps": _field("integer", "frames to forecast; by default as in training", minimum=0),
    "past": _field("integer", "past frames to look at; by default as in training", minimum=0),
    "after": _field("integer", "last frame to look at; by default the last there is", minimum=0),
    "recording": _field("integer", "which, counted from 0, if a file holds several", minimum=0),
    "variable": _field("string", "which, if a file holds several"),
    "members": _field("integer", "possible futures, of a model that draws them", minimum=1),
    "seed": _field("integer", "of the members: equal seeds draw equal members"),
    "match": _field("string", "where values come from", enum=["last", "guide", "none"]),
    "output": _field("string", "kind of answer", enum=list(TYPES), default="json"),
}
WORDS = [name for name, field in FIELDS.items() if field["type"] == "string"]

_FILE = _field("string", "a film, GIF, .npy, NetCDF, ...", format="binary")
_FRAMES = _field("array", "(T,C,H,W) or (T,H,W), null is missing", items={"type": "array"})
_EXAMPLE = {"frames": [[[0.0, 0.5], [1.0, 0.5]], [[0.5, 0.0], [0.5, 1.0]]], "steps": 2}


def check_known(what: str, names: Iterable[str], known: Collection[str]) -> None:
    """Refuse the first of some names that is not known (ValueError)."""
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
"""The request in words of OpenAPI."""

_MADE = {"description": "The forecast", "content": {kind: {} for kind in set(TYPES.values())}}
ANSWERS: dict[int | str, dict[str, Any]] = {200: _MADE}
