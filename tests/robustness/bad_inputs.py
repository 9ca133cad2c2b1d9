"""Bad input by the thousand: every case is handled (exit 0) or refused in one line (exit 2).

    python tests/robustness/bad_inputs.py               # 3,000 cases; one core does 100 a minute
    python tests/robustness/bad_inputs.py --case 1234   # one of them again, with what it said

A case is a function of its number: a file that is damaged or claims what it cannot hold, a config,
a checkpoint, a saved folder or a stream's state of a stranger, or flags, given to one of the verbs
in a process of its own. It fails where that ends in anything but 0 or 2, says more than one line
(notes aside), takes more than 2 GiB or 30 seconds, or leaves temporary files behind.
"""

import argparse
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

MOST_MEMORY, MOST_SECONDS = 2 * 2**20, 30  # KiB, s
ODD_WORDS = [
    "null", "nan", ".nan", "inf", "-.inf", "-1", "0", "1", "1e400", "1e9", "1000000000",
    "99999999999999999999", "", " ", "true", "[]", "{}", "[1,2", "[nan]", "[2]", "[0,0]",
    "[-1,5]", "[null]", "{a: {b: c}}", "a\0b", "\udcff", "é", "x" * 5000, "/dev/zero",
    "/dev/null", "//host/share/x.npy", "http://127.0.0.1:9/x.zarr", "{class_path: os.system}",
    "!!python/object:os.system {}", "&a [*a]", "[" * 3000, "2020-01-01", "5.5", "1e3", "0x10",
    "~", "-", "moving_mnist", "os.system", "foo", "auto", "a.b.c", "1:2",
]  # fmt: skip
ODD_VALUES: list[Any] = [
    None, True, -1, 0, 1, 2, 10**9, 10**30, -(10**12), 5.5, 1e300, float("nan"), float("inf"), "",
    "x", "a\0b", "1", "nan", [], [1], [1, 2, 3], [None], [[1]], {}, {"a": 1}, {"name": "x"},
    "os.system", "http://127.0.0.1:9/x", "../../x", "x" * 5000, [10**9], [-8],
    {"class_path": "os.system"}, [0.5] * 3, "2020-01-01",
]  # fmt: skip
KINDS_OF_VALUES = [
    "<f4", ">f4", "<f8", "|u1", "<i2", ">u2", "|b1", "<c8", "|O", "<U9", "<M8[s]", "<f2",
    "[('a','<f4')]", "?", "x",
]  # fmt: skip
SHAPES: list[Any] = [
    (10**9, 10**9), (24, 16, 16), (24, 1, 16, 16), (0, 16, 16), (24, 0, 16), (), (5,), (2,) * 12,
    (-1, 4, 4), (10**30,), (24, 16, 16.5), (1, 10**6, 10**6), (20, 13000, 13000), "x",
    (10**7, 8, 8), (24, 3, 16, 16), (24, 17, 16, 16),
]  # fmt: skip
ODD_YAML = [
    "a: &a [*a]", "a: " * 3000, "{a: " * 3000, "[" * 100_000, "&a [*a,*a]", "- 1\n- 2", "3", "",
    "\x00", "? [1]\n: 2", "x: !!python/name:os.system", "data: x\ndata: y", "<<: {data: x}",
    "%YAML 9.9\n---\na: 1", "a: 1\n---\nb: 2", "\ufeffmodel: quick", "#" * 300_000,
    "model: quick\n" * 5000,
    "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\nd: "
    "[*c,*c,*c]",
]  # fmt: skip
ODD_JSON = [
    "[" * 100_000, "{}", "[]", "3", "null", "", "NaN", '{"a":' * 5000,
    '{"model": 1' + "0" * 5000 + "}", " " * 2_000_000,
]  # fmt: skip
ODD_STATES = [
    "", "x", "-1", "NaN", "[" * 5000, "{}", "[]", '{"path": 3}', '{"frames": -5, "path": "-"}',
    '{"frames": "x"}', '{"last": 1}', "1e99", "9" * 5000,
]  # fmt: skip
SMALL = [
    *("--data_args.clips", "8", "--validation_clips", "2", "--batch_size", "2"),
    *("--hidden", "2", "--past", "2", "--future", "2"),
]
HERE = ["--picture_every", "0", "--device", "cpu", "--devices", "1", "--precision", "32-true"]
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("quick", {"core": {"convlstm": {"hidden": [2], "peepholes": True}}, "start": "states"}),
    (
        "encoder_decoder",
        {"channels": 1, "output": {"draw": {"feed": "frame"}}, "attention": 2, "backward": 1},
    ),
    ("nowcast", {"output": {"blend": {"guides": [{"cycle": {"period": 2}}], "blurs": [1.0]}}}),
    (
        "at_once",
        {
            "horizon": 2,
            "codec": {"strided": {"widths": [2], "norm": "none"}},
            "draw": {"over": "all"},
        },
    ),
    ("next_frame", {"codec": {"patches": {"size": 4, "show_last": True}}, "draw": {"kernel": 1}}),
]


