"""Bad input by the thousand: every case is handled (exit 0) or refused in one line (exit 2).

    python tests/robustness/bad_inputs.py              # 3,000 cases; one core does 100 a minute
    python tests/robustness/bad_inputs.py --cases 1 --first 1234   # one again, with what it said

A case is a function of its number: a file that is damaged or claims what it cannot hold, a config,
a checkpoint or a saved folder of a stranger, or flags, given to one of the verbs in a process of
its own. It fails where that ends in anything but 0 or 2, says more than one line
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
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
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
SMALL = "--batch_size 2 --validation_clips 2 --hidden 2 --past 2 --future 2"
ONE_STEP = (
    "--trainer.max_steps 1 --picture_every 0 --device cpu --devices 1 --precision 32-true "
    "--compile false --loader_workers 0 --tensorboard false"
)
DIGITS = f"train --config quick --data_args.clips 8 --data_args.canvas 32 {SMALL} {ONE_STEP}"
TO_READ = f"""\
data check PATH --past 2 --future 2
predict model PATH -o out.npy --steps 3
predict model PATH -o out.npy --steps 3 --reading.strict
predict model PATH -o out.gif --every 5
predict model PATH -o out.nc --every 5
evaluate model --data PATH --clips 2 --output out
stream model PATH --wait 0.1 --steps 2
train --config quick --data PATH --run out {SMALL} {ONE_STEP}"""
TO_RESUME = f"""\
evaluate run --clips 2
train --resume run {ONE_STEP} --trainer.max_steps 3
evaluate b.ckpt --clips 2 --output out
predict b.ckpt a.npy -o out.npy
{DIGITS} --weights b.ckpt --run out"""
TO_LOAD = """\
evaluate model --clips 2 --output out
predict model a.npy -o out.npy
predict model a.nc -o out.nc
stream model a.npy"""
TO_FLAG = f"""\
{DIGITS} --run out
evaluate model --clips 2 --output out
predict MODEL PATH -o out.npy --steps 2
stream model a.npy --wait 0.1
models
data
data check PATH"""
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("quick", {"core": {"convlstm": {"hidden": [2], "peepholes": True}}, "start": "states"}),
    ("nowcast", {"output": {"blend": {"guides": [{"cycle": {"period": 2}}], "blurs": [1.0]}}}),
    ("at_once", {"horizon": 2, "codec": {"strided": {"widths": [2], "norm": "none"}}}),
]


# What is damaged: small, whole files of every kind


def make_whole(folder: Path) -> None:
    """The files that cases damage. In a process of its own: zarr leaves threads behind, which no
    fork survives.
    """
    import torch
    import xarray as xr

    from foreframe import Forecaster, Window
    from foreframe.cli import main
    from foreframe.forecasting.trained import Trained
    from foreframe.models import build_model

    os.chdir(folder)
    frames = np.random.default_rng(0).random((24, 16, 16)).astype(np.float32)
    pictures = write_recordings(frames)
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
    trained = Trained("moving_mnist", frame=(64, 64), seed=0)
    Forecaster(model, Window(2, 2), trained=trained, about={"title": "A model"}).save("model")
    assert main(f"{DIGITS} --run run".split()) == 0
    shutil.copy("run/checkpoints/last.ckpt", "a.ckpt")


def write_recordings(frames: np.ndarray) -> list[Any]:
    """Arrays, animations and a film in the current folder; the frames as pictures."""
    from PIL import Image

    from foreframe.visuals import write_mp4

    bytes_ = (255 * frames).astype(np.uint8)
    np.save("a.npy", frames)
    np.savez_compressed("a.npz", frames=frames, times=np.arange(float(len(frames))))
    pictures = [Image.fromarray(frame) for frame in bytes_]
    for kind in ("gif", "webp"):
        pictures[0].save(f"a.{kind}", save_all=True, append_images=pictures[1:])
    write_mp4("a.mp4", np.repeat(bytes_[..., None], 3, axis=3), 10)
    return pictures


# Damage


def damaged(draw: random.Random, raw: bytes) -> bytes:
    """Bytes cut short, flipped, zeroed, repeated, overwritten with large numbers, or all others."""
    at, many = draw.randrange(len(raw)), draw.choice([1, 4, 100, 5000])
    head = draw.randrange(min(len(raw), 512))
    large = draw.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)])
    bits = bytearray(raw)
    for _ in range(draw.choice([1, 3, 30])):
        bits[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
    return draw.choice(
        [
            raw[:at],
            bytes(bits),
            raw[:at] + bytes(many) + raw[at + many :],
            raw[: at + many] + raw[at:],
            raw[:head] + large + raw[head + 4 :],  # a number in the header
            draw.randbytes(many - 1),
            raw[:8] + draw.randbytes(200),
            raw + draw.randbytes(many),
        ]
    )


def edited(draw: random.Random, path: Path, times: int, odd: Sequence[str] = ()) -> None:
    """Change a JSON file: values in it, or its bytes, or all of it to one of `odd`."""
    way = draw.random()
    if way < 0.7:
        path.write_text(json.dumps(odd_json(draw, json.loads(path.read_text()), times)))
    elif way < 0.8 and odd:
        path.write_text(draw.choice(odd))
    else:
        path.write_bytes(damaged(draw, path.read_bytes()))


def edited_header(draw: random.Random, path: Path) -> None:
    """Change the JSON at the head of a .safetensors file, or its bytes."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    if draw.random() < 0.3:
        path.write_bytes(damaged(draw, raw))
        return
    head = json.dumps(odd_json(draw, json.loads(raw[8 : 8 + size]), 2)).encode()
    told = draw.choice([len(head)] * 8 + [2**63, 0])
    path.write_bytes(struct.pack("<Q", told) + head + raw[8 + size :])


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
    if times > 1:
        values = odd_json(draw, values, times - 1)
    odd = draw.choice(ODD_VALUES)
    if isinstance(values, dict) and values and draw.random() < 0.9:
        name, way = draw.choice(list(values)), draw.random()
        if way < 0.1:
            return {key: value for key, value in values.items() if key != name}
        if way < 0.2:
            more = draw.choice(["extra", "", "class_path", "a" * 300, name + "x"])
            return values | {more: odd}
        return values | {name: odd_json(draw, values[name])}
    if isinstance(values, list) and values and draw.random() < 0.5:
        return [*values[:-1], odd_json(draw, values[-1])]
    return odd


