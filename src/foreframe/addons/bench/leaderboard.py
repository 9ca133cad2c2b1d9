"""A leaderboard: forecasters scored on the same clips, as plain values and as files."""

import csv
import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe import __version__
from foreframe.base.files import atomic_write
from foreframe.clips.clip import Window
from foreframe.data import Recordings
from foreframe.data.datasets import ClipSet
from foreframe.evaluation.metrics import SCORES
from foreframe.evaluation.metrics.bootstrap import interval, resampled
from foreframe.evaluation.report import finite
from foreframe.visuals.curves import curves_png
from foreframe.visuals.tables import Table, figure, number, title_of

FILE = "leaderboard.json"
PUBLISHED = Path(__file__).with_name("published.csv")  # with sources

CONVENTIONS = {
    "openstl": {
        "mse": "openstl: squared errors on 0 to 1, summed over a frame",
        "mae": "openstl: absolute errors on 0 to 1, summed over a frame",
        "ssim": "openstl: 7x7 uniform window, data range L = 2",
        "psnr": "openstl: dB of each frame, then the mean",
    },
    "physical": {
        "rmse": "over all values of all clips, in the data's units",
        "mae": "over all values of all clips, in the data's units",
    },
    "others": {
        "csi": "hits over hits, misses and false alarms",
        "fss": "fractions skill score",
        "crps": "fair, of members alone, mean over all values; without units on 0 to 1",
    },
}
"""The displayed scores: data without units, data with units, events and members."""

HIGHER = {"ssim", "psnr", "csi", "fss"}
DIGITS = {"mse": ".2f", "mae": ".2f", "psnr": ".2f", "ssim": ".4f"}  # as papers give them


class Leaderboard(dict[str, Any]):
    """Plain values, as leaderboard.json has them; prints as a table.

    {"foreframe", "date", "machine", "data": {"name", "data_args", "split", "hash", "clips", "past",
    "future", "frame", "channels", "units"}, "scores": [{"key", "name", "convention", "better"}],
    "ranked_by", "rows": [{"name", "rank": [lowest, highest], "scores": {key: {"overall",
    "per_lead", "interval"}}, "parameters", "multiply_adds", "forecast": {"seconds",
    "memory" in MiB}, "trained": {"clips", "minutes", "steps", "budget"},
    "by_clip": the sums of the ranking score for each clip}], "published"}
    """

    def __repr__(self) -> str:
        return str(table_of(self))


def convention_of(units: str) -> str:
    return "physical" if units else "openstl"


def identity(
    dataset: ClipSet, clips: Sequence[int], window: Window, where: Mapping[str, Any], units: str
) -> dict[str, Any]:
    """Describe the scored data. The hash covers the observations in the numbers of their files, and
    for recordings without units also the scale of the errors.
    """
    digest = hashlib.sha256()
    for clip in clips:
        frames = dataset.values(clip)[window.past : window.length]
        digest.update(np.ascontiguousarray(frames).tobytes())
    if isinstance(dataset, Recordings) and not units:
        digest.update(repr(scale_of(dataset)).encode())
    _, c, *frame = dataset[clips[0]].shape
    return {
        "name": where.get("data", dataset.name),
        "data_args": where.get("data_args", {}),
        "split": where.get("split", ""),
        "hash": f"sha256:{digest.hexdigest()}",
        "clips": len(clips),
        "past": window.past,
        "future": window.future,
        "frame": frame,
        "channels": c - dataset.inputs,
        "units": units,
    }


def scale_of(dataset: ClipSet) -> tuple[float, float, bool]:
    """Return the ends of the scale and whether it is linear: errors without units depend on it."""
    scaling = dataset.scaling.of(dataset.dtype_of(0))
    return scaling.low, scaling.high, scaling.kind in ("range", "minmax", "standard")


def read_leaderboard(folder: Path) -> Leaderboard:
    """Read the leaderboard in a folder; an empty one if the file is missing.

    Raises:
        ValueError: the file is damaged.
    """
    file = folder / FILE
    if not file.is_file():
        return Leaderboard()
    try:
        found = Leaderboard(json.loads(file.read_text(encoding="utf-8")))
        lacks = not found["data"]["hash"] or not all(row["by_clip"] for row in found["rows"])
    except (ValueError, LookupError, TypeError, RecursionError):
        lacks = True
    if lacks:
        raise ValueError(f"{file} is damaged or not a leaderboard: name another --output")
    return found