# What is damaged: small, whole files of every kind


def make_whole(folder: Path) -> None:
    """The files that cases damage. In a process of its own: zarr leaves threads behind, which no
    fork survives.
    """
    import torch
    import xarray as xr
    from PIL import Image

    from foreframe import Forecaster, Window
    from foreframe.cli import main
    from foreframe.forecasting.checkpoint_files import write_checkpoint
    from foreframe.forecasting.trained import Trained
    from foreframe.models import build_model
    from foreframe.visuals import write_mp4

    os.chdir(folder)
    draw = np.random.default_rng(0)
    frames = draw.random((24, 16, 16)).astype(np.float32)
    bytes_ = (255 * frames).astype(np.uint8)
    np.save("a.npy", frames)
    np.savez_compressed("a.npz", frames=frames, times=np.arange(24.0))
    pictures = [Image.fromarray(frame) for frame in bytes_]
    pictures[0].save("a.gif", save_all=True, append_images=pictures[1:])
    pictures[0].save("a.webp", save_all=True, append_images=pictures[1:])
    write_mp4("a.mp4", np.repeat(bytes_[..., None], 3, axis=3), 10)
    for kind in ("png", "tif", "webp"):
        Path(f"pictures.{kind}").mkdir()
        for k, picture in enumerate(pictures):
            picture.save(f"pictures.{kind}/{k:03d}.{kind}")
    times = np.datetime64("2020-01-01T00:00", "ns") + np.arange(24) * np.timedelta64(5, "m")
    places = {"time": times, "y": np.arange(16.0), "x": np.arange(16.0)}
    grid = xr.Dataset({"rain": (("time", "y", "x"), frames, {"units": "mm/h"})}, places)
    grid.to_netcdf("a.nc")
    grid.to_zarr("a.zarr", consolidated=False)
    torch.manual_seed(0)
    model = build_model(
        "tutorial", {"core": {"convlstm": {"hidden": [2]}}, "codec": {"patches": {"size": 4}}}
    )
    forecaster = Forecaster(
        model,
        Window(2, 2),
        trained=Trained("moving_mnist", frame=(64, 64), seed=0),
        about={"title": "A model"},
    )
    forecaster.save("model")
    live = forecaster.stream()
    live.push(frames[0][None])
    live.source = {"path": "-", "frames": 1}
    live.save("live.safetensors")
    quick = ["train", "--config", "quick", *SMALL, "--trainer.max_steps", "2", *HERE]
    assert main([*quick, "--run", "run"]) == 0
    held = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    write_checkpoint(Path("a.ckpt"), held)


# Damage


