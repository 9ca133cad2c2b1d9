"""Several processes, by Lightning or torchrun: one folder, one result, one line at the end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import SingleDeviceStrategy
from trainings import FLAGS, SMALL, last, rows_of, same_to_the_bit, train_small

import foreframe
from foreframe.base.processes import all_gather, is_first_process, rank_and_size
from foreframe.cli import main

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0",
    "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1",
}  # fmt: skip
STARTED: list[subprocess.Popen] = []
ENDLESS = ["train", *FLAGS, "--epochs", "100000"]


def test_devices_that_disagree_with_torchrun_are_refused(tmp_path, monkeypatch, capsys) -> None:
    for name, word in TORCHRUN.items():
        monkeypatch.setenv(name, word)
    run = tmp_path / "run"
    assert main(["train", *FLAGS, "--devices", "4", "--run", str(run)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "devices is 4, but torchrun has started 2 on each node: give --devices 2" in line
    assert not run.exists()


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"SLURM_PROCID": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": "1"}, True),  # torchrun within srun
        ({"RANK": "2", "LOCAL_RANK": "0", "SLURM_PROCID": "0"}, False),
    ],
)
def test_which_process_is_the_first(monkeypatch, names: dict[str, str], first: bool) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, word in names.items():
        monkeypatch.setenv(name, word)
    assert is_first_process() == first
    assert rank_and_size() == (0, 1)  # tasks of SLURM may each score a run of their own
    assert all_gather("mine") == ["mine"]


def test_a_call_leaves_the_processes_that_it_has_joined(monkeypatch) -> None:
    """Those of torchrun; the next call joins them anew."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for name, word in (TORCHRUN | {"WORLD_SIZE": "1", "MASTER_PORT": port}).items():
        monkeypatch.setenv(name, word)
    clips = [torch.rand(6, 1, 8, 8) for _ in range(3)]
    for _ in range(2):
        assert not torch.distributed.is_initialized()
        foreframe.evaluate("persistence", clips, past=3, future=3)
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
def test_what_python_gives_to_lightning_takes_the_launchers_place(tmp_path, monkeypatch) -> None:
    for name, word in TORCHRUN.items():
        monkeypatch.setenv(name, word)
    seen = []

    class Seen(L.Callback):
        def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
            seen.append((trainer.strategy, trainer.strategy.cluster_environment))

    class Own(SingleDeviceStrategy):
        cluster_environment = None

    own, environment = Own("cpu"), LightningEnvironment()
    sizes = {"hidden": 4, "past": 3, "future": 2, "batch_size": 4, "validation_clips": 5}
    options = {"data_args": SMALL, "device": "cpu", "devices": 1, "epochs": 1, "picture_every": 0}
    lightning = {"strategy": own, "plugins": [environment], "callbacks": [Seen()]}
    foreframe.fit("quick", run=tmp_path / "run", **sizes, **options, **lightning)
    assert seen == [(own, environment)]


def started(words: list[str], log: Path) -> subprocess.Popen:
    """A process in a group of its own, which writes to a file."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def none_is_left() -> Iterator[None]:
    """Whatever fails, no process trains on."""
    yield
    while STARTED:
        if (process := STARTED.pop()).poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def torchrun(words: list[str], log: Path, processes: int) -> subprocess.Popen:
    # Without "--", torchrun takes --run for its own --run-path on older Pythons.
    how = ["--standalone", "--nproc_per_node", str(processes), "-m", "--", "foreframe"]
    return started(["torch.distributed.run", *how, *words], log)


def wait_for(run: Path) -> None:
    """Until it has saved something."""
    checkpoint, deadline = run / "checkpoints" / "last.ckpt", time.monotonic() + 400
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert checkpoint.exists()


def begun(run: Path, *more: str) -> subprocess.Popen:
    """A training of many epochs, which writes to "log" and has saved something."""
    process = started(["foreframe", *ENDLESS, *more, "--run", str(run)], run.parent / "log")
    wait_for(run)
    return process


def children(pid: int) -> list[int]:
    """By /proc; none of a process that has just ended."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def ours(log: Path) -> list[str]:
    lines = log.read_text().splitlines()
    return [line for line in lines if line.startswith("foreframe: ")]


def ended(processes: list[subprocess.Popen], within: float = 400) -> list[int]:
    return [process.wait(within) for process in processes]


def stopped(run: Path, said: str) -> None:
    """What is said of its end, and that it goes on, by one process, where it was."""
    step = last(run)["global_step"]
    assert f"stopped at step {step} and saved; go on with: foreframe train --resume {run}" in said
    assert "Traceback" not in said
    goes_on(run)


