"""The process of a request: it reads the upload, has the server run the network, and writes the
answer.

It calls `foreframe.predict`, so it reads, checks and reports errors as the command line does. The
process has no weights: it sends the past through a pipe and receives the forecast. From a process
that a file may have taken over, the server decodes only a `Message`, float32 values and the bytes
of the answer.
"""

import gc
import json
import math
import os
import pickle
import re
import signal
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy, deepcopy
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from msgspec import Meta, Struct
from python_multipart import create_form_parser
from python_multipart.exceptions import FormParserError
from safetensors.numpy import save
from torch import Tensor

from foreframe.addons.serve.confinement import confine
from foreframe.addons.serve.fields import FIELDS, TYPES, WORDS, check_known
from foreframe.addons.serve.problems import UNEXPECTED, Problem
from foreframe.addons.serve.serve_options import ServeOptions
from foreframe.api import predict
from foreframe.base.budget import GIB
from foreframe.base.notes import listening
from foreframe.base.yaml_files import plain_yaml
from foreframe.clips.clip import Clip, stamp
from foreframe.clips.ensembles import Ensemble
from foreframe.clips.units import check_units
from foreframe.data.pictures import SUFFIXES as IMAGES
from foreframe.data.readers import endings
from foreframe.forecasting.compute import Compute
from foreframe.forecasting.forecast import Forecast
from foreframe.forecasting.forecast_options import PredictOptions, TiledOptions, changed
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.recordings import check_channels, knows_other_digits
from foreframe.forecasting.tiles import LONG

BODY = "body"  # name of the file with the request's body
BUDGETS = 3  # memory of the process in budgets: frames as stored, as numbers, and as written
Count = Annotated[int, Meta(ge=1)]


class AskForecast(Struct, tag=True, frozen=True):
    """The arguments of `Compute.forecast`. The arrays follow, with these shapes: the past and, if
    known, inputs of the future. The server replies with the forecast and the forecast of the guide.
    """

    model: str
    shapes: list[tuple[Count, Count, Count, Count, Count]]
    steps: Count
    options: TiledOptions
    bounds: tuple[float, float]
    pace: float = 1.0


class AskFootprint(Struct, tag=True, frozen=True):
    """The arguments of `Compute.footprint`. The server replies with the number of bytes."""

    model: str
    past: Annotated[int, Meta(ge=1, le=LONG)]
    frame: tuple[Count, Count, Count]
    steps: Count
    draws: bool
    match: str | None


class Answer(Struct, tag=True, frozen=True):
    """The end of a request: an error message, or 200 and the format of the content, which
    follows.
    """

    status: int
    detail: str = ""
    output: str = ""


Message = AskForecast | AskFootprint | Answer


def send(connection: Connection, message: Message, *arrays: np.ndarray) -> None:
    connection.send_bytes(msgspec.msgpack.encode(message))
    for array in arrays:
        connection.send_bytes(np.ascontiguousarray(array).data.cast("B"))