def damaged(draw: random.Random, raw: bytes) -> bytes:
    """Bytes cut short, flipped, zeroed, repeated, overwritten with large numbers, or all others."""
    made, n = bytearray(raw), len(raw)
    way = draw.randrange(8)
    if way == 0:
        return bytes(made[: draw.randrange(n + 1)])
    if way == 1:
        for _ in range(draw.choice([1, 3, 30])):
            made[draw.randrange(n)] ^= 1 << draw.randrange(8)
    elif way == 2:
        start = draw.randrange(n)
        made[start : start + draw.choice([1, 16, 512])] = bytes(
            min(draw.choice([1, 16, 512]), n - start)
        )
    elif way == 3:
        start = draw.randrange(n)
        made[start:start] = made[start : start + draw.choice([4, 100, 5000])]
    elif way == 4:  # a number in the header becomes a large one
        start = draw.randrange(min(n, 512))
        made[start : start + 4] = draw.choice(
            [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x00"]
        )
    elif way == 5:
        return draw.randbytes(draw.choice([0, 1, 10, 5000]))
    elif way == 6:
        return raw[:8] + draw.randbytes(200)
    else:
        made += draw.randbytes(draw.choice([1, 1000]))
    return bytes(made)


def odd_npy(draw: random.Random) -> bytes:
    """A header that claims anything, before a few bytes."""
    kind = draw.choice(KINDS_OF_VALUES)
    shape: Any = draw.choice(SHAPES)
    order = draw.choice(["False", "True", "None", "1"])
    descr = kind if kind.startswith("[") else repr(kind)
    head = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape!r}, }}".encode()
    head += b" " * draw.randrange(64) + b"\n"
    version = draw.choice([b"\x01\x00", b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x09\x00"])
    size = struct.pack("<H", len(head))
    if version != b"\x01\x00":
        size = struct.pack("<I", draw.choice([len(head), 2**31]))
    body = draw.choice([b"", draw.randbytes(100), bytes(24 * 16 * 16 * 4)])
    return b"\x93NUMPY" + version + size + head + body


def odd_npz(draw: random.Random) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in draw.sample(
            ["frames.npy", "clips.npy", "times.npy", "latitude.npy", "units.npy", "../up.npy", "x"],
            draw.randint(0, 4),
        ):
            archive.writestr(name, odd_npy(draw) if draw.random() < 0.7 else draw.randbytes(50))
        if draw.random() < 0.2:
            archive.writestr("bomb.npy", odd_npy(draw) + bytes(30_000_000))
    return content.getvalue()


def odd_json(draw: random.Random, values: Any, times: int = 1) -> Any:
    """Plain values of which some, somewhere inside, are others, lacking or more."""
    for _ in range(times):
        values = _changed(draw, values)
    return values


def _changed(draw: random.Random, values: Any) -> Any:
    if isinstance(values, dict) and values and draw.random() < 0.9:
        name, way = draw.choice(list(values)), draw.random()
        if way < 0.1:
            return {key: value for key, value in values.items() if key != name}
        if way < 0.2:
            return values | {
                draw.choice(["extra", "", "class_path", "a" * 300, name + "x"]): draw.choice(
                    ODD_VALUES
                )
            }
        return values | {name: _changed(draw, values[name])}
    if isinstance(values, list) and values and draw.random() < 0.5:
        return [*values[:-1], _changed(draw, values[-1])]
    return draw.choice(ODD_VALUES)


def odd_grid(draw: random.Random, path: str) -> None:
    """A grid that a library writes, of things that make no sense."""
    import xarray as xr

    t, h, w = draw.choice([(24, 16, 16), (1, 1, 1), (3, 2, 2), (24, 16, 1)])
    step = np.timedelta64(draw.choice([0, 5, -5, 60]), "m")
    times: Any = np.datetime64("2020-01-01", "ns") + np.arange(t) * step
    if draw.random() < 0.3:
        words = np.array([f"t{k}" for k in range(t)])
        times = draw.choice([np.full(t, np.nan), np.arange(t)[::-1].copy(), words])
    values: Any = np.random.default_rng(draw.randrange(99)).random((t, h, w))
    if draw.random() < 0.5:
        large = values.astype(np.float32) * 1e38
        whole, words = values.astype(np.int16), values.astype(str)
        values = draw.choice([values * np.nan, values + np.inf, whole, values > 0.5, large, words])
    names = draw.choice(
        [("time", "y", "x"), ("a", "b", "c"), ("time", "time2", "x"), ("x", "y", "time")]
    )
    rain = (names, values, {"units": draw.choice(["mm/h", "", "furlongs", "K", "1", "\\"])})
    dataset = xr.Dataset(
        {draw.choice(["rain", "time_bnds", "a b", "é"]): rain}, {"time": ((names[0],), times)}
    )
    if draw.random() < 0.3:
        dataset["other"] = (("q", "r"), np.zeros((2, 2)))
    if draw.random() < 0.2:
        for variable in dataset.data_vars.values():
            variable.encoding["_FillValue"] = draw.choice([-999.0, 0.0])
    try:
        if path.endswith(".nc"):
            dataset.to_netcdf(path)
        else:
            dataset.to_zarr(path, consolidated=False)
    except Exception:  # the library refuses some of it: then the file is cut short, or not there
        Path(path).touch() if path.endswith(".nc") else Path(path).mkdir(exist_ok=True)


# Cases: each writes its files into the current folder, and gives the arguments


def verbs(draw: random.Random, path: str) -> list[str]:
    """A verb that reads a recording, on the one at `path`."""
    strict = ["--reading.strict", "true"] if draw.random() < 0.3 else []
    rolling = draw.choice(["out.gif", "out.nc", "out.mp4", "out"])
    train = ["train", "--config", "quick", "--data", path, *SMALL[2:], "--trainer.max_steps", "1"]
    verb = draw.choice(
        [
            ["data", "check", path, "--past", "2", "--future", "2"],
            ["predict", "model", path, "-o", "out.npy", "--steps", "3", *strict],
            ["predict", "model", path, "-o", rolling, "--every", "5"],
            ["evaluate", "model", "--data", path, "--clips", "2", "--output", "out"],
            ["stream", "model", path, "--wait", "0.1", "--steps", "2"],
            [*train, *HERE, "--run", "out"],
        ]
    )
    if path.endswith(".mp4") and draw.random() < 0.8:  # the model takes one channel
        verb += ["--reading.colour", "grey"]
    return verb


def reader_case(draw: random.Random, kind: str) -> list[str]:
    name = f"a.{kind}"
    if kind == "npy" and draw.random() < 0.6:
        Path(name).write_bytes(odd_npy(draw))
    elif kind == "npz" and draw.random() < 0.6:
        Path(name).write_bytes(odd_npz(draw))
    elif kind in ("nc", "zarr") and draw.random() < 0.5:
        shutil.rmtree(name) if kind == "zarr" else Path(name).unlink()
        odd_grid(draw, name)
    elif kind == "zarr":
        files = sorted(path for path in Path(name).rglob("*") if path.is_file())
        for path in draw.sample(files, min(len(files), draw.choice([1, 2]))):
            if path.suffix == ".json" and draw.random() < 0.8:
                path.write_text(
                    json.dumps(odd_json(draw, json.loads(path.read_text()), draw.choice([1, 2])))
                )
            else:
                path.write_bytes(damaged(draw, path.read_bytes()))
    else:
        Path(name).write_bytes(damaged(draw, Path(name).read_bytes()))
    if draw.random() < 0.15:
        other = draw.choice([f"b.{kind}", "b.npy", "b.gif", "b.nc", "b.mp4", "b.xyz"])
        os.rename(name, other)
        name = other
    return verbs(draw, name)


def folder_case(draw: random.Random) -> list[str]:
    kind = draw.choice(["png", "tif", "webp"])
    folder = Path(f"pictures.{kind}")
    pictures = sorted(folder.iterdir())
    for path in draw.sample(pictures, draw.choice([1, 3, len(pictures)])):
        path.write_bytes(damaged(draw, path.read_bytes()))
    if draw.random() < 0.3:
        for name in draw.sample(["a.npy", "a.gif", "a.nc", "a.mp4", "a.npz"], 2):
            (folder / name).write_bytes(damaged(draw, Path(name).read_bytes()))
    if draw.random() < 0.1:
        (folder / "nested").mkdir()
        os.symlink("..", folder / "nested" / "up")
    if draw.random() < 0.1:
        (folder / draw.choice(["000.png", "zz.png"])).write_bytes(_wide_png(draw))
    return verbs(draw, draw.choice([str(folder), str(folder), str(pictures[0])]))


def _wide_png(draw: random.Random) -> bytes:
    import zlib

    side = draw.choice([13_000, 2**31 - 1, 70_000])
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(10**6))),
        (b"IEND", b""),
    ]
    packed = (
        struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d))
        for name, d in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def config_case(draw: random.Random) -> list[str]:
    import yaml

    whole = yaml.safe_load(Path("run/config.yaml").read_text())
    if draw.random() < 0.3:
        name, args = draw.choice(NETWORKS)
        whole |= {
            "model": name,
            "model_args": odd_json(draw, args, draw.choice([1, 1, 2])),
            "hidden": draw.choice([None, 2]),
        }
    text = yaml.safe_dump(odd_json(draw, whole, draw.choice([1, 1, 2, 4])), sort_keys=False)
    way = draw.random()
    if way < 0.2:
        text = damaged(draw, text.encode()).decode("utf-8", "surrogateescape")
    elif way < 0.4:
        name = draw.choice(list(whole))
        text = (
            yaml.safe_dump({key: value for key, value in whole.items() if key != name})
            + f"{name}: {draw.choice(ODD_WORDS)}\n"
        )
    elif way < 0.5:
        text = draw.choice(ODD_YAML)
    Path("c.yaml").write_text(text, encoding="utf-8", errors="surrogateescape")
    steps = ["--trainer.max_steps", "1", *HERE[2:6], "--workers", "0", "--tensorboard", "false"]
    few = ["--trainer.max_epochs", "1"] if draw.random() < 0.05 else []
    if draw.random() < 0.2:
        shutil.copy("c.yaml", "run/config.yaml")
        return ["train", "--resume", "run", *steps]
    return ["train", "--config", "c.yaml", "--run", "out", *steps, *few]


