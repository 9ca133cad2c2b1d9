"""Kills trainings at random moments, resumes them, and compares them with one never killed.

    python benchmarks/kills.py --kills 100

Four kinds of training: in one process that saves after every step or once an epoch, with two loader
workers, with two processes (gloo). Each is killed (SIGKILL) at a seeded moment: some time after it
began, within a training step, while validating, while saving (before or after any of the calls that
put a file in its place), and, of two processes, the second one alone. Then
`foreframe train --resume` goes on, now and then killed again, until it is done. It must come to
equal weights and optimizer state, to the bit; equal rows of validation.jsonl (but for the seconds),
none lost, none twice; an equal best checkpoint; and leave no other files.

It forks, so that torch is imported once: 100 kills take some minutes on one core.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightning.pytorch  # noqa: F401 (before the forks)
import torch

import foreframe.training.fit  # noqa: F401
from foreframe.training.module import ForecastModule

FLAGS = (
    "--model quick --hidden 4 --past 2 --future 2 --learning_rate 3e-3 --epochs 3 "
    "--data_args.canvas 32 --data_args.clips 24 --batch_size 4 --validation_clips 8 "
    "--device cpu --picture_every 0"
)
OFTEN = ["--save_every", "0.0001"]  # after every step
KINDS = {
    "one process": ["--devices", "1", *OFTEN],
    "saved once an epoch": ["--devices", "1"],
    "two workers": ["--devices", "1", "--loader_workers", "2", *OFTEN],
    "two processes": ["--devices", "2", *OFTEN],
}
MOMENTS = ("some time", "training", "validating", "saving", "second process")


def main() -> int:
    """Exit code 0: all equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=KINDS, help="one kind of training")
    given = parser.parse_args()
    torch.set_num_threads(1)
    draw, began = random.Random(given.seed), time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        kinds = [given.only] if given.only else list(KINDS)
        whole = {kind: reference(folder / f"whole-{k}", kind) for k, kind in enumerate(kinds)}
        kills = runs = wrong = 0
        told: dict[str, int] = {}
        while kills < given.kills:
            runs += 1
            kind = draw.choices(kinds, [2 if kind == "two processes" else 4 for kind in kinds])[0]
            run, (counts, takes, reference_run) = folder / f"run-{runs}", whole[kind]
            moments = MOMENTS if kind == "two processes" else MOMENTS[:-1]
            words: list[str] = []
            again = True
            while again and kills < given.kills:
                moment = draw.choice(moments)
                number = 0 if moment not in counts else draw.randrange(1, counts[moment] + 1)
                after = draw.uniform(0, takes)
                code = train(run, kind, moment, number, after)
                again = code is None and draw.random() < 0.5 and not finished(run, reference_run)
                if code is None:
                    kills += 1
                    key = f"{kind}, {moment}"
                    told[key] = told.get(key, 0) + 1
                    words.append(f"{moment} {number or f'{after:.1f} s'}")
                elif code:
                    words.append(f"ended with exit code {code}")
            code = 0 if finished(run, reference_run) else train(run, kind, "", 0, 0)
            outcome = f"exit code {code}: {said(run)}" if code else compared(reference_run, run)
            wrong += outcome != "equal"
            print(
                f"{kills:3d} kills  {kind:<20} {', then '.join(words) or 'not killed':<50} "
                f"{outcome}",
                flush=True,
            )
    for key in sorted(told):
        print(f"{told[key]:3d}  {key}")
    print(
        f"{kills} kills of {runs} runs in {time.monotonic() - began:.0f} s: {runs - wrong} runs "
        f"equal, {wrong} not"
    )
    return int(wrong > 0)


def reference(run: Path, kind: str) -> tuple[dict[str, int], float, Path]:
    """A run that is not killed: its steps, validation batches, file operations; seconds; folder."""
    began = time.monotonic()
    code = train(run, kind, "count", 0, 0)
    if code:
        raise SystemExit(f"the run to compare with ended with exit code {code}: {said(run)}")
    counts: dict[str, int] = json.loads(run.with_suffix(".counts").read_text())
    print(f"{kind}: {time.monotonic() - began:.1f} s, {counts}", flush=True)
    return counts, time.monotonic() - began, run