class Remote(Compute):
    """A network in the server, for the process of a request."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection, self.name = connection, name

    def forecast(
        self,
        past: Tensor,
        steps: int,
        known: Tensor | None,
        options: TiledOptions,
        bounds: tuple[float, float],
        pace: float = 1.0,
    ) -> tuple[Tensor, Tensor | None]:
        arrays = [each.numpy() for each in (past, known) if each is not None]
        shapes = [array.shape for array in arrays]
        request = AskForecast(self.name, shapes, steps, options, bounds, pace)
        send(self.connection, request, *arrays)
        future, guide = self.connection.recv()
        return torch.from_numpy(future), None if guide is None else torch.from_numpy(guide)

    def footprint(
        self, past: int, frame: Sequence[int], steps: int, draws: bool, match: str | None
    ) -> int:
        c, h, w = frame
        send(self.connection, AskFootprint(self.name, past, (c, h, w), steps, draws, match))
        return int(self.connection.recv())


def without_weights(forecaster: Forecaster) -> bytes:
    """Pickle a forecaster without its weights."""
    light = copy(forecaster)
    light.model = deepcopy(forecaster.model).to("meta")
    return pickle.dumps(light)


def respond(
    connection: Connection, folder: Path, models: Mapping[str, bytes], options: ServeOptions
) -> None:
    """Confine this process to a folder and answer one request in it. Arguments as in `answer`."""
    gc.freeze()  # otherwise the first collection would copy all memory shared with the parent
    confine(folder, int(BUDGETS * options.budget * GIB), math.ceil(options.seconds))
    for number in (signal.SIGINT, signal.SIGTERM):  # the server ends this process itself
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    answer(connection, folder, models, options)


def answer(
    connection: Connection, folder: Path, models: Mapping[str, bytes], options: ServeOptions
) -> None:
    """Wait for a request and answer it.

    Args:
        connection: receives the Content-Type of the request, and sends each `Message`.
        folder: holds the file `BODY` with the request's body, and temporary files.
        models: the results of `without_weights`, by name.
    """
    names, content = {f"{folder}{os.sep}": ""}, b""
    try:
        content_type = connection.recv()
        read = _read_json if content_type.startswith("application/json") else _read_form
        fields, path = read(folder / BODY, content_type, names)
        with listening(lambda note: None):  # the forecast has the notes, too
            made, output = _forecast(connection, models, fields, path, options)
        notes = tuple(_for_client(note, names) for note in made.notes)
        content = _written(replace(made, future=_named(made.future, names), notes=notes), output)
        result = Answer(200, output=output)
    except EOFError:  # the server has ended the request
        return
    except Exception as error:
        status, detail = _status_of(error)
        result = Answer(status, _for_client(detail, names))
    send(connection, result)
    if result.status == 200:
        connection.send_bytes(content)


def _status_of(error: Exception) -> tuple[int, str]:
    """The status and the message of an error."""
    if isinstance(error, Problem):
        return error.status, error.detail
    if isinstance(error, ValueError | OSError):
        return 422, str(error)
    if isinstance(error, MemoryError):
        return 422, "this takes more memory than a request may; send less"
    traceback.print_exc()
    return 500, UNEXPECTED


def _forecast(
    connection: Connection,
    models: Mapping[str, bytes],
    fields: dict[str, Any],
    path: Path,
    options: ServeOptions,
) -> tuple[Forecast, str]:
    """Forecast a file with the fields of its request. Return the format of the answer, too."""
    reading: dict[str, Any] = {"budget": options.budget}
    if "variable" in fields:
        if path.suffix == ".npy":
            raise ValueError(f"{path.name} holds one array, and no variables: leave out variable")
        reading["variable"] = fields.pop("variable")
    name = str(fields.pop("model", "") or _default_model(models, path, reading))
    output = str(fields.pop("output", "json"))
    check_known("model", [name], models)
    check_known("output", [output], TYPES)
    check_known("field", fields, FIELDS)
    fixed = PredictOptions(precision=options.precision, budget=options.budget)
    forecaster: Forecaster = pickle.loads(models[name])
    forecaster = forecaster.computed_by(Remote(connection, name))
    made = predict(forecaster, str(path), None, changed(fixed, {**fields, "reading": reading}))
    assert isinstance(made, Forecast)
    return replace(made, made_by=name), output


def _default_model(models: Mapping[str, bytes], path: Path, reading: Mapping[str, Any]) -> str:
    """Return the first model that fits the recording in channels and units. If none does, return
    the first of all, whose error names the cause.
    """
    for name, pickled in models.items():
        forecaster: Forecaster = pickle.loads(pickled)
        wanted = forecaster.scaling.units
        with suppress(ValueError):
            clip = forecaster.recordings(path, **reading)[0]
            check_channels(forecaster, clip.frames.shape[1], path, clip.frames.dtype)
            check_units(clip.units, wanted, path.name)
            of_kind = forecaster.free or wanted or not clip.units
            if of_kind and not knows_other_digits(forecaster, clip):
                return name
    return next(iter(models))


def _for_client(text: str, names: Mapping[str, str]) -> str:
    """Replace paths and flags in a message by the names that the client used."""
    text = " ".join(re.sub(r"--(reading\.)?(?=\w)", "", text).split())
    return re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], text)


def _named(future: Clip | Ensemble, names: Mapping[str, str]) -> Clip | Ensemble:
    """Give a forecast the client's name of the recording, the title of an output file."""
    if isinstance(future, Clip):
        return replace(future, name=_for_client(future.name, names))
    return Ensemble.like(replace(future[0], name=_for_client(future[0].name, names)), future.frames)