def checkpoint_case(draw: random.Random) -> list[str]:
    import torch

    from foreframe.forecasting.checkpoint_files import write_checkpoint

    held = torch.load("a.ckpt", weights_only=True)
    way = draw.random()
    if way < 0.3:
        Path("b.ckpt").write_bytes(damaged(draw, Path("a.ckpt").read_bytes()))
    else:
        if way < 0.6:
            held["forecaster"] = odd_json(draw, held["forecaster"], draw.choice([1, 1, 3]))
        elif way < 0.8:
            name = draw.choice(list(held["state_dict"]))
            value = held["state_dict"][name]
            others: list[Any] = [
                *(value * float("nan"), value.to(torch.int64), value[:1], value.double(), "x"),
                *(value.to(torch.complex64), None, value.flatten(), torch.zeros(0)),
                *(value.to_sparse(), torch.zeros(1).expand(10**6, 10**3)[:5], {"a": value}),
            ]
            held["state_dict"][name] = draw.choice(others)
            if draw.random() < 0.3:
                held["state_dict"] = draw.choice([None, [], "x", {}, {1: 2}, {"x": value}])
        else:
            name = draw.choice(list(held))
            held = {key: value for key, value in held.items() if key != name} | (
                {name: draw.choice(ODD_VALUES)} if draw.random() < 0.6 else {}
            )
            if draw.random() < 0.1:
                held = draw.choice([{}, [], "x", {"forecaster": {}}, {"state_dict": {}}])
        if draw.random() < 0.5 and isinstance(held, dict):
            write_checkpoint(Path("b.ckpt"), held)
        else:
            torch.save(held, "b.ckpt")
    if draw.random() < 0.3:
        for name in ("best", "last"):
            shutil.copy("b.ckpt", f"run/checkpoints/{name}.ckpt")
        return draw.choice(
            [
                ["evaluate", "run", "--clips", "2"],
                ["train", "--resume", "run", "--trainer.max_steps", "3", "--device", "cpu"],
            ]
        )
    few = [
        *("--trainer.max_steps", "1", "--validation_clips", "2", "--batch_size", "2"),
        *("--hidden", "2", "--data_args.clips", "8", "--device", "cpu"),
    ]
    return draw.choice(
        [
            ["evaluate", "b.ckpt", "--clips", "2", "--output", "out"],
            ["predict", "b.ckpt", "a.npy", "-o", "out.npy"],
            ["train", "--config", "quick", "--weights", "b.ckpt", "--run", "out", *few],
        ]
    )