def odd_grid(draw: random.Random, path: str) -> None:
    """A grid that a library writes, of things that make no sense."""
    import xarray as xr

    t, h, w = draw.choice([(24, 16, 16), (1, 1, 1), (3, 2, 2), (24, 16, 1)])
    step = np.timedelta64(draw.choice([0, 5, -5, 60]), "m")
    real = np.datetime64("2020-01-01", "ns") + np.arange(t) * step
    words = np.array([f"t{k}" for k in range(t)])
    times = draw.choice([real, real, np.full(t, np.nan), np.arange(t)[::-1].copy(), words])
    plain: Any = np.random.default_rng(draw.randrange(99)).random((t, h, w))
    odd = [plain * np.nan, plain + np.inf, plain.astype(np.int16), plain > 0.5, plain.astype(str)]
    values = draw.choice([plain, plain, plain.astype(np.float32) * 1e38, *odd])
    names = draw.choice(
        [("time", "y", "x"), ("a", "b", "c"), ("time", "time2", "x"), ("x", "y", "time")]
    )
    rain = (names, values, {"units": draw.choice(["mm/h", "", "furlongs", "K", "1", "\\"])})
    fields: dict[str, Any] = {draw.choice(["rain", "time_bnds", "a b", "é"]): rain}
    fields |= draw.choice([{}, {}, {"other": (("q", "r"), np.zeros((2, 2)))}])
    dataset = xr.Dataset(fields, {"time": ((names[0],), times)})
    try:
        if path.endswith(".nc"):
            dataset.to_netcdf(path)
        else:
            dataset.to_zarr(path, consolidated=False)
    except Exception:  # the library refuses some of it: then the file is cut short, or not there
        Path(path).touch() if path.endswith(".nc") else Path(path).mkdir(exist_ok=True)


READERS = ("npy", "npz", "gif", "webp", "mp4", "nc", "zarr")

# Cases: each writes its files into the current folder, and gives the arguments


def a_verb(draw: random.Random, verbs: str, path: str = "") -> list[str]:
    """One of some verbs, a line each."""
    names = {"PATH": path, "MODEL": draw.choice(["model", "scenes", "run", "a.ckpt"])}
    return [names.get(word, word) for word in draw.choice(verbs.splitlines()).split()]