def check_same(before: Mapping[str, Any], data: Mapping[str, Any], folder: Path) -> None:
    """Raise ValueError for a leaderboard of other frames; the message describes both."""
    if before and before["data"]["hash"] != data["hash"]:
        was, now = (title_of({**of, "data": of["name"]}) for of in (before["data"], data))
        raise ValueError(
            f"{folder / FILE} is of other frames ({was}) than these ({now}): name another --output"
        )


def merged(
    before: Mapping[str, Any],
    data: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    groups: Sequence[int],
    device: str,
) -> Leaderboard:
    """Add rows to a leaderboard, replace rows of the same names, and rank all by the first score,
    best first.

    Args:
        before: a leaderboard of the same data, or an empty one.
        groups: the group of each clip; groups are independent.
    """
    named = {row["name"]: dict(row) for row in [*before.get("rows", ()), *rows]}
    convention = convention_of(data["units"])
    about, by = CONVENTIONS[convention], next(iter(CONVENTIONS[convention]))
    sums = [torch.tensor(np.array(row["by_clip"], dtype=float)) for row in named.values()]
    errors, n = resampled(sums, SCORES[convention][by].value, groups)
    for row, rank in zip(named.values(), ranks(errors, n), strict=True):
        row["rank"] = list(rank)
    scores = []
    for key in dict.fromkeys(key for row in named.values() for key in row["scores"]):
        kind, *of = key.split()
        means = {**CONVENTIONS["others"], **about}[kind]
        better = "higher" if kind in HIGHER else "lower"
        name = " ".join([kind.upper(), *of])
        scores.append({"key": key, "name": name, "convention": means, "better": better})
    plain = finite(list(named.values()))
    overall = {row["name"]: row["scores"][by]["overall"] for row in plain}
    order = {name: math.inf if value is None else value for name, value in overall.items()}
    quoted = data["name"].startswith("moving_mnist") and not data["data_args"]
    quoted = quoted and (data["past"], data["future"]) == (10, 10)
    return Leaderboard(
        foreframe=__version__,
        date=date.today().isoformat(),
        machine={"processor": _processor(), "cores": os.cpu_count(), "device": device},
        data=dict(data),
        scores=scores,
        ranked_by=by,
        rows=sorted(plain, key=lambda row: order[row["name"]]),
        published=published_rows() if quoted else [],
    )


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def ranks(errors: Sequence[Float[Tensor, " all_and_resamples"]], n: int) -> list[tuple[int, int]]:
    """Return the lowest and the highest possible rank of each forecaster at 95 %.

    A paired bootstrap decides which forecasters are better and which are worse. Pairs are compared
    one by one, so with many forecasters a rank or two may be chance.

    Args:
        errors: of each forecaster, from `resampled`; lower is better.
        n: number of groups.
    """

    def better(one: Tensor, other: Tensor) -> bool:
        high = interval((one - other)[1:], n)[1]
        return high is not None and high < 0

    return [
        (
            1 + sum(better(other, own) for other in errors),
            len(errors) - sum(better(own, other) for other in errors),
        )
        for own in errors
    ]


def published_rows() -> list[dict[str, Any]]:
    """Return published scores on the test file of Moving MNIST, of networks trained for 200 or 2000
    epochs of 10,000 clips.
    """
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return [
            {
                "name": f"{row['name']}, {row['epochs']} epochs",
                **{key: float(row[key]) if row[key] else None for key in DIGITS},
                "parameters": int(row["parameters"]),
                "source": row["source"],
                "convention": "openstl",
            }
            for row in csv.DictReader(file)
        ]


