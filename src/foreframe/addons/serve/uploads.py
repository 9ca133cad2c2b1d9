"""What the process of one request does: read what was sent, have it forecast, write the answer.

The forecast is `foreframe.predict`, so reading, checks and the words of errors are those of the
command line. Weights are not here: the frames seen go to the server through a pipe, and the
forecast comes back (`pipe.py`).
"""

import json
import math
import os
import pickle
import re
import signal
import traceback
import warnings
from collections.abc import Mapping
from contextlib import suppress
from copy import copy, deepcopy
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from safetensors.numpy import save

from foreframe.addons.serve.confinement import confine
from foreframe.addons.serve.fields import FIELDS, TYPES, WORDS, check_known
from foreframe.addons.serve.pipe import Answer, Remote, send
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
from foreframe.data.readers import ZIPPED, endings
from foreframe.forecasting.forecast import Forecast
from foreframe.forecasting.forecast_options import PredictOptions, changed
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.recordings import check_channels, knows_other_digits

BODY = "body"  # the file of what was sent
FROM_BUDGET = 3  # of memory: frames as the file has them, as numbers, and on their way to a file


def without_weights(forecaster: Forecaster) -> bytes:
    """All of a forecaster but its weights, pickled."""
    own = copy(forecaster)
    own.model = deepcopy(forecaster.model).to("meta")
    return pickle.dumps(own)


def respond(
    connection: Connection, folder: Path, models: Mapping[str, bytes], options: ServeOptions
) -> None:
    """Confine this process to a folder, and answer one request in it: arguments as of `answer`."""
    confine(folder, int(FROM_BUDGET * options.budget * GIB), math.ceil(options.seconds))
    for number in (signal.SIGINT, signal.SIGTERM):  # of the server, which ends in good order
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    answer(connection, folder, models, options)


def answer(
    connection: Connection, folder: Path, models: Mapping[str, bytes], options: ServeOptions
) -> None:
    """Answer a request, when one comes.

    Args:
        connection: to the server. First the Content-Type of the request comes, whose body is then
            the file `BODY`; what the server gets are messages of `pipe.py`.
        folder: may be written to.
        models: those of `without_weights`, by name.
    """
    names, content = {f"{folder}{os.sep}": ""}, b""
    try:
        content_type = connection.recv()
        of_json = content_type.startswith("application/json")
        given, path = (_read_json if of_json else _read_form)(folder / BODY, content_type, names)
        with listening(lambda note: None):  # the forecast has them, too
            made, output = _forecast(connection, models, given, path, options)
        notes = tuple(_for_client(note, names) for note in made.notes)
        content = _written(replace(made, future=_named(made.future, names), notes=notes), output)
        told = Answer(200, output=output)
    except EOFError:  # the server has given it up
        return
    except Exception as error:
        status, detail = _status_of(error)
        told = Answer(status, _for_client(detail, names))
    send(connection, told)
    if told.status == 200:
        connection.send_bytes(content)


def _status_of(error: Exception) -> tuple[int, str]:
    """The status of an error, and its sentence."""
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
    given: dict[str, Any],
    path: Path,
    options: ServeOptions,
) -> tuple[Forecast, str]:
    """The forecast of a file by the fields that came with it, and the kind of answer."""
    reading: dict[str, Any] = {"budget": options.budget}
    if "variable" in given:
        if path.suffix == ".npy":
            raise ValueError(f"{path.name} holds one array, and no variables: leave out variable")
        reading["variable"] = given.pop("variable")
    name = str(given.pop("model", "") or _default_model(models, path, reading))
    output = str(given.pop("output", "json"))
    check_known("model", [name], models)
    check_known("output", [output], TYPES)
    check_known("field", given, FIELDS)
    fixed = PredictOptions(precision=options.precision, budget=options.budget)
    f: Forecaster = pickle.loads(models[name])
    f = f.computed_by(Remote(connection, name))
    made = predict(f, str(path), None, changed(fixed, {**given, "reading": reading}))
    assert isinstance(made, Forecast)
    return replace(made, made_by=name), output