def reading_verb(draw: random.Random, path: str) -> list[str]:
    grey = path.endswith(".mp4") and draw.random() < 0.8  # the model takes one channel
    return [*a_verb(draw, TO_READ, path), *(["--reading.colour", "grey"] if grey else [])]


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
            if path.suffix == ".json":
                edited(draw, path, draw.choice([1, 2]))
            else:
                path.write_bytes(damaged(draw, path.read_bytes()))
    else:
        Path(name).write_bytes(damaged(draw, Path(name).read_bytes()))
    if draw.random() < 0.15:
        other = draw.choice([f"b.{kind}", "b.npy", "b.gif", "b.nc", "b.mp4", "b.xyz"])
        os.rename(name, other)
        name = other
    return reading_verb(draw, name)


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
        (folder / draw.choice(["000.png", "zz.png"])).write_bytes(wide_png(draw))
    return reading_verb(draw, draw.choice([str(folder), str(folder), str(pictures[0])]))


def wide_png(draw: random.Random) -> bytes:
    """A picture whose header claims more pixels than any memory holds."""
    side = draw.choice([13_000, 2**31 - 1, 70_000])
    made = b"\x89PNG\r\n\x1a\n"
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    for name, body in ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(10**6))), (b"IEND", b"")):
        made += struct.pack(">I", len(body)) + name + body
        made += struct.pack(">I", zlib.crc32(name + body))
    return made


def config_case(draw: random.Random) -> list[str]:
    import yaml

    whole = yaml.safe_load(Path("run/config.yaml").read_text())
    if draw.random() < 0.3:
        name, args = draw.choice(NETWORKS)
        args = odd_json(draw, args, draw.choice([1, 1, 2]))
        whole |= {"model": name, "model_args": args, "hidden": draw.choice([None, 2])}
    text = yaml.safe_dump(odd_json(draw, whole, draw.choice([1, 1, 2, 4])), sort_keys=False)
    way = draw.random()
    if way < 0.2:
        text = damaged(draw, text.encode()).decode("utf-8", "surrogateescape")
    elif way < 0.4:
        name = draw.choice(list(whole))
        rest = {key: value for key, value in whole.items() if key != name}
        text = f"{yaml.safe_dump(rest)}{name}: {draw.choice(ODD_WORDS)}\n"
    elif way < 0.5:
        text = draw.choice(ODD_YAML)
    Path("c.yaml").write_text(text, encoding="utf-8", errors="surrogateescape")
    if draw.random() < 0.2:
        shutil.copy("c.yaml", "run/config.yaml")
        return ["train", "--resume", "run", *ONE_STEP.split()]
    return ["train", "--config", "c.yaml", "--run", "out", *ONE_STEP.split()]


def checkpoint_case(draw: random.Random) -> list[str]:
    import torch

    from foreframe.forecasting.checkpoint_files import write_checkpoint

    held: Any = torch.load("a.ckpt", weights_only=True)
    weights = held["state_dict"]
    weight = draw.choice(list(weights))
    value = weights[weight]
    odd = [
        *(value * float("nan"), value.to(torch.int64), value[:1], value.double(), "x"),
        *(value.to(torch.complex64), None, value.flatten(), torch.zeros(0)),
        *(value.to_sparse(), torch.zeros(1).expand(10**6, 10**4), {"a": value}),
    ]
    name = draw.choice(list(held))
    held = draw.choice(
        [
            held | {"forecaster": odd_json(draw, held["forecaster"], draw.choice([1, 1, 3]))},
            held | {"state_dict": weights | {weight: draw.choice(odd)}},
            held | {"state_dict": draw.choice([None, [], "x", {}, {1: 2}])},
            held | {name: draw.choice(ODD_VALUES)},
            {key: kept for key, kept in held.items() if key != name},
            draw.choice([{}, [], "x", {"forecaster": {}}, {"state_dict": {}}]),
        ]
    )
    if draw.random() < 0.5 and isinstance(held, dict):
        write_checkpoint(Path("b.ckpt"), held)  # with a checksum
    else:
        torch.save(held, "b.ckpt")
    if draw.random() < 0.3:
        Path("b.ckpt").write_bytes(damaged(draw, Path("a.ckpt").read_bytes()))
    for name in ("best", "last"):
        shutil.copy("b.ckpt", f"run/checkpoints/{name}.ckpt")
    return a_verb(draw, TO_RESUME)


def saved_case(draw: random.Random) -> list[str]:
    if draw.random() < 0.7:
        edited(draw, Path("model/config.json"), draw.choice([1, 1, 2, 4]), ODD_JSON)
    else:
        edited_header(draw, Path("model/model.safetensors"))
    if draw.random() < 0.1:
        Path(draw.choice(["model/config.json", "model/model.safetensors"])).unlink()
    return a_verb(draw, TO_LOAD)