def table_of(leaderboard: Mapping[str, Any]) -> Table:
    """Return the table of ranks, scores and costs, without empty columns."""
    data, by, machine = (leaderboard[key] for key in ("data", "ranked_by", "machine"))
    scores, rows = leaderboard["scores"], dict[str, dict[str, str]]()
    for row in leaderboard["rows"]:
        cells = rows[row["name"]] = {"rank": "-".join(map(str, dict.fromkeys(row["rank"])))}
        for score in scores:
            found = row["scores"].get(score["key"], {})
            digits = ".4g" if data["units"] else DIGITS.get(score["key"], ".4g")
            cells[score["name"]] = number(found.get("overall"), digits)
            if score["key"] == by:
                low, high = found["interval"]
                cells["95 %"] = "-" if low is None else f"{figure(low)}-{figure(high)}"
        adds, trained = row["multiply_adds"], row["trained"] or {}
        cells["parameters"] = number(row["parameters"], ",")
        cells["G mult-adds"] = figure(adds and adds / 1e9)
        forecast = row["forecast"] or {}
        cells["s"], cells["MiB"] = figure(forecast.get("seconds")), figure(forecast.get("memory"))
        cells["clips seen"] = number(trained.get("clips"), ",")
        cells["minutes"] = figure(trained.get("minutes"))
    heads = [head for head in cells if any(of[head] != "-" for of in rows.values())]
    notes = [
        f"rank: those that a paired bootstrap of {by.upper()} leaves open at 95 %; 95 %: of "
        f"{by.upper()}. s, MiB: of a forecast of one clip, beside weights and data.",
        *(f"{score['name']}: {score['convention']}." for score in scores),
        f"foreframe {leaderboard['foreframe']}, {leaderboard['date']}, {machine['processor']}, "
        f"{machine['cores']} cores, {machine['device']}. Frames: {data['hash']}.",
    ]
    shown = {name: [of[head] for head in heads] for name, of in rows.items()}
    columns = [("", head) for head in heads]
    return Table(title_of({**data, "data": data["name"]}), columns, shown, notes)


def markdown(leaderboard: Mapping[str, Any]) -> str:
    """Return the leaderboard as Markdown, with the published rows in a separate table."""
    lines: list[str] = []
    tables = [table_of(leaderboard)]
    if leaderboard["published"]:
        tables.append(published_table(leaderboard["published"]))
    for level, table in zip(("#", "\n##"), tables, strict=False):
        rows = [[name.replace("|", "\\|"), *cells] for name, cells in table.rows.items()]
        ruler = ["---", *["--:"] * len(table.columns)]
        heads = ["", *(head for _, head in table.columns)]
        lines.append(f"{level} {table.title}\n")
        lines += [f"| {' | '.join(cells)} |" for cells in (heads, ruler, *rows)]
        lines += ["", *(f"{note}\n" for note in table.notes)] if table.notes else []
    return "\n".join(lines) + "\n"


def published_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of published scores."""
    cells = {
        row["name"]: [*(number(row[key], form) for key, form in DIGITS.items()), row["source"]]
        for row in rows
    }
    heads = [("", head) for head in [*map(str.upper, DIGITS), "source"]]
    return Table("Published: other clips and trainings, not ranked; openstl", heads, cells, [])


def curves_of(leaderboard: Mapping[str, Any]) -> bytes:
    """Return a PNG of the scores by lead time, with one panel for each score."""
    panels: dict[str, dict[str, list[float]]] = {}
    for score in leaderboard["scores"]:
        for row in leaderboard["rows"]:
            leads = row["scores"].get(score["key"], {}).get("per_lead", [])
            if any(value is not None for value in leads):
                known = [math.nan if value is None else value for value in leads]
                panels.setdefault(score["name"], {})[row["name"]] = known
    return curves_png(panels)


def write_leaderboard(folder: Path, leaderboard: Mapping[str, Any]) -> None:
    """Write leaderboard.json with one row a line, the tables in .md, and the curves in .png.

    Raises:
        ValueError: the folder cannot be written. Each file is written atomically.
    """
    head = json.dumps({**leaderboard, "rows": []}, indent=1)
    rows = ",\n  ".join(map(json.dumps, leaderboard["rows"]))
    for name, text in {
        FILE: head.replace('"rows": []', f'"rows": [\n  {rows}\n ]', 1) + "\n",
        "leaderboard.md": markdown(leaderboard),
    }.items():
        with atomic_write(folder / name) as rough:
            rough.write_text(text, encoding="utf-8")
    with atomic_write(folder / "leaderboard.png") as rough:
        rough.write_bytes(curves_of(leaderboard))
