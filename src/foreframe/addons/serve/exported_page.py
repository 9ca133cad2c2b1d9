"""A forecaster as a folder for any static host: the page of `foreframe serve`, which forecasts in
the visitor's browser.

    index.html, ...   the page; its backend.js is browser.js instead of server.js
    runtime/          ONNX Runtime for browsers
    model/            graphs of the forecast without members, as `export` writes them
    members/          graphs of a member, if the model draws members; they start from model/encode
    about.json        the model's metadata, and the noise of its members
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from foreframe.addons.serve.page import PAGE, metadata
from foreframe.addons.serve.web_runtime import VERSION, web_runtime
from foreframe.base.notes import warn
from foreframe.exporting.exported_graphs import export_to
from foreframe.exporting.graphs import graphs
from foreframe.forecasting.forecast_options import NONE, ExportOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.models import Lagged, Model
from foreframe.models.noise import Noise

SERVED = "server.js"  # forecasts by requests to a server
# Threads share memory, which browsers allow to pages with these headers. Some hosts read them from
# this file; for others, isolate.js sets them.
HEADERS = """/*
  Cross-Origin-Opener-Policy: same-origin
  Cross-Origin-Embedder-Policy: require-corp
"""


def export_page(
    folder: Path, forecaster: Forecaster, options: ExportOptions, name: str
) -> dict[str, float]:
    """Write the page of a forecaster to an existing folder.

    Args:
        folder, forecaster, options: as in `export_to`.
        name: name of the forecaster, for the page.

    Returns:
        The largest differences, as in `export_to`. Names of members begin with "members ".

    Raises:
        ValueError: as `export_to` and `web_runtime`; a model whose inputs a page cannot provide.
    """
    model = forecaster.model
    if model.inputs:
        raise ValueError("a page only has frames, but this model takes additional inputs")
    plain = replace(options, noise=False)
    taken = graphs(forecaster, options)[1].inputs
    if any(name.startswith("outside_") for name in taken):
        raise ValueError(
            "this model takes OpenCV's optical flow, which browsers lack: train with the guide "
            "dense_motion, which can be exported"
        )
    draws = model.draws and not isinstance(model, Lagged)
    if forecaster.match != NONE:
        warn(f"the page shows the plain forecast, without the match {forecaster.match}")
    runtime = web_runtime()
    for file in PAGE.iterdir():
        if file.name != SERVED:
            shutil.copyfile(file, folder / file.name)
    (folder / "browser.js").rename(folder / "backend.js")
    shutil.copytree(runtime, folder / "runtime")
    (folder / "_headers").write_text(HEADERS, encoding="utf-8")
    parity = export_to(folder / "model", forecaster, plain)
    if draws:
        drawn = folder / "members"
        of_members = export_to(drawn, forecaster, replace(plain, noise=True))
        (drawn / "encode.onnx").unlink()
        parity |= {f"members {part}": apart for part, apart in of_members.items()}
    scaling = forecaster.scaling
    about = {
        "model": metadata(name, forecaster) | {"members": draws},
        "bounds": scaling.bounds if scaling.kind == "range" else None,
        "noise": _noise(model),
        "runtime": f"onnxruntime-web {VERSION}",
    }
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return parity


def _noise(model: Model) -> dict[str, Any] | None:
    """The spatial structure of the members' noise, if it has any."""
    for module in model.modules():
        if isinstance(module, Noise):
            return {"whole": module.whole, "apart": [*module.apart]}
    return None