def saved_case(draw: random.Random) -> list[str]:
    file = Path(draw.choice(["model/config.json", "model/config.json", "model/model.safetensors"]))
    way = draw.random()
    if file.suffix == ".json" and way < 0.7:
        file.write_text(
            json.dumps(odd_json(draw, json.loads(file.read_text()), draw.choice([1, 1, 2, 4])))
        )
    elif file.suffix == ".json" and way < 0.8:
        file.write_text(draw.choice(ODD_JSON))
    elif way < 0.5:
        file.write_bytes(damaged(draw, file.read_bytes()))
    else:
        raw = file.read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        if file.suffix == ".safetensors" and draw.random() < 0.7:
            head = json.dumps(odd_json(draw, json.loads(raw[8 : 8 + size]), 2)).encode()
            file.write_bytes(
                struct.pack("<Q", draw.choice([len(head)] * 4 + [2**63, 0]))
                + head
                + raw[8 + size :]
            )
        else:
            file.write_bytes(damaged(draw, raw))
    if draw.random() < 0.1:
        Path(draw.choice(["model/config.json", "model/model.safetensors"])).unlink()
    return draw.choice(
        [
            ["evaluate", "model", "--clips", "2", "--output", "out"],
            ["predict", "model", "a.npy", "-o", "out.npy"],
            ["predict", "model", "a.nc", "-o", "out.nc"],
            ["stream", "model", "a.npy"],
        ]
    )


