"""How good are forecasts without training, and how fast, beside each other?

    python benchmarks/guides.py FILE ... [--sides 64 96 128 0] [--clips 40]

FILE is whatever --data takes: a film, or rain in mm/h as examples/radar/prepare.py writes it, which
is scored on that example's scale. Three parts, of which --part names those wanted:

- error: the MSE of ten frames from ten, by lead time, over windows spread over all of each
  recording, brought to each of --sides (of the shorter side in pixels; 0 leaves it as it is).
- seconds: of a forecast of ten frames from ten. All guides wait in processes of their own, and are
  asked in turn, round after round; medians.
- endpoint: how far the motion at the last frame seen is from where each pixel of generated scenes
  then goes (the length of the difference, in pixels a frame), where that can still be seen. Scenes
  are those of examples/scenes, their test split.

`dis` is OpenCV's other method, inverse search (Kroeger 2016, preset "medium"), in Farneback's place
in `optical_flow`, all else as there; in frames of 64 pixels and more, as on narrow ones it crashes
Python, for which it has processes of its own. Any name in foreframe.models.BASELINES is a guide.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from recordings import figure, leave, machine, made_up, names_of, shrunk, table

from foreframe.base.wording import plural

HERE = Path(__file__)
PAST = STEPS = 10
GUIDES = ("persistence", "linear_motion", "optical_flow", "dis", "dense_motion")
NARROW = 64  # pixels: dis is not asked in frames with a shorter side
SIZES = ((64, 64), (256, 256), (760, 1226))
SPEEDS = (0.5, 2.0)  # pixels a frame, between which endpoint errors are told apart
RAIN = {"kind": "log", "low": 0.5, "high": 100}  # mm/h, as in examples/radar/radar.yaml
PARTS = ("error", "seconds", "endpoint")


# What runs in processes of its own: a task, as JSON, to a line of JSON, or to an answer a question


def with_dis() -> None:
    """Have foreframe know `dis`."""
    import cv2

    from foreframe.models import MODELS, OpticalFlow

    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    class Dis(OpticalFlow):
        @staticmethod
        def in_its_place() -> Any:
            return patch.object(
                cv2, "calcOpticalFlowFarneback", lambda a, b, *_: search.calc(a, b, None)
            )

        def decode(self, state: Any, steps: int) -> Any:
            with self.in_its_place():
                return super().decode(state, steps)

    MODELS["dis"] = Dis


def error(guides: Sequence[str], file: str, size: Sequence[int], clips: int) -> dict[str, Any]:
    """Of each guide the MSE by lead time, and over all; and how many windows of what size."""
    import foreframe

    clip = foreframe.clips_from(file)[0]
    card = foreframe.evaluate(
        None, file, clips=clips, batch_size=4,
        baselines=[name for name in guides if name != "persistence"],
        scaling=RAIN if clip.units == "mm/h" else None,
        reading={"size": list(size)} if size else None,
        past=PAST, future=STEPS, split="all",
    )  # fmt: skip
    errors = {name: of["standard"]["mse"] for name, of in card["scores"].items()}
    frame = size or clip.frames.shape[-2:]
    return {
        "size": "x".join(map(str, frame)),
        "windows": card["clips"],
        "errors": {name: [*errors[name]["per_lead"], errors[name]["overall"]] for name in guides},
    }


def motion(guide: str, past: Any) -> Any:
    """(B,T,C,H,W) -> the guide's motion at the last frame, (B,2,H,W): columns and rows a frame."""
    import torch

    from foreframe.models import baselines, build_model, optical_flow

    b, _, _, h, w = past.shape
    model: Any = build_model(guide)
    state = model.encode(past)
    if hasattr(model, "motion"):
        return model.motion(state)
    if guide == "persistence":
        return torch.zeros(b, 2, h, w)
    if guide == "linear_motion":
        return baselines._peak(state["correlation"]).flip(1).view(b, 2, 1, 1).repeat(1, 1, h, w)
    with model.in_its_place() if guide == "dis" else nullcontext():
        return optical_flow._motion(state["frames"], state["seen"])


def endpoint(guides: Sequence[str], side: int, clips: int) -> dict[str, Any]:
    """Of each guide the mean endpoint error, of all pixels, and of those that move slower than
    the first of SPEEDS, slower than the second, and faster.
    """
    import torch

    sys.path.append(str(HERE.resolve().parents[1]))
    from examples.scenes import Scenes

    scenes = Scenes("test", canvas=side, length=PAST + 1)
    sums = {guide: torch.zeros(2 + len(SPEEDS), dtype=torch.float64) for guide in guides}
    counts = torch.zeros(2 + len(SPEEDS), dtype=torch.float64)
    for index in range(clips):
        past = scenes[index][None, :PAST]
        flow, seen = (torch.as_tensor(of[PAST - 1]).double() for of in scenes.motion(index))
        speed = flow.norm(dim=0)
        classes = [seen > 0]
        for low, high in zip((-1, *SPEEDS), (*SPEEDS, math.inf), strict=True):
            classes.append((seen > 0) & (speed >= low) & (speed < high))
        counts += torch.stack([of.sum() for of in classes])
        for guide in guides:
            apart = (motion(guide, past)[0].double() - flow).norm(dim=0)
            sums[guide] += torch.stack([apart[of].sum() for of in classes])
    return {"clips": clips, "errors": {guide: (sums[guide] / counts).tolist() for guide in guides}}