# Names within options, which no parser lists; and options that take long, whatever their value.
WITHIN = """
    model_args.channels model_args.core model_args.core.convlstm.hidden model_args.x.y.z
    model_args.codec.strided.widths model_args.start model_args.output.carry.feed
    model_args.attention data_args.clips data_args.canvas data_args.digits data_args.motion.speed
    data_args.x.y.z scaling.kind scaling.x.y trainer.profiler trainer.strategy
    trainer.limit_train_batches trainer.max_steps trainer.val_check_interval trainer.x
    reading.x.y unknown
"""
LONG = {"import", "tensorboard", "compile", "loader_workers", "devices", "trainer", "seconds"}


def flag_case(draw: random.Random) -> list[str]:
    begin = a_verb(draw, TO_FLAG, draw.choice(["a.npy", "a.nc", "a.mp4", "a.gif"]))
    module = import_module(f"foreframe.cli.{begin[0]}")
    options = (module.check_parser if begin[1:2] == ["check"] else module.parser)().options
    names = [*sorted(options.keys() - LONG), *WITHIN.split(), ""]
    odd: list[str] = []
    for _ in range(draw.choice([1, 1, 2, 3])):
        name, word = draw.choice(names), draw.choice(ODD_WORDS)
        ways = [f"--{name}={word}"], [f"--{name}", word], [f"--{name}"]
        odd += draw.choices(ways, [45, 50, 5])[0]
    # What is left of a training or a scoring may be whole, and long.
    if draw.random() < 0.05 and begin[0] not in ("train", "evaluate"):
        begin = begin[: draw.randrange(1, len(begin) + 1)]
    if draw.random() < 0.03:
        begin = [draw.choice(ODD_WORDS), *begin[1:]]
    return begin + odd


KINDS: dict[str, Callable[[random.Random], list[str]]] = {
    **{kind: partial(reader_case, kind=kind) for kind in READERS},
    "folder": folder_case,
    "config": config_case,
    "checkpoint": checkpoint_case,
    "saved folder": saved_case,
    "flags": flag_case,
}
SHARES = [7] * len(READERS) + [9, 30, 20, 18, 50]


# Running them


def run_case(seed: int, whole: Path, shown: bool = False) -> tuple[str, str, str]:
    """Kind, what came of it ("refused", "handled", or what is wrong), and the arguments."""
    draw = random.Random(seed)
    kind = draw.choices(list(KINDS), SHARES)[0]
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
        words = (folder / "words").read_text() if (folder / "words").exists() else ""
        if shown:
            print(out[-3000:], err[-6000:], sep="\n")
        code = os.waitstatus_to_exitcode(status)
        return kind, _verdict(code, err, used.ru_maxrss, folder), words


def _verdict(code: int, err: str, peak: int, folder: Path) -> str:
    notes = ("foreframe: note:", "\r")
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith(notes)]
    left = [path for path in folder.rglob("*") if ".part" in path.name or path.parent.name == "tmp"]
    last = lines[-1][:200] if lines else "nothing said"
    wrong = {
        f"the case itself broke: {last}": code == 99,
        f"more than {MOST_SECONDS} s": code == -signal.SIGALRM,
        f"exit {code}: {last}": code not in (0, 2),
        f"a traceback: {last}": "Traceback" in err,
        f"{len(lines)} lines: {lines}": code == 2 and len(lines) != 1,
        f"{peak / 2**20:.1f} GiB": peak > MOST_MEMORY,
        f"left behind: {left}": bool(left),
    }
    return next((what for what, so in wrong.items() if so), "refused" if code else "handled")


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
            arguments = KINDS[kind](draw)
        (folder / "words").write_text(str([word[:60] for word in arguments]))
        resource.setrlimit(resource.RLIMIT_AS, (40 * 2**30, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(MOST_SECONDS)  # which ends it, whatever it does
        from foreframe.cli import main

        code = main(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> bool:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
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
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="whole-") as whole:
        maker = get_context("spawn").Process(target=make_whole, args=(Path(whole),))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("the whole files could not be made")
        for seed in range(given.first, given.first + given.cases):
            kind, came, words = run_case(seed, Path(whole), shown=given.cases == 1)
            fine = came in ("handled", "refused")
            counts[kind, came if fine else "failed"] += 1
            if not fine or given.cases == 1:
                print(f"case {seed}, {kind}: {came}\n    {words}", flush=True)
    for kind in KINDS:
        print(kind, *(f"{counts[kind, came]} {came}" for came in ("refused", "handled", "failed")))
    print(f"{counts.total()} cases in all")
    return any(came == "failed" for _, came in counts)


if __name__ == "__main__":
    sys.exit(main())