def _default_model(models: Mapping[str, bytes], path: Path, reading: Mapping[str, Any]) -> str:
    """The first model that takes such a recording, by channels and units; else the first of all,
    which then says why it does not.
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
    """A message in a client's words: with its names in place of paths, and of flags."""
    text = " ".join(re.sub(r"--(reading\.)?(?=\w)", "", text).split())
    return re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], text)


def _named(future: Clip | Ensemble, names: Mapping[str, str]) -> Clip | Ensemble:
    """A forecast with the client's name of the recording, which becomes a file's title."""
    if isinstance(future, Clip):
        return replace(future, name=_for_client(future.name, names))
    return Ensemble.like(replace(future[0], name=_for_client(future[0].name, names)), future.frames)


def _read_json(body: Path, content_type: str, names: dict[str, str]) -> tuple[dict[str, Any], Path]:
    """The fields of a request, and the file of its frames."""
    try:
        given = json.loads(body.read_bytes())
    except (ValueError, RecursionError):
        raise Problem(400, "the request is no JSON") from None
    if not isinstance(given, dict) or "frames" not in given:
        raise ValueError('send {"frames": lists of numbers, (T,C,H,W) or (T,H,W)}')
    path = body.parent / "frames.npy"
    names |= {str(path): "frames", path.name: "frames"}
    try:
        np.save(path, np.array(given.pop("frames"), np.float32))
    except (ValueError, TypeError, OverflowError):
        raise ValueError(
            "frames are lists of numbers, (T,C,H,W) or (T,H,W), all of one length; null is missing"
        ) from None
    return given, path


def _read_form(body: Path, content_type: str, names: dict[str, str]) -> tuple[dict[str, Any], Path]:
    """The fields of a request, and the file that came with it; of its name only the ending stays.

    Raises:
        Problem: no multipart, no file or several, or one of a kind that is not read.
    """
    texts: dict[str, str] = {}
    files: list[Any] = []

    def note(field: Any) -> None:
        name, value = (bytes(part or b"").decode() for part in (field.field_name, field.value))
        texts[name] = value

    boundary = parse_options_header(content_type)[1].get(b"boundary")
    own = {
        "UPLOAD_DIR": str(body.parent),
        "UPLOAD_DELETE_TMP": False,
        "MAX_MEMORY_FILE_SIZE": 0,
    }
    try:
        parser = FormParser("multipart/form-data", note, files.append, None, boundary, config=own)
        with body.open("rb") as file:
            while chunk := file.read(2**20):
                parser.write(chunk)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise Problem(400, f"the request is no multipart/form-data ({error})") from None
    finally:
        for sent in files:
            sent.close()
    body.unlink()
    if len(files) != 1 or not files[0].actual_file_name:
        raise Problem(400, 'send one file that is not empty, as "file"')
    name = Path((files[0].file_name or b"").decode(errors="replace").replace("\\", "/")).name
    name = "".join(filter(str.isprintable, name))[-100:] or "the file"
    ending = Path(name).suffix.lower()
    if ending not in (*endings(), *IMAGES, ZIPPED):
        kinds = ", ".join(endings())
        raise Problem(415, f"{name}: {ending or 'no ending'} is no kind that is read; {kinds} are")
    path = body.parent / f"upload{ending}"
    os.replace(os.fsdecode(files[0].actual_file_name), path)
    names |= {str(path): name, path.name: name}
    return {
        name: text if name in WORDS else plain_yaml(text, name)
        for name, text in texts.items()
        if text  # a form of a page also sends what was left empty
    }, path


def _written(made: Forecast, output: str) -> bytes:
    if output not in ("json", "safetensors"):
        return made.to_bytes(f".{output}")
    one = made.future[0] if isinstance(made.future, Ensemble) else made.future
    about: dict[str, Any] = {"model": made.made_by, "units": one.units, "times": None}
    if one.times is not None:  # dates as words, seconds as numbers
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
    """Frames as float32, or of 8 bits."""
    values = np.asarray(clip.frames[0 : len(clip)])
    return np.ascontiguousarray(values if values.dtype == np.uint8 else values.astype(np.float32))