def seconds(guides: Sequence[str]) -> None:
    """Answers "B H W" with the seconds of a forecast of B clips; the first of a size is not
    counted.
    """
    import torch

    from foreframe.models import build_model

    model, asked, past = build_model(guides[0]).eval(), "", torch.empty(0)
    print("ready", flush=True)
    for line in sys.stdin:
        fresh = line != asked
        if fresh:
            b, h, w = map(int, line.split())
            past, asked = drifting(b, h, w), line
        for _ in range(2 if fresh else 1):
            began = time.perf_counter()
            with torch.inference_mode():
                model(past, STEPS)
            took = time.perf_counter() - began
        print(took, flush=True)


def drifting(b: int, h: int, w: int) -> Any:
    """Clips of a texture that moves on by 2 columns and 1 row a frame, (B,PAST,1,H,W)."""
    import torch
    import torch.nn.functional as F

    torch.manual_seed(0)
    coarse = torch.rand(b, 1, (h + PAST) // 6 + 2, (w + 2 * PAST) // 6 + 2)
    wide = F.interpolate(coarse, scale_factor=6, mode="bicubic", align_corners=False).clamp(0, 1)
    frames = [
        wide[..., PAST - t : PAST - t + h, 2 * (PAST - t) : 2 * (PAST - t) + w] for t in range(PAST)
    ]
    return torch.stack(frames, dim=1).contiguous()


def work(task: dict[str, Any]) -> None:
    import torch

    threads = task.pop("threads")
    part = task.pop("part")
    torch.set_num_threads(threads)
    if {"dis", "optical_flow"} & set(task["guides"]):
        import cv2

        cv2.setNumThreads(threads)
        with_dis()
    if part == "seconds":
        seconds(**task)
    else:
        print(json.dumps({"error": error, "endpoint": endpoint}[part](**task)))


# What asks them


def started(task: dict[str, Any]) -> subprocess.Popen[str]:
    threads = str(task["threads"])
    return subprocess.Popen(
        [sys.executable, str(HERE), "--work", json.dumps(task)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": threads},
    )  # fmt: skip


def asked(task: dict[str, Any]) -> dict[str, Any]:
    """What comes of a task; {"failed": why} where it fails or its process crashes."""
    process = started(task)
    said, wrong = process.communicate()
    if process.returncode == 0:
        return json.loads(said.splitlines()[-1])
    last = (wrong.strip().splitlines() or [""])[-1]
    code = process.returncode
    return {"failed": f"crashed (signal {-code})" if code < 0 else last.replace("|", "/")}


def together(guides: Sequence[str], task: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A task for all guides, `dis` in a process of its own; what failed, and why."""
    parts = [[name for name in guides if name != "dis"], [name for name in guides if name == "dis"]]
    found: dict[str, Any] = {}
    errors: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    for names in filter(None, parts):
        told = asked(task | {"guides": names})
        if "failed" in told:
            failed |= dict.fromkeys(names, told["failed"])
        else:
            found |= told
            errors |= told["errors"]
    return found | {"errors": {name: errors[name] for name in guides if name in errors}}, failed


def bold(rows: dict[str, list[float]], form: str) -> dict[str, list[str]]:
    """Numbers as text, the lowest of each column in bold."""
    least = [min(column) for column in zip(*rows.values(), strict=True)]
    return {
        name: [
            f"**{figure(value, form)}**" if value == low else figure(value, form)
            for value, low in zip(values, least, strict=True)
        ]
        for name, values in rows.items()
    }


def errors(given: argparse.Namespace) -> None:
    print(f"\n## MSE of {STEPS} frames from {PAST}, `standard`, times 10,000")
    summary: dict[str, list[str]] = {}
    for name, file in names_of(given.of).items():
        sizes = []
        for side in given.sides:
            option = shrunk(file, side or None)
            size = json.loads(option[1]) if option else []
            if size not in sizes:  # some are smaller than several sides
                sizes.append(size)
        for size in sizes:
            guides = [guide for guide in given.guides if guide != "dis" or fits(file, size)]
            task = {"part": "error", "file": file, "size": size, "clips": given.clips}
            found, failed = together(guides, task | {"threads": given.threads[-1]})
            rows = {
                guide: [1e4 * (math.nan if value is None else value) for value in values]
                for guide, values in found["errors"].items()
            }
            what = f"{name}, {found.get('size') or 'x'.join(map(str, size))}"
            print(f"\n### {what}: {found.get('windows', 0)} windows")
            for reason in dict.fromkeys(failed.values()):
                print(f"\n{', '.join(g for g in failed if failed[g] == reason)}: {reason}")
            if rows:
                table("", [*(f"+{lead + 1}" for lead in range(STEPS)), "all"], bold(rows, ""))
            flow = rows.get("optical_flow", [math.nan])[-1]
            summary[what] = [
                figure(rows[guide][-1] / flow if flow else math.nan, ".3f") if guide in rows else ""
                for guide in given.guides
            ]
    print("\n### Over optical flow's, all lead times")
    table("", given.guides, summary)


def fits(file: str, size: Sequence[int]) -> bool:
    """Whether frames are large enough for `dis`."""
    from foreframe import clips_from

    return min(size or clips_from(file)[0].frames.shape[-2:]) >= NARROW


@contextmanager
def waiting(guides: Sequence[str], threads: int) -> Iterator[dict[str, Callable[[str], float]]]:
    """A function for each guide, from a question to an answer; NaN from one that has crashed."""
    task = {"part": "seconds", "threads": threads}
    processes = {guide: started(task | {"guides": [guide]}) for guide in guides}

    def ask(process: Any, line: str) -> float:
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return float(process.stdout.readline() or "nan")
        except BrokenPipeError:
            return math.nan

    try:
        for process in processes.values():
            process.stdout.readline()  # that it is ready
        yield {guide: partial(ask, process) for guide, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


def times(given: argparse.Namespace) -> None:
    rounds = plural(given.rounds, "round")
    print(f"\n## Seconds a forecast of {STEPS} frames from {PAST}: medians of {rounds}")
    rows = {}
    for threads in given.threads:
        with waiting(given.guides, threads) as guides:
            for h, w in given.sizes:
                for batch in given.batches:
                    taken: dict[str, list[float]] = {guide: [] for guide in guides}
                    able = [name for name in guides if name != "dis" or min(h, w) >= NARROW]
                    for turn in range(given.rounds):
                        for name in able[:: 1 if turn % 2 == 0 else -1]:
                            taken[name].append(guides[name](f"{batch} {h} {w}"))
                    rows[f"{h}x{w}, batch {batch}, {plural(threads, 'thread')}"] = [
                        figure(median(taken[name]), ".4f") if taken[name] else "" for name in guides
                    ]
    table("", given.guides, rows)


def endpoints(given: argparse.Namespace) -> None:
    print("\n## Endpoint error on generated scenes, pixels a frame")
    slow, fast = SPEEDS
    columns = ["all", f"below {slow:g}", f"{slow:g} to {fast:g}", f"{fast:g} and more"]
    for side in given.canvases:
        task = {"part": "endpoint", "side": side, "clips": given.clips}
        found, failed = together(given.guides, task | {"threads": given.threads[-1]})
        for reason in dict.fromkeys(failed.values()):
            print(f"\n{', '.join(g for g in failed if failed[g] == reason)}: {reason}")
        if found["errors"]:
            table(f"{side}x{side}, {found['clips']} clips", columns, bold(found["errors"], ".3f"))


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["--work"]:
        work(json.loads(arguments[1]))
        return 0
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("of", nargs="*", metavar="FILE")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--guides", nargs="+", metavar="NAME", default=list(GUIDES))
    parser.add_argument("--sides", nargs="+", type=int, default=[64, 96, 128, 0])
    parser.add_argument("--clips", type=int, default=40, help="windows, or scenes, at most")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--canvases", nargs="+", type=int, default=[64, 128])
    parser.add_argument(
        "--quick", action="store_true", help="small recordings made here: only a try"
    )
    given = parser.parse_args(arguments)
    given.sizes = SIZES
    from foreframe.models import BASELINES

    for name in given.guides:
        if name not in (*BASELINES, "dis"):
            leave(f"there is no guide {name}; choose of {', '.join((*BASELINES, 'dis'))}")
    with tempfile.TemporaryDirectory() as folder:
        if given.quick:
            given.of = given.of or made_up(Path(folder), 72, 80)
            given.sides, given.clips, given.rounds, given.sizes = [16, 0], 2, 1, SIZES[:1]
            given.threads, given.batches, given.canvases = [1], [1], [64]
        print(f"# Forecasts without training\n\n{machine()}; {time.strftime('%Y-%m-%d')}")
        for name, part in zip(PARTS, (errors, times, endpoints), strict=True):
            if name in given.part:
                part(given)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