def state_case(draw: random.Random) -> list[str]:
    raw = Path("live.safetensors").read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8 : 8 + size])
    if draw.random() < 0.6:
        told = head["__metadata__"]
        told[draw.choice(["source", "seen", "model"])] = draw.choice(ODD_STATES)
        if draw.random() < 0.5:
            head = odd_json(draw, head)
        packed = json.dumps(head).encode()
        Path("live.safetensors").write_bytes(
            struct.pack("<Q", len(packed)) + packed + raw[8 + size :]
        )
    else:
        Path("live.safetensors").write_bytes(damaged(draw, raw))
    return ["stream", "model", "a.npy", "--state", "live.safetensors", "--steps", "2"]


FLAGS = {
    "train": """
        model hidden model_args model_args.channels model_args.core model_args.core.convlstm.hidden
        model_args.codec model_args.codec.strided.widths model_args.start model_args.output
        model_args.output.carry.feed model_args.embedding model_args.attention model_args.backward
        model_args.x.y.z weights
        data data_args data_args.clips data_args.canvas data_args.digits data_args.motion
        data_args.motion.speed data_args.x.y.z reading reading.size reading.select splits splits.by
        splits.shares scaling scaling.kind scaling.x.y device past future stride batch_size
        validation_clips
        loss members pools sampling_steps optimizer learning_rate beta_1 beta_2 weight_decay
        schedule warmup clip truncate least_past start_at_mean epochs minutes seed
        precision memory budget trainer trainer.profiler trainer.strategy
        trainer.limit_train_batches trainer.max_steps trainer.val_check_interval
        trainer.detect_anomaly trainer.x run resume save_every picture_every port config unknown
    """,
    "plan": """
        model hidden batch_size past future precision config data_args.clips minutes epochs
    """,
    "evaluate": """
        data data_args data_args.motion data_args.x.y reading.size splits.by splits.gap split
        clips batch_size thresholds scales
        period stride output device unknown
    """,
    "predict": """
        output steps past after every recording reading.variable reading reading.size reading.crop
        reading.every reading.colour reading.coarsen reading.select reading.missing
        reading.budget reading.x.y reading.strict tile overlap colours fps device budget unknown
    """,
    "stream": """
        output steps every state wait reading.variable reading.size reading.crop device budget
        unknown
    """,
    "models": """
        past future size unknown
    """,
    "data": """
        data data_args data_args.clips data_args.canvas reading reading.every splits.tile scaling
        split past future clip output
    """,
    "data check": """
        reading.variable reading reading.size reading.every past future stride splits splits.by
        splits.shares splits.gap splits.tile splits.active splits.seed output
    """,
}