def goes_on(run: Path) -> None:
    """Resumed by one process, where it was."""
    step = last(run)["global_step"]
    more = ["--devices", "1", "--trainer.max_steps", str(step + 3)]
    assert main(["train", "--resume", str(run), *more]) == 0
    assert last(run)["global_step"] == step + 3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_learn_what_one_does(tmp_path) -> None:
    """In a folder that the first one chooses; to the bit alike by either launcher."""
    words, runs = ["train", *FLAGS, "--epochs", "2"], []
    for launcher in ("torchrun", "lightning"):
        place = tmp_path / launcher
        place.mkdir()
        if launcher == "torchrun":
            process = torchrun(words, place / "log", 2)
        else:
            process = started(["foreframe", *words, "--devices", "2"], place / "log")
        code, log = ended([process]), (place / "log").read_text()
        assert (code, log.count("The run is in")) == ([0], 1), log
        runs += (place / "runs").iterdir()
    run, other = runs
    same_to_the_bit(run, other)
    alone = train_small(tmp_path / "alone", batch_size=8, epochs=2)
    weights = last(run)["state_dict"]
    for name, value in last(alone)["state_dict"].items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5)
    for row, same in zip(rows_of(run), rows_of(alone), strict=True):
        assert (row["clips"], row["step"]) == (same["clips"], same["step"])
        assert flat(row["scores"]) == pytest.approx(flat(same["scores"]), rel=1e-3)


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """The numbers in mappings and lists, by their place."""
    if not isinstance(value, dict | list):
        return {name: value} if isinstance(value, int | float) else {}
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: n for k, part in inner for key, n in flat(part, f"{name}/{k}").items()}


@pytest.mark.full
@pytest.mark.timeout(600)
def test_processes_of_torchrun_score_what_one_does(tmp_path) -> None:
    """Sums, and each clip in its order, which the comparisons need; members, too."""
    drawing = {"model": "dressed", "hidden": None, "model_args": {"of": "linear_motion"}}
    run = train_small(tmp_path / "run", **drawing, loss="crps", epochs=1)
    how = ["evaluate", str(run), "--clips", "7", "--members", "2", "--batch_size", "2"]
    code = ended([torchrun([*how, "--output", "two"], tmp_path / "log", 2)])
    said = (tmp_path / "log").read_text()
    assert code == [0], said
    assert said.count("are in two") == 1
    assert main([*how, "--output", str(tmp_path / "one")]) == 0
    one, two = (json.loads((tmp_path / of / "scorecard.json").read_text()) for of in ("one", "two"))
    assert two["clips"] == 7
    assert two["comparison"]["persistence"]["low"] is not None
    assert flat(two) == pytest.approx(flat(one), rel=1e-6, abs=1e-6)


@pytest.mark.slow
def test_sigterm_to_a_process_that_has_started_another_stops_both(tmp_path) -> None:
    process = begun(tmp_path / "run", "--devices", "2")
    process.send_signal(signal.SIGTERM)
    assert ended([process]) == [130]
    stopped(tmp_path / "run", (tmp_path / "log").read_text())


@pytest.mark.slow
def test_ctrl_c_twice_from_a_terminal_is_one_line_each_and_130(tmp_path) -> None:
    """A terminal's Ctrl-C reaches the loader's worker too."""
    process = begun(tmp_path / "run", "--loader_workers", "1")
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    assert ended([process]) == [130]
    said = (tmp_path / "log").read_text()
    assert said.count("Stopping after this step") <= 1
    assert "stopped at " in said.splitlines()[-1]
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes in /proc")
@pytest.mark.parametrize(
    ("launcher", "more", "words"),
    [
        ("lightning", ["--loader_workers", "1"], "a loader process"),
        ("lightning", ["--devices", "2"], "another process"),
        pytest.param("torchrun", [], "another process", marks=pytest.mark.full),
    ],
)
def test_a_dead_process_ends_the_training_with_one_line(
    tmp_path, launcher: str, more: list[str], words: str
) -> None:
    run = tmp_path / "run"
    if launcher == "torchrun":
        process = torchrun([*ENDLESS, "--run", str(run)], tmp_path / "log", 2)
        wait_for(run)
        os.kill(children(process.pid)[1], signal.SIGKILL)
    else:
        process = begun(run, *more)
    deadline = time.monotonic() + 100
    # One at its epoch's end is not missed.
    while process.poll() is None and time.monotonic() < deadline and launcher == "lightning":
        for child in children(process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.3)
    assert ended([process]) == [1]
    (line,) = ours(tmp_path / "log")
    assert words in line
    assert line.endswith(f"go on with: foreframe train --resume {run}")
    assert launcher == "torchrun" or "Traceback" not in (tmp_path / "log").read_text()
    goes_on(run)
