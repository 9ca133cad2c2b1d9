"""Bad requests by the thousand, to a service that runs: each is a function of its number."""

import json
import random
import re
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from robustness.bad_inputs import (
    ODD_WORDS,
    damaged,
    odd_grid,
    odd_json,
    odd_npy,
    odd_npz,
    write_recordings,
)

ENDINGS = ["npy", "npz", "gif", "webp", "mp4", "nc", "png", "h5", "tif", "xyz", "m3u8", "avi", ""]
FIELDS = ["model", "steps", "past", "after", "recording", "variable", "members", "seed", "match"]
FIELDS += ["output", "budget", "unknown", "file", ""]
OUTPUTS = ["json", "npy", "nc", "mp4", "gif", "png", "safetensors", "exe"]
ODD_NAMES = ["../../up.npy", "/etc/passwd", "a" * 5000 + ".npy", "a\nb.npy", "é.npy", "", ".npy"]
FORECAST = "http://[::1]/v1/forecast"
STREAM = "http://[::1]/v1/streams/stream-of-strangers"
# What no answer says: where the service lies, where it writes, and what it is written in.
OWN = re.compile(
    "|".join(map(re.escape, (tempfile.gettempdir(), sys.prefix, sys.base_prefix, str(Path.home()))))
    + r"|site-packages|Traceback|\.py\b|foreframe-|upload\."
)


def make_whole(folder: Path) -> dict[str, bytes]:
    """Small whole files, by ending."""
    with chdir(folder):
        write_recordings(np.random.default_rng(0).random((12, 16, 16)).astype(np.float32))
        odd_grid(random.Random(0), "a.nc")
    return {path.suffix[1:]: path.read_bytes() for path in sorted(folder.glob("a.*"))}


def posted(address: str, content: bytes, kind: str | None = None) -> httpx.Request:
    headers = {} if kind is None else {"content-type": kind}
    return httpx.Request("POST", address, content=content, headers=headers)


def forecast_request(draw: random.Random, whole: dict[str, bytes], folder: Path) -> httpx.Request:
    """A file that is damaged or claims what it cannot hold, with fields that make no sense."""
    kind = draw.choice(list(whole))
    content = whole[kind]
    if kind == "npy" and draw.random() < 0.6:
        content = odd_npy(draw)
    elif kind == "npz" and draw.random() < 0.6:
        content = odd_npz(draw)
    elif kind == "nc" and draw.random() < 0.6:
        (folder / "odd.nc").unlink(missing_ok=True)
        odd_grid(draw, str(folder / "odd.nc"))
        content = (folder / "odd.nc").read_bytes()
    elif draw.random() < 0.8:
        content = damaged(draw, content)
    ending = kind if draw.random() < 0.8 else draw.choice(ENDINGS)
    name = f"a.{ending}" if draw.random() < 0.8 else draw.choice(ODD_NAMES)
    fields = {"steps": "2", "output": draw.choice(OUTPUTS)}
    if draw.random() < 0.4:
        fields |= {draw.choice(FIELDS): draw.choice(ODD_WORDS)[:999].replace("\udcff", "?")}
    made = httpx.Request("POST", FORECAST, data=fields, files={"file": (name, content)})
    if draw.random() < 0.1:  # the form itself
        return posted(FORECAST, damaged(draw, made.read()), made.headers["content-type"])
    return made


def json_request(draw: random.Random) -> httpx.Request:
    frames = np.random.default_rng(0).random((4, 3, 3)).tolist()
    values = odd_json(
        draw, {"frames": frames, "steps": 2, "output": draw.choice(OUTPUTS)}, draw.choice([1, 2])
    )
    body = json.dumps(values).encode()
    if draw.random() < 0.3:
        body = damaged(draw, body)
    kind = draw.choice(["application/json"] * 5 + ["text/plain", "multipart/form-data", ""])
    return posted(FORECAST, body, kind)


def stream_request(draw: random.Random, whole: dict[str, bytes], state: bytes) -> httpx.Request:
    """Frames, or a state, for a stream, and odd numbers of steps."""
    way = draw.random()
    if way < 0.4:
        content = draw.choice([odd_npy(draw), damaged(draw, whole["npy"])])
        return posted(f"{STREAM}/frames", content)
    if way < 0.5:
        values = odd_json(draw, {"frames": [[[0.5] * 16] * 16]}, 1)
        return posted(f"{STREAM}/frames", json.dumps(values).encode(), "application/json")
    if way < 0.9:
        return httpx.Request("PUT", f"{STREAM}/state", content=damaged(draw, state))
    steps = draw.choice(ODD_WORDS)[:999].replace("\udcff", "?")
    return httpx.Request("GET", f"{STREAM}/forecast", params={"steps": steps})


def request(number: int, whole: dict[str, bytes], state: bytes, folder: Path) -> httpx.Request:
    draw = random.Random(number)
    way = draw.random()
    if way < 0.7:
        return forecast_request(draw, whole, folder)
    return json_request(draw) if way < 0.8 else stream_request(draw, whole, state)


def wrong(answer: httpx.Response) -> str:
    """What is wrong with an answer; nothing where it is whole or a problem in one sentence."""
    if answer.status_code < 400:
        return ""
    if answer.status_code >= 500 and answer.status_code not in (503, 504):
        return f"{answer.status_code} {answer.text[:500]}"
    if answer.headers.get("content-type") != "application/problem+json":
        return f"no problem: {answer.status_code} {answer.text[:500]}"
    told: Any = answer.json()["detail"]
    if own := OWN.search(told):
        return f"tells of {own[0]}: {told[:500]}"
    return "" if told and len(told) < 2000 and "\n" not in told else f"not one sentence: {told!r}"