def flag_case(draw: random.Random) -> list[str]:
    verb = draw.choice(list(FLAGS))
    train = ["train", "--config", "quick", *SMALL, "--trainer.max_steps", "1", *HERE]
    model = draw.choice(["model", "moving-mnist", "run", "a.ckpt"])
    recording = draw.choice(["a.npy", "a.nc", "a.mp4"])
    begin = {
        "train": [*train, "--run", "out"],
        "plan": ["plan", "quick", *SMALL],
        "evaluate": ["evaluate", "model", "--clips", "2"],
        "predict": ["predict", model, recording, "-o", "out.npy", "--steps", "2"],
        "stream": ["stream", "model", "a.npy", "--wait", "0.1"],
        "models": ["models"],
        "data": ["data"],
        "data check": ["data", "check", draw.choice(["a.npy", "a.nc", "a.gif"])],
    }[verb]
    odd: list[str] = []
    for _ in range(draw.choice([1, 1, 2, 3])):
        name, word = draw.choice([*FLAGS[verb].split(), ""]), draw.choice(ODD_WORDS)
        ways = [f"--{name}={word}"], [f"--{name}", word], [f"--{name}"]
        odd += draw.choices(ways, [45, 50, 5])[0]
    if draw.random() < 0.05:
        short = begin[: draw.randrange(1, len(begin) + 1)]
        # What is left of a training or a scoring may be whole, and long.
        begin = begin if verb in ("train", "plan", "evaluate") else short
    if draw.random() < 0.03:
        begin = [draw.choice(ODD_WORDS), *begin[1:]]
    return begin + odd


KINDS: dict[str, tuple[int, Callable[[random.Random], list[str]]]] = {
    **{
        kind: (7, lambda draw, kind=kind: reader_case(draw, kind))
        for kind in ("npy", "npz", "gif", "webp", "mp4", "nc", "zarr")
    },
    "folder": (9, folder_case),
    "config": (30, config_case),
    "checkpoint": (20, checkpoint_case),
    "saved folder": (18, saved_case),
    "stream state": (5, state_case),
    "flags": (45, flag_case),
}


def case(seed: int) -> tuple[str, random.Random]:
    draw = random.Random(seed)
    names = list(KINDS)
    return draw.choices(names, [KINDS[name][0] for name in names])[0], draw


# Running them