def train(run: Path, kind: str, moment: str, number: int, after: float) -> int | None:
    """Begin or resume a run in a process of its own; its exit code, None where it was killed."""
    if (run / "config.yaml").exists():
        arguments = ["train", "--resume", str(run)]
    else:
        arguments = ["train", *FLAGS.split(), *KINDS[kind], "--run", str(run)]
    pid = os.fork()
    if pid == 0:
        child(arguments, run, moment, number)
    deadline = time.monotonic() + after
    killed = False
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        if not killed and moment in ("some time", "second process") and time.monotonic() > deadline:
            victim = pid if moment == "some time" else second(pid)
            if victim is not None:
                os.kill(victim, signal.SIGKILL)
                killed = True
        time.sleep(0.005)
    code = os.waitstatus_to_exitcode(status)
    if killed and moment == "second process":
        return None if code else 0  # the first one must end by itself, with an error
    return None if code == -signal.SIGKILL else code


def child(arguments: list[str], run: Path, moment: str, number: int) -> None:
    """The forked process; never returns."""
    code = 1
    try:
        with run.with_suffix(".log").open("wb") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        # What a second process runs.
        sys.argv = [str(Path(sys.executable).with_name("foreframe")), *arguments]
        counts = lie_in_wait(moment, number)
        from foreframe.cli import main as command

        code = command(arguments)
        sys.stdout.flush()
        if moment == "count":
            run.with_suffix(".counts").write_text(json.dumps(counts))
    finally:
        sys.stderr.flush()
        os._exit(code)


def lie_in_wait(moment: str, number: int) -> dict[str, int]:
    """Count what may be interrupted, and kill this process at the `number`-th `moment`."""
    counts = {"training": 0, "validating": 0, "saving": 0}

    def counted(what: str, call: Callable) -> Callable:
        def counting(*args: object, **options: object) -> object:
            count(what)
            result = call(*args, **options)
            count(what)  # between it and whatever is next
            return result

        return counting

    def count(what: str) -> None:
        counts[what] += 1
        if what == moment and counts[what] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    ForecastModule.training_step = counted("training", ForecastModule.training_step)  # type: ignore[method-assign]
    ForecastModule.validation_step = counted("validating", ForecastModule.validation_step)  # type: ignore[method-assign]
    for name in ("replace", "fsync", "link"):
        setattr(os, name, counted("saving", getattr(os, name)))
    return counts


def second(pid: int) -> int | None:
    """The process that Lightning started beside `pid`.

    It is a child that runs the command anew, not a fork as loader workers are.
    """
    try:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"--resume" in command or b"--run" in command:
                return int(child)
    except OSError:
        pass
    return None


def finished(run: Path, whole: Path) -> bool:
    """Whether the run was complete when it was killed: `--resume` refuses it, with nothing left."""
    if not (run / "checkpoints" / "last.ckpt").exists():
        return False
    own, other = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (run, whole)
    )
    done: bool = own["global_step"] == other["global_step"]
    return done


def said(run: Path) -> str:
    lines = run.with_suffix(".log").read_text(errors="replace").strip().splitlines()
    return " | ".join(lines[-3:])


def compared(whole: Path, run: Path) -> str:
    """Where a run differs from the one that was never killed, or "equal"."""
    for file in ("last", "best"):
        wanted, found = (
            torch.load(folder / "checkpoints" / f"{file}.ckpt", weights_only=True)
            for folder in (whole, run)
        )
        for key in ("global_step", "state_dict", "optimizer_states"):
            if not same(wanted[key], found[key]):
                return f"{file}.ckpt has another {key}"
        if wanted["callbacks"]["Checkpoints"] != found["callbacks"]["Checkpoints"]:
            return f"{file}.ckpt knows of another best score"
    wanted, found = (
        [without_seconds(line) for line in (folder / "validation.jsonl").open()]
        for folder in (whole, run)
    )
    if wanted != found:
        expected, steps = ([row["step"] for row in rows] for rows in (wanted, found))
        if steps != expected:
            return f"validation rows of steps {steps}, not {expected}"
        return "other validation scores"
    files = [
        {str(p.relative_to(folder)) for p in folder.rglob("*") if "tfevents" not in p.name}
        for folder in (whole, run)
    ]
    # A run killed after its last save is not resumed: its lock's file stays, which without its
    # process locks nothing.
    odd = {name for name in files[0] ^ files[1] if "previous" not in name and name != ".lock"}
    return f"other files: {sorted(odd)}" if odd else "equal"


def without_seconds(line: str) -> dict:
    row: dict = json.loads(line)
    del row["seconds"]
    return row


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        alike = isinstance(b, dict) and a.keys() == b.keys()
        return alike and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return a == b


if __name__ == "__main__":
    sys.exit(main())