def _read_json(body: Path, content_type: str, names: dict[str, str]) -> tuple[dict[str, Any], Path]:
    """Return the fields of a request and the file of its frames."""
    try:
        fields = json.loads(body.read_bytes())
    except (ValueError, RecursionError):
        raise Problem(400, "the request is not JSON") from None
    if not isinstance(fields, dict) or "frames" not in fields:
        raise ValueError('send {"frames": lists of numbers, (T,C,H,W) or (T,H,W)}')
    path = body.parent / "frames.npy"
    names |= {str(path): "frames", path.name: "frames"}
    try:
        np.save(path, np.array(fields.pop("frames"), np.float32))
    except (ValueError, TypeError, OverflowError):
        raise ValueError(
            "frames are lists of numbers, (T,C,H,W) or (T,H,W), all of one length; null is missing"
        ) from None
    return fields, path


def _read_form(body: Path, content_type: str, names: dict[str, str]) -> tuple[dict[str, Any], Path]:
    """Return the fields of a request and its file, whose name is reduced to the ending.

    Raises:
        Problem: no multipart, no file or several, or an unknown kind of file.
    """
    texts: dict[str, str] = {}
    files: list[Any] = []

    def note(field: Any) -> None:
        name, value = (bytes(part or b"").decode() for part in (field.field_name, field.value))
        texts[name] = value

    config = {
        "UPLOAD_DIR": str(body.parent),
        "UPLOAD_DELETE_TMP": False,
        "MAX_MEMORY_FILE_SIZE": 0,
    }
    headers = {"Content-Type": content_type.encode()}
    try:
        parser = create_form_parser(headers, note, files.append, config)
        with body.open("rb") as file:
            while chunk := file.read(2**20):
                parser.write(chunk)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise Problem(400, f"the request is not multipart/form-data ({error})") from None
    finally:
        for sent in files:
            sent.close()
    body.unlink()
    if len(files) != 1 or not files[0].actual_file_name:
        raise Problem(400, 'send one file that is not empty, as "file"')
    name = Path((files[0].file_name or b"").decode(errors="replace").replace("\\", "/")).name
    name = "".join(filter(str.isprintable, name))[-100:] or "the file"
    ending = Path(name).suffix.lower()
    if ending not in (*endings(), *IMAGES):
        kinds = ", ".join(endings())
        raise Problem(415, f"{name}: {ending or 'no ending'} is not a known format; use {kinds}")
    path = body.parent / f"upload{ending}"
    os.replace(os.fsdecode(files[0].actual_file_name), path)
    names |= {str(path): name, path.name: name}
    return {
        name: text if name in WORDS else plain_yaml(text, name)
        for name, text in texts.items()
        if text  # forms of web pages also send empty fields
    }, path


def _written(made: Forecast, output: str) -> bytes:
    if output not in ("json", "safetensors"):
        return made.to_bytes(f".{output}")
    one = made.future[0] if isinstance(made.future, Ensemble) else made.future
    about: dict[str, Any] = {"model": made.made_by, "units": one.units, "times": None}
    if one.times is not None:  # dates as text, seconds as numbers
        numbers = one.times.dtype.kind == "f"
        about["times"] = one.times.tolist() if numbers else [*map(stamp, one.times)]
    if output == "json":
        frames = made.frames.astype(object)
        frames[np.isnan(made.frames)] = None
        about |= {"shape": frames.shape, "frames": frames.tolist(), "notes": made.notes}
        return json.dumps(about).encode()
    tensors = {"past": made.past, "truth": made.truth}
    arrays = {name: _values(clip) for name, clip in tensors.items() if clip is not None}
    arrays["future"] = made.frames.astype(np.float32)
    words = {"last": str(made.last), "notes": json.dumps(made.notes), "times": ""}
    if about["times"]:
        words["times"] = json.dumps(about["times"])
    return save(arrays, {"model": made.made_by, "units": one.units, **words})


def _values(clip: Clip) -> np.ndarray:
    """Return frames as float32, or as stored if they have 8 bits."""
    values = np.asarray(clip.frames[0 : len(clip)])
    return np.ascontiguousarray(values if values.dtype == np.uint8 else values.astype(np.float32))