def run_case(seed: int, whole: Path, shown: bool = False) -> tuple[str, str, list[str]]:
    """Kind, what came of it ("refused", "handled", or what is wrong), and the arguments."""
    kind, draw = case(seed)
    with tempfile.TemporaryDirectory(prefix="bad-input-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        shutil.copytree(whole, folder / "work", symlinks=True)
        (folder / "tmp").mkdir()
        child = os.fork()
        if child == 0:
            _in_child(kind, draw, folder)
        _, status, used = os.wait4(child, 0)
        out, err = (
            (folder / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "err")
        )
        if shown:
            print(out[-3000:], err[-6000:], sep="\n")
        code = os.waitstatus_to_exitcode(status)
        return kind, _verdict(code, err, used.ru_maxrss, folder), _arguments(folder)


def _arguments(folder: Path) -> list[str]:
    try:
        given: list[str] = json.loads((folder / "arguments").read_text())
    except (OSError, ValueError):
        return []
    return [word if len(word) < 60 else f"{word[:40]}... ({len(word)})" for word in given]


def _verdict(code: int, err: str, peak: int, folder: Path) -> str:
    lines = [
        line
        for line in err.splitlines()
        if line.strip() and not line.startswith("foreframe: note:") and "\r" not in line
    ]
    left = [
        str(p.relative_to(folder))
        for p in folder.rglob("*")
        if _is_temporary(p.name) or p.parent == folder / "tmp"
    ]
    if code == 99:
        return f"the case itself broke: {lines[-1] if lines else ''}"
    if code == -signal.SIGALRM:
        return f"more than {MOST_SECONDS} s"
    if code < 0:
        return f"signal {-code}"
    if code not in (0, 2):
        return f"exit {code}: {lines[-1][:200] if lines else 'nothing said'}"
    if "Traceback" in err:
        return f"a traceback: {lines[-1][:200]}"
    if code == 2 and len(lines) != 1:
        return f"{len(lines)} lines: {' | '.join(lines)[:300]}"
    if peak > MOST_MEMORY:
        return f"{peak / 2**20:.1f} GiB"
    if left:
        return f"left behind: {', '.join(left)[:200]}"
    return "handled" if code == 0 else "refused"


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and (".part" in name or ".try" in name)


def _in_child(kind: str, draw: random.Random, folder: Path) -> None:
    """Never returns."""
    code = 99
    try:
        os.chdir(folder / "work")
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ["FOREFRAME_CACHE"] = str(folder / "cache")
        tempfile.tempdir = str(folder / "tmp")
        # Libraries warn when they write what they should not.
        with warnings.catch_warnings(action="ignore"):
            arguments = KINDS[kind][1](draw)
        (folder / "arguments").write_text(json.dumps(arguments))
        resource.setrlimit(resource.RLIMIT_AS, (40 * 2**30, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(MOST_SECONDS)  # which ends it, whatever it does
        from foreframe.cli import main

        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--case", type=int, help="one case, with what it said")
    given = parser.parse_args()
    # Once, for all: what a fork does not have to import again.
    import av  # noqa: F401
    import cv2  # noqa: F401
    import netCDF4  # noqa: F401
    import torch
    import xarray  # noqa: F401

    import foreframe.forecasting.outputs
    import foreframe.training.fit  # noqa: F401

    torch.set_num_threads(1)
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="whole-") as whole:
        maker = get_context("spawn").Process(target=make_whole, args=(Path(whole),))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("the whole files could not be made")
        if given.case is not None:
            kind, came, arguments = run_case(given.case, Path(whole), shown=True)
            print(f"case {given.case}, {kind}: {came}\n{arguments}")
            return came not in ("handled", "refused")
        for seed in range(given.first, given.first + given.cases):
            kind, came, arguments = run_case(seed, Path(whole))
            fine = came in ("handled", "refused")
            counts[kind][came if fine else "failed"] += 1
            failed += not fine
            if not fine:
                print(f"case {seed}, {kind}: {came}\n    {arguments}", flush=True)
    print(f"\n{'':<14}{'cases':>7}{'refused':>9}{'handled':>9}{'failed':>8}")
    for kind, of in counts.items():
        print(f"{kind:<14}{of.total():>7}{of['refused']:>9}{of['handled']:>9}{of['failed']:>8}")
    total = sum((of for of in counts.values()), Counter())
    print(
        f"{'all':<14}{total.total():>7}{total['refused']:>9}{total['handled']:>9}{total['failed']:>8}"
    )
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
